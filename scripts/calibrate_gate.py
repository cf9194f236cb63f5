#!/usr/bin/env python3
"""How often `brigade ab` is wrong on this machine, and how often the usual rules are.

Programs that are not Brigade's, each some tens of milliseconds long, take turns:

  c       a loop over memory, compiled by cc
  python  a loop in Python
  shell   `seq N | sort -n | tail -n 1`

Experiments, each on a quiet machine and again with a neighbour that takes one core half of the
time, at random:

  aa        a program against itself: `worse` is a false alarm
  tolerant aa   the same with the gate's own tolerance of 5 %
  slow P %  head has so much more to do that it takes P % more processor time: `worse` is right

`brigade ab` has the metrics of `brigade gate` (cpu and wall), a tolerance of 1 % and 60 s. Head is
called worse if either metric is. For the first of the comparisons the usual rules judge wall times of
their own, taken as they are taken: all of base, then all of head. They are: hyperfine's means with a
gate at 10 %, the Mann-Whitney test of pooled samples at 5 %, and criterion's default (a bootstrapped
t test at 5 %, and the whole 95 % interval of the change of means beyond 1 %).

  scripts/calibrate_gate.py --brigade target/release/brigade --out calibration.json
  scripts/calibrate_gate.py --quick          a few comparisons, to try the script

Needs cc, and numpy and scipy for the usual rules. Run it with nothing else running. A comparison of a
program with itself takes 20 s, as the tolerance is 1 %: all of it takes five hours or more (--only runs a part). Every comparison is kept in the output with its seed; one that was ended goes on where it was.
"""

import argparse
import json
import math
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time

import numpy
from scipy.stats import mannwhitneyu

SOURCE = """
#include <stdlib.h>
static volatile unsigned cells[1 << 16];
int main(int argc, char **argv) {
    unsigned long n = argc > 1 ? strtoul(argv[1], 0, 10) : 0;
    for (unsigned long i = 0; i < n; i++) cells[(i * 40503) & 0xffff] += i;
    return 0;
}
"""
SCRIPT = """
import sys
total = 0
for i in range(int(sys.argv[1])):
    total += i * i % 7
"""


class Program:
    """A program whose work is a number, and how much processor time that takes."""

    def __init__(self, name, line, units, shell=False):
        self.name, self.line, self.units, self.shell = name, line, units, shell
        # Starting it is a part that does not grow with the work, so that 5 % more work is not 5 % more
        # time. What twice the work takes tells how much more is: of a tenth more, noise was as much
        # as the difference for the pipeline, and its "3 %" were 1.2 % in one run.
        base, more = (min(cpu(self.command(round(units * factor))) for _ in range(25))
                      for factor in (1, 2))
        self.seconds, self.slope = base, (more - base) / units

    def command(self, units):
        line = self.line.format(n=units)
        return ["sh", "-c", line] if self.shell else line.split()

    def text(self, percent=0.0):
        more = percent / 100 * self.seconds / self.slope
        return self.line.format(n=round(self.units + more))


def programs(directory):
    with open(f"{directory}/loop.c", "w") as source:
        source.write(SOURCE)
    with open(f"{directory}/loop.py", "w") as script:
        script.write(SCRIPT)
    subprocess.run(["cc", "-O1", "-o", f"{directory}/loop", f"{directory}/loop.c"], check=True)
    return [
        Program("c", f"{directory}/loop {{n}}", 12_000_000),
        Program("python", f"{sys.executable} -S {directory}/loop.py {{n}}", 300_000),
        Program("shell", "seq {n} | sort -n | tail -n 1", 60_000, shell=True),
    ]


