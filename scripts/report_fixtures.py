#!/usr/bin/env python3
"""Makes the results that the tests of `brigade report` draw.

    scripts/report_fixtures.py        writes crates/report/src/html/fixtures/*.json

The numbers are made up, but such as a machine with four cores gives: they come from
Amdahl's law, a cost per job and per byte for each backend, and a little noise from a
fixed seed. They are checked in, and a test may count on every one of them.
"""

import json
import random
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "crates/report/src/html/fixtures"
CORES = 4
HOST = {
    "brigade": "0.1.0", "build": "0.1.0-fixture", "os": "Linux (made up)", "kernel": "6.1.0",
    "cpu": "Four cores that nobody has", "cores_present": 4, "cores_usable": CORES,
    "memory_total_bytes": 16 << 30, "memory_available_bytes": 12 << 30, "governor": "performance",
    "load1": 0.12, "virtual_machine": "none",
}
chance = random.Random(7)


def cell(experiment, case, metric, unit, value, spread=0.03):
    """A cell of brigade.bench.v1 around a value."""
    middle = value * (1 + chance.uniform(-spread, spread) / 2)
    half = middle * spread * chance.uniform(0.5, 1.2)
    return {
        "experiment": experiment, "case": case, "metric": metric, "unit": unit, "n": 15,
        "min": round(middle - 2 * half, 3), "p50": round(middle, 3),
        "p95": round(middle + 3 * half, 3), "p99": round(middle + 4 * half, 3),
        "mean": round(middle + half / 3, 3),
        "ci95": [round(middle - half, 3), round(middle + half, 3)], "samples": [],
    }


def estimate(value, spread):
    return {"estimate": value, "interval": [value * (1 - spread), value * (1 + spread)],
            "confidence": 0.95}


def scaling():
    for mode in ("strong", "weak"):
        case = {"backend": "sync", "workers": 1, "kernel": "blur", "mode": mode}
        yield cell("scaling", case, "wall", "us", 480_000, 0.02)
        for backend, serial, coherence in (("threads", 0.03, 0.002), ("processes", 0.05, 0.001),
                                           ("threads-gil", 0.97, 0.01), ("async", 1.0, 0.0)):
            for workers in (1,) if backend == "async" else (1, 2, 3, 4, 6, 8):
                cores = min(workers, CORES)
                speedup = cores / (1 + serial * (cores - 1) + coherence * cores * (cores - 1))
                work = workers if mode == "weak" else 1
                case = {"backend": backend, "workers": workers, "kernel": "blur", "mode": mode}
                if workers > CORES:
                    case["oversubscribed"] = True
                    speedup *= 0.97
                yield cell("scaling", case, "wall", "us", 482_000 * work / speedup)
                if backend in ("threads", "processes"):
                    process = backend == "processes"
                    yield cell("scaling", case, "startup_share", "ratio", 0.02 if process else 0.002)
                    yield cell("scaling", case, "communication_share", "ratio",
                               0.01 * workers if process else 0.004)
                    yield cell("scaling", case, "imbalance", "ratio", 1 + 0.02 * workers)
                    yield cell("scaling", case, "peak_memory", "bytes",
                               (24 + (11 * workers if process else 3 * workers)) * 1e6)


def break_even():
    cost = {"sync": (0.5, 0.0), "threads": (1.4, 0.0), "processes": (2.1, 0.00009)}
    for size in (0, 4096, 65536, 1 << 20, 8 << 20):
        for compute in (1, 10, 100, 1000, 10_000):
            for backend, (call, per_byte) in cost.items():
                lanes = 1 if backend == "sync" else 3.7
                value = (call + size * per_byte) * 0.6 + compute / lanes
                case = {"backend": backend, "workers": 1 if backend == "sync" else CORES,
                        "bytes": size, "compute_us": compute}
                # Long jobs do not care who carries them: there the difference drowns.
                yield cell("break-even", case, "per_job", "us", value, 0.02)


