#!/usr/bin/env python3
"""The same work on the process pools that people use and on Brigade, in one run.

    cargo build --release
    python3 -m venv .venv && .venv/bin/pip install numpy loky mpire      # and ray, if you like
    .venv/bin/python scripts/bench_peers.py                    # about five minutes
    .venv/bin/python scripts/bench_peers.py --quick            # about one
    .venv/bin/python scripts/bench_peers.py --only brigade,mp  # by the beginning of the name

Every peer does each work once in every block, in an order that is shuffled from --seed,
in a fresh process; nothing else should run. A figure is the median over blocks of a
block's median, in microseconds, with the range of the blocks; the ratio is to Brigade's
worker processes. What is not installed is skipped, with the reason.

empty   a job without work, there and back, one after another; one worker
many    such jobs submitted one by one without waiting for each; two workers, per job
map     such jobs through the pool's own map, in its own chunks (ProcessPoolExecutor: of
        1,000); two workers, per job
array   8 MiB there and back, each byte read and written; one worker
start   from nothing to the first result of a pool of two
whole   the same, and until the pool has ended; "numpy": in a program that has imported it, of
        which there is more to fork
"""

import argparse
import importlib.util
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
WORKS = ["empty", "many", "map", "array", "start", "whole"]
BASE = "brigade processes"
NUMPY = ", numpy"


# ---- Python's pools: what a child process runs --------------------------------------


def echo(value):
    return value


def touch(array):
    array = array.copy() if not array.flags.writeable else array
    array += 1
    return array


def executor(name: str, workers: int):
    """A pool with the interface of concurrent.futures."""
    import concurrent.futures as futures
    import multiprocessing as mp

    family, _, method = name.removesuffix(NUMPY).partition(" ")
    if family == "ThreadPoolExecutor":
        return futures.ThreadPoolExecutor(workers)
    if family == "loky":
        import loky

        return loky.ProcessPoolExecutor(workers)
    return futures.ProcessPoolExecutor(workers, mp_context=mp.get_context(method))


def python_works(name: str, workers: int) -> dict:
    """Ways to start and stop the pool, to do one job, many, and a map."""
    if name == "multiprocessing.Pool":
        import multiprocessing as mp

        return {
            "open": lambda: mp.Pool(workers),
            "close": lambda pool: pool.terminate(),
            "one": lambda pool, function, value: pool.apply(function, (value,)),
            "many": lambda pool, count: [
                result.get() for result in [pool.apply_async(echo, (i,)) for i in range(count)]
            ],
            "map": lambda pool, count: pool.map(echo, range(count)),
        }
    if name == "mpire":
        import mpire

        return {
            "open": lambda: mpire.WorkerPool(workers),
            "close": lambda pool: pool.terminate(),
            "one": lambda pool, function, value: pool.apply(function, (value,)),
            "many": lambda pool, count: [
                result.get() for result in [pool.apply_async(echo, (i,)) for i in range(count)]
            ],
            "map": lambda pool, count: pool.map(echo, range(count)),
        }
    if name == "ray":
        import logging

        import ray

        functions = {f: ray.remote(f) for f in (echo, touch)}

        def start():
            ray.init(num_cpus=workers, logging_level=logging.ERROR, include_dashboard=False)

        return {
            "open": start,
            "close": lambda _: ray.shutdown(),
            "one": lambda _, function, value: ray.get(functions[function].remote(value)),
            "many": lambda _, count: ray.get([functions[echo].remote(i) for i in range(count)]),
        }
    return {
        "open": lambda: executor(name, workers),
        "close": lambda pool: pool.shutdown(),
        "one": lambda pool, function, value: pool.submit(function, value).result(),
        "many": lambda pool, count: [
            future.result() for future in [pool.submit(echo, i) for i in range(count)]
        ],
        "map": lambda pool, count: list(pool.map(echo, range(count), chunksize=1000)),
    }


