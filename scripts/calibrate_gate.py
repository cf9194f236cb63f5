#!/usr/bin/env python3
"""How often `brigade ab` is wrong on this machine, and how often the usual rules are.

Four experiments, each of many comparisons:

  aa         the same build against itself, 5 % tolerance: `worse` is a false alarm
  slow P     head computes P % longer (the spin kernel), 1 % tolerance: `worse` is right
  neighbour  as aa, while another process burns one core at random intervals
  two        as aa, with two such processes: on two cores there is no quiet one

For each comparison the usual rules judge runs of their own, taken as they are taken: all of
base, then all of head. They are: hyperfine's means with a gate at 10 %, the Mann-Whitney
test of pooled samples at 5 %, and criterion's default (a bootstrapped t test at 5 %, and the
whole 95 % interval of the change of means beyond 1 %).

  scripts/calibrate_gate.py --brigade target/release/brigade --out docs/calibration.json
  scripts/calibrate_gate.py --quick          a few comparisons, to try the script

Needs numpy and scipy for the usual rules. Run it with nothing else running: about 40
minutes. Every comparison is kept in the output with its seed.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import subprocess
import sys
import time

import numpy
from scipy.stats import mannwhitneyu

SPIN_US = 2000
JOBS = 10


def spin(brigade, percent=0.0):
    us = round(SPIN_US * (1 + percent / 100))
    return f"{brigade} run spin -p us={us} --jobs {JOBS} -b sync"


def blur(brigade):
    return f"{brigade} run blur --jobs 8 --size 640x480 -b sync"


def ab(brigade, base, head, tolerance, seed):
    command = [brigade, "ab", "--base", base, "--head", head, "--tolerance", tolerance,
               "--seed", str(seed), "--format", "json"]
    begin = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 3, 4):
        sys.exit(f"{command}: {done.stderr}")
    cell = json.loads(done.stdout)["cells"][0]
    keys = ("verdict", "why", "blocks", "confirmed", "detectable")
    return {**{key: cell[key] for key in keys}, "ratio": cell["ratio"],
            "took_s": round(time.monotonic() - begin, 2)}


def wall(command):
    begin = time.monotonic()
    subprocess.run(command.split(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - begin


def criterion(base, head, dice, resamples=10_000, noise=0.01):
    """criterion.rs 0.5, src/analysis/compare.rs and src/report.rs: "regressed" if a two-sample
    t test is significant at 5 %, its distribution taken from resamples of the pooled samples,
    and the percentile interval at 95 % of the relative change of means, each side resampled by
    itself, lies beyond the noise threshold of 1 %."""
    def t(a, b):
        spread = numpy.sqrt(a.var(axis=-1, ddof=1) / a.shape[-1] + b.var(axis=-1, ddof=1) / b.shape[-1])
        return (a.mean(axis=-1) - b.mean(axis=-1)) / numpy.where(spread > 0, spread, numpy.inf)

    def drawn(samples, n):
        return dice.choice(samples, (resamples, n))
    pooled = numpy.concatenate([base, head])
    p = (numpy.abs(t(drawn(pooled, len(head)), drawn(pooled, len(base)))) >= abs(t(head, base))).mean()
    change = drawn(head, len(head)).mean(axis=1) / drawn(base, len(base)).mean(axis=1) - 1
    return bool(p < 0.05 and numpy.quantile(change, 0.025) > noise)


def rules(base_s, head_s, seed):
    """What the usual rules say of these times."""
    a, b = numpy.array(base_s), numpy.array(head_s)
    slower = numpy.median(b) > numpy.median(a)
    return {
        "hyperfine 10 %": bool(b.mean() / a.mean() > 1.10),
        "mann-whitney": bool(mannwhitneyu(a, b).pvalue < 0.05 and slower),
        "criterion": criterion(a, b, numpy.random.default_rng(seed)),
        "change_percent": round(float(b.mean() / a.mean() - 1) * 100, 2),
    }


def usual(base, head, seed, runs=15):
    """All of base, then all of head. The times are kept: a rule can be applied again."""
    base_s = [round(wall(base), 6) for _ in range(runs)]
    head_s = [round(wall(head), 6) for _ in range(runs)]
    return {**rules(base_s, head_s, seed), "base_s": base_s, "head_s": head_s}


def burn(seed):
    """Burns one core at random intervals for as long as the parent lives."""
    dice, parent = random.Random(seed), os.getppid()
    while os.getppid() == parent:
        end = time.monotonic() + dice.uniform(0.05, 1.0)
        while time.monotonic() < end:
            pass
        time.sleep(dice.uniform(0.05, 1.0))


def wilson(k, n, z=1.96):
    """95 % interval of a share (Wilson 1927)."""
    if n == 0:
        return (0.0, 1.0)
    p = k / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return (max(0.0, middle - half), min(1.0, middle + half))


def experiments(args):
    """Name, slowdown in percent, tolerance, how many comparisons, disturbing processes."""
    yield "aa", 0.0, "5%", args.comparisons, 0
    for percent in (2, 3, 5, 10):
        yield f"slow {percent} %", percent, "1%", args.slow, 0
    yield "neighbour", 0.0, "5%", args.neighbour, 1
    yield "two neighbours", 0.0, "5%", args.two, 2


def run(args, rows):
    """Goes on after `rows`."""
    for at, (name, percent, tolerance, count, disturbed) in enumerate(experiments(args)):
        have = sum(row["experiment"] == name for row in rows)
        neighbours = [multiprocessing.Process(target=burn, args=(args.seed + i,), daemon=True)
                      for i in range(disturbed if have < count else 0)]
        for neighbour in neighbours:
            neighbour.start()
        for i in range(have, count):
            seed = args.seed + 1_000_000 * at + i
            # Without a slowdown both kernels take turns: one whose time is set, one that
            # computes as much as there is to compute.
            base = blur(args.brigade) if percent == 0 and i % 2 else spin(args.brigade)
            head = spin(args.brigade, percent) if percent else base
            row = {"experiment": name, "seed": seed, "kernel": base.split()[2],
                   "brigade": ab(args.brigade, base, head, tolerance, seed)}
            row["usual"] = usual(base, head, seed) if i < args.usual else None
            rows.append(row)
            save(args, rows)
            print(f"\r{name}: {i + 1} of {count}", end="", file=sys.stderr)
        print(file=sys.stderr)
        for neighbour in neighbours:
            neighbour.terminate()
            neighbour.join()
    return rows


def save(args, rows):
    """After each comparison: an hour of measuring is not to be lost."""
    if args.out:
        with open(args.out + ".part", "w") as out:
            json.dump({"seed": args.seed, "comparisons": rows}, out, indent=0)
        os.replace(args.out + ".part", args.out)


def table(rows):
    lines = ["| comparison | n | worse | 95 % interval | same | inconclusive | better | median s | "
             "hyperfine 10 % | Mann-Whitney | criterion |",
             "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name in dict.fromkeys(row["experiment"] for row in rows):
        of = [row for row in rows if row["experiment"] == name]
        count = {verdict: sum(row["brigade"]["verdict"] == verdict for row in of)
                 for verdict in ("worse", "same", "inconclusive", "better")}
        low, high = wilson(count["worse"], len(of))
        took = sorted(row["brigade"]["took_s"] for row in of)[len(of) // 2]
        judged = [row["usual"] for row in of if row["usual"]]
        # Runs of before the times were kept have another rule under criterion's name: the mean
        # itself, not its interval, more than 1 % off.
        old = any("base_s" not in row for row in judged)
        seeds = [row["seed"] for row in of if row["usual"]]
        judged = [rules(row["base_s"], row["head_s"], seed) if "base_s" in row else row
                  for row, seed in zip(judged, seeds)]
        said = [f"{sum(row[rule] for row in judged)} of {len(judged)}"
                for rule in ("hyperfine 10 %", "mann-whitney", "criterion")]
        said[2] += " (by its mean alone)" if old else ""
        lines.append(f"| {name} | {len(of)} | {count['worse']} | {low:.1%} .. {high:.1%} | "
                     f"{count['same']} | {count['inconclusive']} | {count['better']} | {took:.1f} | "
                     + " | ".join(said) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brigade", default="target/release/brigade")
    parser.add_argument("--comparisons", type=int, default=200, help="of the same build")
    parser.add_argument("--slow", type=int, default=100, help="for each slowdown")
    parser.add_argument("--neighbour", type=int, default=200, help="with a disturbing process")
    parser.add_argument("--two", type=int, default=40, help="with two disturbing processes")
    parser.add_argument("--usual", type=int, default=100, help="of each, judged by the usual rules too")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", help="every comparison, as JSON; one that is there is gone on with")
    parser.add_argument("--table", metavar="FILE", help="only print the table of a saved run")
    parser.add_argument("--quick", action="store_true", help="three of each")
    args = parser.parse_args()
    if args.quick:
        args.comparisons = args.slow = args.neighbour = args.two = args.usual = 3
    if args.table:
        with open(args.table) as saved:
            print(table(json.load(saved)["comparisons"]))
        return
    rows = []
    if args.out and os.path.exists(args.out):
        with open(args.out) as saved:
            saved = json.load(saved)
        if saved["seed"] != args.seed:
            sys.exit(f"{args.out} was begun with --seed {saved['seed']}")
        rows = saved["comparisons"]
        print(f"going on after {len(rows)} comparisons of {args.out}", file=sys.stderr)
    begin = time.monotonic()
    run(args, rows)
    took = time.monotonic() - begin
    print(table(rows))
    print(f"\nSeed {args.seed}, {took / 60:.0f} minutes.")


if __name__ == "__main__":
    main()