def latency():
    ways = [({"backend": "sync"}, 0.5, 9000), ({"backend": "threads"}, 1.5, 7000),
            ({"backend": "processes", "transport": "arena", "placement": "in-place"}, 1.6, 8000),
            ({"backend": "processes", "transport": "arena", "placement": "copied"}, 2.6, 5000),
            ({"backend": "processes", "transport": "inline"}, 45.0, 1000),
            ({"floor": "one memcpy"}, 0.06, 13000)]
    for size in (0, 4096, 65536, 1 << 20, 8 << 20):
        for way, call, bytes_per_us in ways:
            case = way | {"bytes": size, "state": "busy", "workers": 1,
                          "kernel": "touch" if size else "noop"}
            yield cell("latency", case, "round_trip", "us", call + size / bytes_per_us, 0.05)
    for way, call, _ in ways[:3]:
        case = way | {"bytes": 0, "state": "idle", "workers": 1, "kernel": "noop"}
        yield cell("latency", case, "round_trip", "us", call + 35, 0.2)


def startup():
    for workers in (1, 4):
        for case, each in (({"backend": "threads"}, 90),
                           ({"backend": "processes", "start_method": "spawn"}, 2400),
                           ({"backend": "processes", "start_method": "forkserver"}, 1500),
                           ({"floor": "as many empty programs"}, 800)):
            yield cell("startup", case | {"workers": workers}, "ready", "us", each * workers, 0.2)


JOBS = 8
WAIT, COMPUTE = 6000.0, 5000.0


def schedule(backend, work):
    """Lanes and wall time of eight jobs, each of which waits, computes, or does both."""
    kinds = {"waiting": ["wait"], "computing": ["compute"], "mixed": ["wait", "compute"]}[work]
    took = {"wait": WAIT, "compute": COMPUTE}
    lanes = 1 if backend in ("sync", "async") else CORES
    begin = {"sync": 5, "async": 60, "threads": 250, "threads-gil": 260, "processes": 3800}[backend]
    spans = [[["startup", 0.0, float(begin), ""]] for _ in range(lanes)]
    free = [float(begin)] * lanes
    core = float(begin)
    for job in range(JOBS):
        lane = min(range(lanes), key=free.__getitem__)
        now = float(begin) + job * 40 if backend == "async" else free[lane]
        if backend == "processes":
            spans[lane].append(["communication", now, now + 150, str(job)])
            now += 150
        for kind in kinds:
            # One thread, or one lock, computes: others wait until it is their turn.
            alone = kind == "compute" and backend in ("async", "threads-gil")
            if alone and core > now:
                if backend == "threads-gil":
                    spans[lane].append(["idle", now, core, str(job)])
                now = core
            end = now + took[kind] * chance.uniform(0.9, 1.1)
            spans[lane].append([kind, now, end, str(job)])
            core = end if alone else core
            now = end
        free[lane] = now
    wall = max(end for lane in spans for _, _, end, _ in lane)
    if backend == "processes":
        for lane in spans:
            lane.append(["shutdown", max(end for _, _, end, _ in lane), wall + 500, ""])
        wall += 500
    return wall, [{"worker": i, "spans": s} for i, s in enumerate(spans)]


def paradigms():
    cells, timelines = [], []
    for work, kernel in (("waiting", "wait"), ("computing", "spin"), ("mixed", "wait + spin")):
        for backend in ("sync", "async", "threads", "threads-gil", "processes"):
            wall, lanes = schedule(backend, work)
            case = {"work": work, "kernel": kernel, "backend": backend, "workers": len(lanes)}
            cells.append(cell("paradigms", case, "wall", "us", wall))
            timelines.append({"case": case, "wall_us": wall, "lanes": lanes})
    return cells, timelines


def models():
    usl = {"sigma": estimate(0.048, 0.2), "kappa": estimate(0.0012, 0.6)}
    case = {"kernel": "blur", "mode": "strong"}
    yield {"model": "usl", "case": case | {"backend": "processes"}, "parameters": usl}
    yield {"model": "amdahl", "case": case | {"backend": "threads"},
           "parameters": {"serial": estimate(0.037, 0.3)}}
    yield {"model": "refused", "of": "usl", "case": case | {"backend": "async"},
           "reason": "it has 1 worker count, and a fit takes 6"}
    points = [(0, "at", 14.0), (4096, "at", 21.0), (65536, "at", 160.0), (1 << 20, "at", 2100.0),
              (8 << 20, "never", None)]
    yield {"model": "break-even", "case": {"rival": "processes", "reference": "threads",
                                           "percent": 10, "workers": CORES},
           "points": [{"bytes": b, "answer": a, "compute_us": c and estimate(c, 0.3)}
                      for b, a, c in points]}