def child(name: str, work: str, seconds: float) -> None:
    """Prints samples of one work on one of Python's pools."""
    if name.endswith(NUMPY):
        import numpy  # noqa: F401
    ways = python_works(name, 1 if work in ("empty", "array") else 2)
    samples: list[float] = []
    end = time.perf_counter() + seconds
    if work in ("start", "whole"):
        while not samples or time.perf_counter() < end:
            begin = time.perf_counter()
            pool = ways["open"]()
            ways["one"](pool, echo, 1)
            first = time.perf_counter()
            ways["close"](pool)
            over = first if work == "start" else time.perf_counter()
            samples.append((over - begin) * 1e6)
        print(json.dumps(samples))
        return
    pool = ways["open"]()
    ways["one"](pool, echo, 1)
    if work == "array":
        import numpy

        array = numpy.ones(8 << 20, numpy.uint8)
        count, run = 1, lambda: ways["one"](pool, touch, array)
    elif work == "empty":
        count, run = 1, lambda: ways["one"](pool, echo, 1)
    else:
        count = 1_000_000 if work == "map" else 2_000
        run = lambda: ways[work](pool, count)  # noqa: E731
    run()
    end = time.perf_counter() + seconds
    while not samples or time.perf_counter() < end:
        begin = time.perf_counter()
        run()
        samples.append((time.perf_counter() - begin) * 1e6 / count)
    print(json.dumps(samples))
    sys.stdout.flush()
    ways["close"](pool)


# ---- Peers: a name, the works that it can do, and a command for each ----------------


class Peers:
    def __init__(self, args: argparse.Namespace):
        self.seconds = args.seconds
        self.all: dict[str, dict] = {}
        self.skipped: dict[str, str] = {}
        self.python("ThreadPoolExecutor", None)
        for method in ("fork", "forkserver", "spawn"):
            self.python(f"ProcessPoolExecutor {method}", None)
        self.python(f"ProcessPoolExecutor fork{NUMPY}", "numpy", ["start", "whole"])
        self.python("multiprocessing.Pool", None)
        self.python("loky", "loky")
        self.python("mpire", "mpire", [work for work in WORKS if work != "map"])
        self.python("ray", "ray", [work for work in WORKS if work != "map"])
        self.procspawn()
        self.brigade(args.brigade)

    def python(self, name: str, module: str | None, works: list[str] = WORKS) -> None:
        if module and importlib.util.find_spec(module) is None:
            self.skipped[name] = f"pip install {module}"
            return
        here = [sys.executable, __file__, "--child", name]
        seconds = str(self.seconds)
        self.all[name] = {
            work: lambda work=work: json.loads(output([*here, work, seconds])) for work in works
        }

    def procspawn(self) -> None:
        if shutil.which("cargo") is None:
            self.skipped["procspawn"] = "there is no cargo to build it"
            return
        project = ROOT / "scripts" / "peer_procspawn"
        target = TARGET / "peers"
        print("building scripts/peer_procspawn …", file=sys.stderr)
        command = ["cargo", "build", "--release", "--quiet", "--target-dir", str(target)]
        if subprocess.run([*command, "--manifest-path", str(project / "Cargo.toml")]).returncode:
            self.skipped["procspawn"] = "it does not build"
            return
        program = str(target / "release" / "peer-procspawn")
        seconds = str(self.seconds)
        self.all["procspawn"] = {
            work: lambda work=work: json.loads(output([program, work, seconds]))
            for work in ("empty", "many", "array", "start", "whole")
        }

    def brigade(self, given: str | None) -> None:
        path = Path(given) if given else TARGET / "release" / "brigade"
        if not path.exists():
            sys.exit(f"{path} is missing: cargo build --release, or --brigade PATH")

        def bench(*words: str, **case) -> list[float]:
            command = [str(path), "bench", *words, "--format", "json"]
            metric = case.pop("metric")
            cells = json.loads(output(command))["experiments"]
            found = [
                cell
                for cell in cells
                if cell["metric"] == metric
                and all(cell["case"].get(key) == value for key, value in case.items())
            ]
            return found[0]["samples"]

        latency = lambda size, **case: (  # noqa: E731
            lambda: bench("latency", "--sizes", size, "--blocks", "1", metric="round_trip", **case)
        )
        many = lambda mode, backend: (  # noqa: E731
            lambda: bench(
                *f"throughput -w 2 --depth 2 --time {self.seconds}s --blocks 1".split(),
                metric="per_job", backend=backend, mode=mode, workers=2,
            )
        )
        start = lambda metric, **case: (  # noqa: E731
            lambda: bench(
                *"startup -w 2 --blocks 9 -b".split(), case["backend"], metric=metric, **case
            )
        )
        starts = lambda **case: {  # noqa: E731
            "start": start("first_result", workers=2, **case),
            "whole": start("ended", workers=2, **case),
        }
        arena = {"backend": "processes", "transport": "arena"}
        self.all["brigade threads"] = {
            "empty": latency("0", backend="threads", state="busy"),
            "many": many("one by one", "threads"),
            "map": many("map", "threads"),
            "array": latency("8MiB", backend="threads"),
            **starts(backend="threads"),
        }
        self.all[BASE] = {
            "empty": latency("0", state="busy", **arena),
            "many": many("one by one", "processes"),
            "map": many("map", "processes"),
            "array": latency("8MiB", placement="copied", **arena),
            **starts(backend="processes", start_method="spawn"),
        }
        self.all["brigade processes, in place"] = {
            "array": latency("8MiB", placement="in-place", **arena)
        }
        self.all["brigade processes, forkserver"] = starts(
            backend="processes", start_method="forkserver", template=None
        )
        self.all["brigade processes, forkserver running"] = starts(
            backend="processes", start_method="forkserver", template="already running"
        )


