#!/usr/bin/env python3
"""Does a pool stay as small as it was, and does it cost nothing while it has no work?

    scripts/check_flat.py                    a million jobs of mixed sizes, then ten idle seconds
    scripts/check_flat.py --jobs 50000       shorter
    scripts/check_flat.py --brigade PATH     another build than target/release/brigade

One `brigade batch -` with two workers reads its jobs from this script, which looks at
/proc while it runs: memory that only one process has (not the arena, which is shared),
descriptors and mappings of the coordinator and of each worker, after a hundredth of the
jobs, after a tenth, and at the end; then it lets the pool rest and counts the processor
time of all of them. A region of the arena that is first needed late is a descriptor and
a mapping more: so exit code 1 means that from a tenth of the jobs to the end something
grew by more than 256 KiB, 2 descriptors or 4 mappings, that a worker has 3 MiB of its
own, that idling took 0.1 % of a core, or that a job failed.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def brigade(given: str | None) -> str:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    path = Path(given) if given else target / "release" / "brigade"
    if not path.exists():
        sys.exit(f"{path} is missing: cargo build --release, or --brigade PATH")
    return str(path)


def family(pid: int) -> list[int]:
    """The process and its children."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text().split())
    return found


def state(pid: int) -> dict[str, int]:
    rollup: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, size, *_ = line.split()
        rollup[name.rstrip(":")] = int(size)
    # Pages of the arena that only one process has touched count as private there.
    private = rollup["Anonymous"]
    return {
        "private KiB": private,
        "descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir())),
        "mappings": len(Path(f"/proc/{pid}/maps").read_text().splitlines()),
    }


def processor_seconds(pids: list[int]) -> float:
    """Of all their threads. In nanoseconds, not in ticks: ten idle seconds are allowed one tick."""
    threads = [thread for pid in pids for thread in Path(f"/proc/{pid}/task").iterdir()]
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def job(dice: random.Random, number: int) -> str:
    """Mostly tiny jobs, some of kilobytes, a few of a megapixel."""
    line: dict = {"id": number}
    roll = dice.random()
    if roll < 0.9:
        line |= {"kernel": "noop"}
    elif roll < 0.99:
        line |= {"kernel": "spin", "params": {"us": dice.randrange(20)}}
    else:
        line |= {"kernel": "touch", "inputs": [dice.choice(FILES)]}
    return json.dumps(line)


FILES: list[str] = []


def make_files(directory: Path) -> None:
    for kib in (1, 16, 64, 256, 1024, 4096):
        path = directory / f"{kib}.bin"
        path.write_bytes(os.urandom(kib << 10))
        FILES.append(str(path))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--idle", type=float, default=10.0, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--brigade")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as directory:
        make_files(Path(directory))
        return measure(args)


def measure(args: argparse.Namespace) -> int:
    command = [brigade(args.brigade), "batch", "-", "--workers", "2"]
    pool = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    done = failed = 0
    looks = [args.jobs // 100, args.jobs // 10, args.jobs]
    reached = [threading.Event() for _ in looks]

    def read() -> None:
        nonlocal done, failed
        for line in pool.stdout:
            failed += '"status":"ok"' not in line
            done += 1
            if done in looks:
                reached[looks.index(done)].set()

    def write() -> None:
        dice = random.Random(args.seed)
        for number in range(args.jobs):
            pool.stdin.write(job(dice, number) + "\n")
        pool.stdin.flush()

    reader = threading.Thread(target=read)
    reader.start()
    writer = threading.Thread(target=write)
    begin = time.monotonic()
    writer.start()
    pids, columns = [], []
    for event in reached:
        event.wait()
        pids = pids or family(pool.pid)
        columns.append([state(pid) for pid in pids])
    writer.join()
    seconds = time.monotonic() - begin
    # What the last jobs left to do.
    time.sleep(2)
    columns.append([state(pid) for pid in pids])
    used = processor_seconds(pids)
    time.sleep(args.idle)
    idle = (processor_seconds(pids) - used) / args.idle
    pool.stdin.close()
    reader.join()
    code = pool.wait()

    print(f"{done} jobs in {seconds:.1f} s, {failed} failed, seed {args.seed}, exit code {code}")
    good = failed == 0 and code == 0 and len(pids) == 3
    heads = [f"after {looks[0]}", f"after {looks[1]}", "at the end", "idle"]
    print(f"{'':14} {'':12} " + " ".join(f"{head:>13}" for head in heads))
    # The heap steps up once by 0.7 MiB when the queue is first full, which may be late; with
    # 4,000,000 jobs there is no second step. A byte for each job would be 0.9 MiB.
    allowed = {"private KiB": 900, "descriptors": 2, "mappings": 4}
    for place, _ in enumerate(pids):
        who = "coordinator" if place == 0 else f"worker {place - 1}"
        for what, slack in allowed.items():
            figures = [column[place][what] for column in columns]
            grew = figures[2] > figures[1] + slack
            fat = place > 0 and what == "private KiB" and figures[3] >= 3 << 10
            good &= not grew and not fat
            row = " ".join(f"{figure:13}" for figure in figures)
            print(f"{who:14} {what:12} {row}{'   GREW' * grew}{'   TOO MUCH' * fat}")
    print(f"idle for {args.idle:.0f} s: {100 * idle:.3f} % of a core (bar: 0.1 %)")
    good &= idle < 0.001
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
