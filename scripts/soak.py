#!/usr/bin/env python3
"""Half an hour of mixed work in one pool while its workers are killed: does anything grow?

    scripts/soak.py                        30 minutes, 4 workers, a strike every 500 ms
    scripts/soak.py --minutes 2            shorter
    scripts/soak.py --brigade PATH --out FILE   another build; each look at it, as JSON lines

One `brigade batch -` is fed by this script as fast as it takes jobs: empty and short ones, raw
bytes up to 1 MiB, images, and now and then one that panics, takes its worker down or takes
more memory than it may. Meanwhile a worker gets SIGKILL, SIGSEGV or SIGSTOP, as in
scripts/chaos.py; the oldest one is spared, so that it grows old. Every answer is compared with
what `--backend sync` gives, and every five seconds coordinator and workers are looked at: memory
that nobody else has, descriptors, mappings, threads. Exit code 1 unless each job is
answered once and rightly, the medians of the last tenth of the time are what they were before
half of it, no worker ever has more than its limit, and in the end nothing is left behind.
Linux; needs Python's own library only.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import check_flat
import storm

# What may be more at the end than before: a worker that is just being replaced, and what the
# allocator keeps.
ALLOWED = {"private KiB": 1024, "descriptors": 6, "mappings": 12, "threads": 4,
           "median worker KiB": 1024, "oldest worker KiB": 2048}
# No worker may have more of its own: what `hog` may take, and what is there before the first job.
MOST_WORKER_KIB = (128 + 16) << 10
FLAGS = ["--retries", "10", "--timeout", "20s", "--memory-limit", "128MiB",
         "--max-jobs-per-worker", "20000", "--allow-fault-kernels", "--log", "error"]
# Not `memory`: with a memory limit that is the job's own fault.
ACTIONS = ["SIGKILL", "SIGSEGV", "SIGSTOP"]
# What its job is told by.
BAD = {"panic": ("failed", "panicked"), "crash": ("crashed", ""), "hog": ("failed", "memory limit")}


def menu(directory: Path) -> tuple[list[dict], list[int]]:
    """The different jobs, and how often each is wanted."""
    dice = random.Random(0)
    jobs: list[tuple[dict, int]] = [({"kernel": "noop"}, 400)]
    jobs += [({"kernel": "spin", "params": {"us": us}}, 60) for us in (50, 200, 1000, 3000)]
    for size in (1, 4_000, 64_000, 300_000, 1 << 20):
        path = directory / f"{size}.bin"
        path.write_bytes(dice.randbytes(size))
        jobs.append(({"kernel": "touch", "inputs": [str(path)]}, 50))
    for width, height in ((32, 24), (160, 120), (320, 240)):
        path = directory / f"{width}.png"
        storm.png(path, width, height, dice)
        for kernel in ("grayscale", "sobel", "median", "blur"):
            jobs.append(({"kernel": kernel, "inputs": [str(path)]}, 9))
    jobs += [({"kernel": kernel}, 1) for kernel in BAD if kernel != "hog"]
    jobs.append(({"kernel": "hog", "params": {"mib": 256}}, 1))
    return [job for job, _ in jobs], [weight for _, weight in jobs]


def digests(brigade: str, jobs: list[dict]) -> list[str | None]:
    """What plain code makes of them; `None` for those that are to fail."""
    good = [i for i, job in enumerate(jobs) if job["kernel"] not in BAD]
    lines = "".join(json.dumps({"id": i, **jobs[i]}) + "\n" for i in good)
    done = subprocess.run([brigade, "batch", "-", "-b", "sync"], input=lines, capture_output=True,
                          text=True)
    if done.returncode:
        sys.exit(f"the reference failed: {done.stderr}")
    found = {row["id"]: row["digest"] for row in storm.rows(done.stdout.splitlines())}
    return [found.get(i) for i in range(len(jobs))]


class Checker(threading.Thread):
    """Reads the answers."""

    def __init__(self, pool, jobs, digests, asked):
        super().__init__(daemon=True)
        self.pool, self.jobs, self.digests, self.asked = pool, jobs, digests, asked
        self.open: set[int] = set()
        self.status, self.retried, self.wrong = Counter(), 0, []

    def run(self):
        for line in self.pool.stdout:
            row = json.loads(line)
            if "status" not in row:
                continue
            number = row["id"]
            if number not in self.open:
                self.wrong.append(f"job {number}: answered, but not asked, or again")
                continue
            self.open.discard(number)
            what = self.asked.pop(number)
            self.status[row["status"]] += 1
            self.retried += row["attempts"] > 1
            kernel = self.jobs[what]["kernel"]
            if kernel in BAD:
                status, word = BAD[kernel]
                if row["status"] != status or word not in str(row["error"]):
                    self.wrong.append(f"{kernel}: {row['status']}: {row['error']}")
            elif row["status"] != "ok":
                self.wrong.append(f"job {number} ({kernel}): {row['status']}: {row['error']}")
            elif row["digest"] != self.digests[what]:
                self.wrong.append(f"job {number} ({kernel}): other bytes")


def look(pid: int, count: int) -> dict[str, int] | None:
    """At a pool that is complete: one that has just lost a worker has fewer of all."""
    workers = storm.workers(pid)
    if len(workers) != count:
        return None
    try:
        threads = len(os.listdir(f"/proc/{pid}/task"))
        ages = sorted((storm.stat(worker)[1], worker) for worker in workers)
        own = [storm.size(worker)["private KiB"] for _, worker in ages]
        return {**storm.size(pid), "threads": threads, "oldest worker KiB": own[0],
                "median worker KiB": statistics.median_high(own), "most worker KiB": max(own)}
    except (OSError, KeyError, TypeError):
        return None


def medians(looks: list[dict[str, int]]) -> dict[str, float]:
    return {what: statistics.median(seen[what] for seen in looks) for what in ALLOWED}


def soak(args, directory: Path) -> int:
    jobs, weights = menu(directory)
    expected = digests(args.brigade, jobs)
    home, marker = tempfile.mkdtemp(prefix="soak-"), f"BRIGADE_CHAOS={os.getpid()}-soak"
    shm_before = set(os.listdir("/dev/shm"))
    env = {**os.environ, "XDG_RUNTIME_DIR": home, "TMPDIR": home, **dict([marker.split("=")])}
    command = [args.brigade, "batch", "-", "-w", str(args.workers), *FLAGS]
    command += ["--start-method", args.start_method, "--heartbeat", args.heartbeat]
    if args.max_restarts is not None:
        command += ["--max-restarts", str(args.max_restarts)]
    with open(directory / "errors", "w+") as errors:
        pool = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=errors, text=True, env=env)
        asked: dict[int, int] = {}
        checker = Checker(pool, jobs, expected, asked)
        checker.start()
        weather = storm.Storm(pool.pid, args.seed, args.every / 1000, ACTIONS, spare=1)
        weather.start()
        begin, number, looks = time.monotonic(), 0, []
        length = args.minutes * 60
        dice = random.Random(args.seed)
        while (now := time.monotonic() - begin) < length and pool.poll() is None:
            for what in dice.choices(range(len(jobs)), weights, k=100):
                asked[number] = what
                checker.open.add(number)
                try:
                    pool.stdin.write(json.dumps({"id": number, **jobs[what]}) + "\n")
                except BrokenPipeError:
                    # It has given up, and says so below.
                    length = 0
                    break
                number += 1
            if now >= args.look * len(looks) and (seen := look(pool.pid, args.workers)):
                looks.append(seen)
                if args.out:
                    with open(args.out, "a") as file:
                        line = {"s": round(now, 1), "jobs": number, **seen}
                        file.write(json.dumps(line) + "\n")
        weather.end()
        with contextlib.suppress(BrokenPipeError):
            pool.stdin.close()
        checker.join(120)
        code = pool.wait(60)
        errors.seek(0)
        said = errors.read()
    wrong = checker.wrong + [f"job {i}: never answered" for i in sorted(checker.open)]
    if code != 1:
        # Some of the jobs fail.
        wrong.append(f"exit code {code}: {said.strip()[-300:]}")
    wrong += weather.missing()
    wrong += storm.wait_left_behind(home, marker.encode(), shm_before)
    shutil.rmtree(home)

    strikes = dict(weather.counts()[0])
    told = (f"{number} jobs in {args.minutes:g} minutes on {args.workers} workers by "
            f"{args.start_method}: {dict(checker.status)}, {checker.retried} tried again; "
            f"{sum(strikes.values())} strikes {strikes}; seed {args.seed}")
    print(told)
    most = max((seen["most worker KiB"] for seen in looks), default=0)
    if most > MOST_WORKER_KIB:
        wrong.append(f"a worker had {most} KiB of its own")
    tenths = [looks[i * len(looks) // 10:(i + 1) * len(looks) // 10] for i in range(10)]
    if not all(tenths):
        wrong.append(f"{len(looks)} looks are too few to say whether it grew")
        tenths = [looks] * bool(looks)
    parts = [medians(part) for part in tenths]
    table = ["| medians of | " + " | ".join(f"tenth {i + 1}" for i in range(len(parts))) + " |",
             "| --- |" + " ---: |" * len(parts)]
    for what, slack in ALLOWED.items():
        figures = [part[what] for part in parts]
        if len(figures) == 10 and figures[-1] > max(figures[1:5]) + slack:
            wrong.append(f"{what} grew")
        table.append(f"| {what} | " + " | ".join(f"{figure:.0f}" for figure in figures) + " |")
    print("\n".join(table))
    print(f"{most} KiB at most in a worker; {len(wrong)} wrong")
    for line in wrong[:10]:
        print(f"  {line}")
    if args.table:
        Path(args.table).write_text("\n".join(table) + f"\n\n{told}; {most} KiB at most in a "
                                    f"worker; {len(wrong)} wrong; {storm.machine()}.\n")
    return 1 if wrong else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brigade")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--start-method", default="spawn")
    parser.add_argument("--every", type=float, default=500, help="milliseconds between strikes")
    parser.add_argument("--look", type=float, default=5, help="seconds between looks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--heartbeat", default="200ms", help="longer where others use the cores")
    parser.add_argument("--max-restarts", type=int, help="default: the product's")
    parser.add_argument("--table", help="write the table into this file as well, as Markdown")
    parser.add_argument("--out", help="append each look, as JSON lines")
    args = parser.parse_args()
    args.brigade = check_flat.brigade(args.brigade)
    with tempfile.TemporaryDirectory() as directory:
        return soak(args, Path(directory))


if __name__ == "__main__":
    sys.exit(main())