def output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout


# ---- The run ------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each work in a block")
    parser.add_argument("--quick", action="store_true", help="two short blocks")
    parser.add_argument("--only", default="", help="names, by their beginnings")
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--brigade", help="the executable")
    parser.add_argument("--json", help="a file for all samples")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child[0], args.child[1], float(args.child[2]))
        return 0
    if args.quick:
        args.blocks, args.seconds = 2, 0.2

    peers = Peers(args)
    wanted = tuple(filter(None, args.only.lower().split(",")))
    runs = [
        (name, work, run)
        for name, works in peers.all.items()
        for work, run in works.items()
        if work in args.works.split(",") and (not wanted or name.lower().startswith(wanted))
    ]
    dice = random.Random(args.seed)
    samples: dict[tuple[str, str], list[list[float]]] = {}
    for block in range(args.blocks):
        dice.shuffle(runs)
        for place, (name, work, run) in enumerate(runs):
            note = f"block {block + 1} of {args.blocks}, {place + 1} of {len(runs)}: {work}, {name}"
            print(f"\r{note:78}", end="", file=sys.stderr, flush=True)
            try:
                samples.setdefault((name, work), []).append(run())
            except (RuntimeError, IndexError, subprocess.TimeoutExpired) as error:
                peers.skipped[f"{name}, {work}"] = str(error)
    print(f"\r{'':78}\r", end="", file=sys.stderr)

    report(samples, list(peers.all), peers.skipped)
    if args.json:
        rows = [
            {"peer": name, "work": work, "unit": "us", "blocks": blocks}
            for (name, work), blocks in samples.items()
        ]
        Path(args.json).write_text(json.dumps({"seed": args.seed, "rows": rows}))
    return 0


def report(samples: dict, names: list[str], skipped: dict[str, str]) -> None:
    for work in WORKS:
        rows = {
            name: sorted(statistics.median(block) for block in samples[name, work])
            for name in names
            if (name, work) in samples
        }
        if not rows:
            continue
        base = statistics.median(rows[BASE]) if BASE in rows else None
        print(f"{work:40} {'median':>14} {'blocks':>29} {'x brigade':>11}")
        for name, medians in sorted(rows.items(), key=lambda row: statistics.median(row[1])):
            median = statistics.median(medians)
            ratio = f"{median / base:11.2f}" if base else ""
            span = f"{medians[0]:.2f} .. {medians[-1]:.2f}"
            print(f"  {name:38} {median:11.2f} us {span:>26} us {ratio}")
        print()
    for name, reason in skipped.items():
        print(f"skipped: {name} ({reason})")


if __name__ == "__main__":
    sys.exit(main())