def bench():
    cells, timelines = paradigms()
    return {
        "schema": "brigade.bench.v1", "host": HOST, "seed": 1,
        "experiments": [*scaling(), *cells, *break_even(), *latency(), *startup()],
        "models": list(models()), "timelines": timelines,
        "findings": [
            "Where work waits, async finishes eight jobs in the time of one: 6.6 times sync.",
            "Where work computes, four processes are 3.4 times sync, and async no faster than sync.",
            "Isolation costs 0.1 µs a job over threads when the payload is already in place.",
        ],
        "interrupted": False,
        "warnings": ["The frequency governor is performance, but turbo is on: single-worker "
                     "figures may be a little too good."],
    }


def run():
    jobs, now = [], 0.0
    for job in range(24):
        spans = {"queue": 200.0 * job, "encode": 22.0, "deliver": 90.0, "decode": 25.0,
                 "compute": chance.uniform(1200, 2600), "reply": 2.0, "collect": 40.0}
        jobs.append({"id": job, "kernel": "blur", "status": "ok", "worker": job % 3, "spans_us": spans})
    jobs.append({"id": 24, "kernel": "blur", "status": "failed", "worker": None, "spans_us": None})
    compute = sum(job["spans_us"]["compute"] for job in jobs[:24])
    wall = 4000 + compute / 3 * 1.1
    return {
        "schema": "brigade.run.v1", "host": HOST,
        "config": {"kernel": "blur", "backend": "processes", "workers": 3},
        "startup_us": 3900.0, "wall_us": wall, "jobs": jobs,
        "workers": [{"worker": i, "ready_us": 3600.0 + 120 * i} for i in range(3)],
        "summary": {"ok": 24, "failed": 1, "jobs_per_s": 25e6 / wall, "speedup": compute / wall,
                    "efficiency": compute / wall / 3},
    }


def compare():
    def compared(case, metric, base, ratio, half, verdict, why="", aa=0.002):
        return {
            "experiment": "latency", "case": case, "metric": metric, "unit": "us", "verdict": verdict,
            "why": why, "blocks": 30, "base": base, "head": base * ratio,
            "ratio": {"estimate": ratio, "interval": [ratio - half, ratio + half], "confidence": 0.95},
            "aa": aa and {"estimate": 1 + aa, "interval": [1 + aa - half, 1 + aa + half],
                          "confidence": 0.95},
            "p": 0.01, "p_holm": 0.04, "detectable": half * 1.4, "confirmed": None,
            "base_samples": [], "again_samples": [], "head_samples": [],
        }
    threads = {"backend": "threads", "bytes": 0, "state": "busy", "workers": 1}
    arena = {"backend": "processes", "transport": "arena", "bytes": 0, "state": "busy", "workers": 1}
    return {
        "schema": "brigade.compare.v1", "kind": "compare",
        "base": {"name": "base.json", "host": HOST}, "head": {"name": "head.json", "host": HOST},
        "tolerance": 0.05, "seed": 1, "took_s": 61.0, "warnings": [], "verdict": "worse",
        "cells": [
            compared(threads, "round_trip", 1.5, 1.004, 0.012, "same"),
            compared(arena, "round_trip", 1.6, 1.128, 0.021, "worse"),
            compared(arena | {"bytes": 1 << 20}, "round_trip", 83.0, 0.871, 0.03, "better"),
            compared(arena | {"bytes": 8 << 20}, "round_trip", 990.0, 1.03, 0.14, "inconclusive",
                     "the A/A arm disagrees with itself", 0.06),
            compared(threads | {"state": "idle"}, "round_trip", 29.0, 1.01, 0.04, "same", aa=None),
        ],
    }


def main():
    OUT.mkdir(exist_ok=True)
    for name, result in (("bench", bench()), ("run", run()), ("compare", compare())):
        text = json.dumps(result, indent=None, ensure_ascii=False, separators=(",", ":"))
        # A line for each cell, so that a change of one is seen as one.
        (OUT / f"{name}.json").write_text(text.replace('},{"', '},\n{"') + "\n")


if __name__ == "__main__":
    main()
