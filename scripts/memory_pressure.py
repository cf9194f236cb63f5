#!/usr/bin/env python3
"""Batches in control groups that are too small for all their workers at once: the coordinator
survives, each line is answered once, and what is short for a moment is waited for.

    scripts/memory_pressure.py                       21 runs: 250 to 400 MiB, 2 to 8 workers, with and
                                                     without --memory-limit, both start methods
    scripts/memory_pressure.py --runs 3 --lines 30   fewer, shorter
    scripts/memory_pressure.py --brigade PATH --table FILE

Each job fits into the smallest group alone, with its worker and the coordinator; several at once do
not. Swap is off. Exit code 1 unless, in each run,

- the coordinator ends by itself within --cap seconds, with exit code 0,
- each line is answered once, as `ok`, with the digest of an undisturbed run; or, where a job wants
  more than --memory-limit, as `failed` for that reason,
- no worker is said to have broken the protocol.

Needs Linux, Python's own library, and the right to make control groups (root, version 1 or 2). Where
none can be made it says so, and exits with 0; with 1 if BRIGADE_REQUIRE names `cgroup` or `all`.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path

MIB = 1 << 20
ROOT = Path(__file__).resolve().parent.parent


class Group:
    """A control group with a limit of memory."""

    def __init__(self, mib):
        self.path, self.version = place()
        self.path = self.path / f"brigade-{os.getpid()}-{mib}"
        self.path.mkdir()
        if self.version == 1:
            self.write("memory.limit_in_bytes", mib * MIB)
            self.write("memory.swappiness", 0, needed=False)
            self.write("memory.memsw.limit_in_bytes", mib * MIB, needed=False)
        else:
            self.write("memory.max", mib * MIB)
            self.write("memory.swap.max", 0, needed=False)

    def write(self, name, value, needed=True):
        try:
            (self.path / name).write_text(str(value))
        except OSError:
            if needed:
                self.path.rmdir()
                raise

    def enter(self):
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def kills(self):
        """How many processes the kernel has ended in it."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        for line in (self.path / name).read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
        return 0

    def left(self):
        return (self.path / "cgroup.procs").read_text().split()

    def remove(self):
        for _ in range(100):
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.05)


def place():
    """Where groups with a limit of memory can be made, and their version."""
    own = dict()
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        for name in controllers.split(","):
            own[name] = group
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        front, back = line.split(" - ")
        point, kind, options = front.split()[4], back.split()[0], back.split()[2]
        if kind == "cgroup" and "memory" in options.split(","):
            for group in (point + own.get("memory", "/"), point):
                if Path(group).is_dir():
                    return Path(group), 1
        if kind == "cgroup2" and "memory" in Path(point, "cgroup.controllers").read_text():
            # A group with processes has no limits for groups below it: beside the first.
            Path(point, "cgroup.subtree_control").write_text("+memory")
            return Path(point), 2
    raise OSError("no control groups with memory are mounted")


def png(path, width, height, dice):
    """An RGB picture that does not compress to nothing."""
    rows = b"".join(b"\0" + dice.randbytes(width * 3 // 16 + 1) * 16 for _ in range(8))
    row = len(rows) // 8
    body = zlib.compressobj(1)
    data = b""
    for i in range(height):
        line = rows[(i % 8) * row:(i % 8 + 1) * row][:1 + width * 3]
        data += body.compress(line)
    data += body.flush()

    def chunk(kind, body):
        return (len(body).to_bytes(4, "big") + kind + body
                + zlib.crc32(kind + body).to_bytes(4, "big"))

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([8, 2, 0, 0, 0])
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data)
                     + chunk(b"IEND", b""))


def menu(directory, dice):
    """Jobs that take 20 to 120 MiB each: of the worker's own, as inputs, as outputs, as both."""
    jobs = [({"kernel": "hog", "params": {"mib": mib}}, mib) for mib in (30, 60, 90, 120)]
    for mib in (8, 20, 35):
        path = directory / f"{mib}.bin"
        path.write_bytes(dice.randbytes(MIB) * mib)
        jobs.append(({"kernel": "touch", "inputs": [str(path)]}, 0))
    for width, height in ((1600, 1200), (2600, 2000)):
        path = directory / f"{width}.png"
        png(path, width, height, dice)
        for kernel in ("grayscale", "sobel", "blur"):
            jobs.append(({"kernel": kernel, "inputs": [str(path)]}, 0))
    return jobs


def batch(brigade, lines, flags, enter=None, cap=600):
    """Runs a batch; its exit code, rows and standard error."""
    text = "".join(json.dumps(line) + "\n" for line in lines)
    child = subprocess.Popen([brigade, "batch", "-", "--allow-fault-kernels", *flags],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, preexec_fn=enter)
    try:
        out, err = child.communicate(text, timeout=cap)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        return None, out, err
    return child.returncode, out, err