def cpu(command):
    """Processor time of one run with its children."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = status
    if status != 0:
        sys.exit(f"{command}: status {status}")
    return usage.ru_utime + usage.ru_stime


def ab(brigade, base, head, shell, seed, tolerance):
    command = [brigade, "ab", "--base", base, "--head", head, "--metric", "cpu,wall",
               "--tolerance", tolerance, "--budget", "60s", "--seed", str(seed), "--format", "json"]
    begin = time.monotonic()
    done = subprocess.run(command + ["--shell"] * shell, capture_output=True, text=True)
    if done.returncode not in (0, 3, 4):
        sys.exit(f"{command}: {done.stderr}")
    document = json.loads(done.stdout)
    keys = ("metric", "verdict", "why", "blocks", "confirmed", "detectable", "ratio")
    return {"verdict": document["verdict"],
            "cells": [{key: cell[key] for key in keys} for cell in document["cells"]],
            "took_s": round(time.monotonic() - begin, 2)}


def wall(command):
    begin = time.monotonic()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
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
    """Name, slowdown in percent, how many comparisons, neighbours, tolerance."""
    for where, neighbours in (("quiet", 0), ("neighbour", 1)):
        yield f"{where}: aa", 0.0, args.comparisons, neighbours, "1%"
        for percent in (3, 5, 10):
            yield f"{where}: slow {percent} %", percent, args.slow, neighbours, "1%"
        # As the gate comes.
        yield f"{where}: tolerant aa", 0.0, args.comparisons, neighbours, "5%"


def run(args, rows, made):
    """Goes on after `rows`."""
    for at, (name, percent, count, disturbed, tolerance) in enumerate(experiments(args)):
        if args.only not in name:
            continue
        have = sum(row["experiment"] == name for row in rows)
        neighbours = [multiprocessing.Process(target=burn, args=(args.seed + i,), daemon=True)
                      for i in range(disturbed if have < count else 0)]
        for neighbour in neighbours:
            neighbour.start()
        for i in range(have, count):
            seed = args.seed + 1_000_000 * at + i
            program = made[i % len(made)]
            base, head = program.text(), program.text(percent)
            row = {"experiment": name, "seed": seed, "program": program.name,
                   "brigade": ab(args.brigade, base, head, program.shell, seed, tolerance)}
            split = (lambda text: ["sh", "-c", text]) if program.shell else str.split
            row["usual"] = usual(split(base), split(head), seed) if i < args.usual else None
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
             "longest s | hyperfine 10 % | Mann-Whitney | criterion |",
             "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name in dict.fromkeys(row["experiment"] for row in rows):
        of = [row for row in rows if row["experiment"] == name]
        # The worst of the two metrics, as for the exit code.
        count = {verdict: sum(row["brigade"]["verdict"] == verdict for row in of)
                 for verdict in ("worse", "same", "inconclusive", "better")}
        low, high = wilson(count["worse"], len(of))
        took = sorted(row["brigade"]["took_s"] for row in of)
        judged = [rules(row["usual"]["base_s"], row["usual"]["head_s"], row["seed"])
                  for row in of if row["usual"]]
        said = [f"{sum(row[rule] for row in judged)} of {len(judged)}"
                for rule in ("hyperfine 10 %", "mann-whitney", "criterion")]
        lines.append(f"| {name} | {len(of)} | {count['worse']} | {low:.1%} .. {high:.1%} | "
                     f"{count['same']} | {count['inconclusive']} | {count['better']} | "
                     f"{took[len(took) // 2]:.1f} | {took[-1]:.1f} | " + " | ".join(said) + " |")
    lines.append("")
    for name in dict.fromkeys(row["experiment"] for row in rows):
        each = []
        for program in ("c", "python", "shell"):
            of = [row for row in rows if row["experiment"] == name and row["program"] == program]
            worse = sum(row["brigade"]["verdict"] == "worse" for row in of)
            each.append(f"{program} {worse} of {len(of)}")
        lines.append(f"{name}: worse: {', '.join(each)}")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brigade", default="target/release/brigade")
    parser.add_argument("--comparisons", type=int, default=200, help="of a program with itself")
    parser.add_argument("--slow", type=int, default=100, help="for each slowdown")
    parser.add_argument("--usual", type=int, default=40, help="of each, judged by the usual rules too")
    parser.add_argument("--only", default="", metavar="TEXT",
                        help="the experiments whose names have this, as in `quiet: slow`")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", help="every comparison, as JSON; one that is there is gone on with")
    parser.add_argument("--table", metavar="FILE", help="only print the table of a saved run")
    parser.add_argument("--quick", action="store_true", help="three of each")
    args = parser.parse_args()
    if args.quick:
        args.comparisons = args.slow = args.usual = 3
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
    with tempfile.TemporaryDirectory() as directory:
        made = programs(directory)
        for program in made:
            print(f"{program.name}: {program.seconds * 1e3:.1f} ms", file=sys.stderr)
        run(args, rows, made)
    took = time.monotonic() - begin
    print(table(rows))
    print(f"\nSeed {args.seed}, {took / 60:.0f} minutes.")


if __name__ == "__main__":
    main()