def reference(brigade, jobs):
    lines = [{"id": i, **job} for i, (job, _) in enumerate(jobs)]
    code, out, err = batch(brigade, lines, ["-w", "1"])
    if code != 0:
        sys.exit(f"the reference failed with {code}: {err}{out}")
    return {row["id"]: row["digest"] for row in map(json.loads, out.splitlines())}


def plan(runs):
    """Settings of the runs, as different as they can be."""
    groups, workers, limits = (250, 300, 350, 400), (2, 4, 8), (None, 160, 80)
    starts, transports = ("spawn", "forkserver"), ("arena", "shm", "arena", "inline")
    for run in range(runs):
        yield (groups[run % 4], workers[run % 3], limits[run // 2 % 3], starts[run % 2],
               transports[run // 3 % 4])


def judge(lines, rows, digests, limit):
    """What is wrong with the answers."""
    wrong = []
    count = Counter(row["id"] for row in rows)
    missing = [line["id"] for line, _, _ in lines if count[line["id"]] != 1]
    if missing or len(rows) != len(lines):
        wrong.append(f"{len(rows)} rows for {len(lines)} lines; not answered once: {missing[:5]}")
    known = {line["id"]: (kind, mib) for line, kind, mib in lines}
    for row in rows:
        kind, mib = known[row["id"]]
        error = row.get("error") or ""
        if "broke the protocol" in error:
            wrong.append(f"line {row['id']}: {error}")
        elif row["status"] == "ok":
            if row["digest"] != digests[kind]:
                wrong.append(f"line {row['id']}: another digest")
        elif not (limit and "memory limit" in error):
            wrong.append(f"line {row['id']} ({mib} MiB, kind {kind}): {row['status']}: {error}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brigade", default=str(ROOT / "target/debug/brigade"))
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--first", type=int, default=0, help="leave out so many")
    parser.add_argument("--lines", type=int, default=60)
    parser.add_argument("--cap", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", help="write the table to this file as well")
    args = parser.parse_args()
    try:
        Group(100).remove()
    except OSError as error:
        required = os.environ.get("BRIGADE_REQUIRE", "").split()
        print(f"skipped: no control group can be made: {error}")
        sys.exit(1 if {"cgroup", "all"} & set(required) else 0)
    table = ["| MiB | workers | memory limit | start | transport | exit | s | ok | failed | crashed "
             "| killed by the kernel | wrong |", "|" + " --- |" * 12]
    bad = survived = 0
    with tempfile.TemporaryDirectory(prefix="brigade-memory-") as name:
        directory, dice = Path(name), random.Random(args.seed)
        jobs = menu(directory, dice)
        digests = reference(args.brigade, jobs)
        runs = list(plan(args.runs))[args.first:]
        for number, (mib, workers, limit, start, transport) in enumerate(runs):
            lines = []
            for i in range(args.lines):
                kind = dice.randrange(len(jobs))
                job = dict(jobs[kind][0])
                if dice.random() < 0.3 and kind > 3:
                    job["output"] = str(directory / f"{number}-{i}.{'bin' if 'touch' in job['kernel'] else 'png'}")
                lines.append(({"id": i, **job}, kind, jobs[kind][1]))
            flags = ["-w", str(workers), "--start-method", start, "--transport", transport]
            flags += ["--memory-limit", f"{limit}MiB"] if limit else []
            group = Group(mib)
            begin = time.monotonic()
            code, out, err = batch(args.brigade, [line for line, _, _ in lines], flags,
                                   group.enter, args.cap)
            took = time.monotonic() - begin
            kills, left = group.kills(), group.left()
            group.remove()
            rows = [json.loads(row) for row in out.splitlines() if row.endswith("}")]
            status = Counter(row["status"] for row in rows)
            wrong = judge(lines, rows, digests, limit)
            survived += code in (0, 1)
            if code not in ((0, 1) if limit else (0,)):
                wrong.insert(0, f"exit code {code}: {err.strip()[-500:]}")
            if left:
                wrong.append(f"processes are left: {left}")
            bad += bool(wrong)
            table.append(f"| {mib} | {workers} | {limit or '-'} | {start} | {transport} | {code} | "
                         f"{took:.1f} | {status['ok']} | {status['failed']} | {status['crashed']} | "
                         f"{kills} | {len(wrong)} |")
            print(table[-1], flush=True)
            for what in wrong[:6]:
                print(f"    {what}", flush=True)
            for line in err.splitlines()[:3]:
                print(f"    said: {line[:200]}", flush=True)
            for file in directory.glob(f"{number}-*"):
                file.unlink()
    verdict = f"{survived} of {len(runs)} coordinators survived; {len(runs) - bad} runs as they should be"
    print(verdict)
    if args.table:
        Path(args.table).write_text("\n".join(table) + f"\n\n{verdict}\n")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
