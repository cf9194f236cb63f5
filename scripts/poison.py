#!/usr/bin/env python3
"""Four bad jobs among a thousand good ones: who fails, why, and what it costs the others.

    scripts/poison.py                       seven rounds, about 30 seconds
    scripts/poison.py --brigade PATH --rounds 3

Each round runs a batch of 1,000 `spin` jobs, and the same with a `crash`, a `hang`, a `hog` and a
stack overflow at random places, in random order. Exit code 1 unless exactly these four
fail, each with its own reason, and the batch with them takes at most 10 % longer than the
one without, beside the time that its workers were lost for: what the bad jobs took
themselves, and the restarts. Linux; needs Python's own library only.
"""

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import storm

BAD = {
    "crash": ({"kernel": "crash", "params": {"how": "segv"}}, "crashed", "SIGSEGV"),
    "overflow": ({"kernel": "crash", "params": {"how": "stack-overflow"}}, "crashed", "overflow"),
    "hang": ({"kernel": "hang", "timeout_ms": 200}, "timed-out", "200ms"),
    "hog": ({"kernel": "hog"}, "failed", "memory limit"),
}
GOOD = 1000
WORKERS = 2
# A worker comes back within so long, and a bad job is tried once more than --retries.
RESTART_S, TRIES = 0.02, 2


def run(brigade, lines):
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "jobs.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        begin = time.monotonic()
        done = subprocess.run(
            [brigade, "batch", path, "-w", str(WORKERS), "--retries", str(TRIES - 1),
             "--memory-limit", "64MiB", "--allow-fault-kernels", "--log", "off"],
            capture_output=True, text=True)
        took = time.monotonic() - begin
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return took, [row for row in rows if "status" in row]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brigade", default="target/release/brigade")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--slack", type=float, default=0.1,
                        help="more, where others use the cores; default: %(default)s")
    parser.add_argument("--table", help="write the figures into this file as well, as Markdown")
    args = parser.parse_args()
    dice = random.Random(args.seed)
    good = [{"id": i, "kernel": "spin", "params": {"us": 2000}} for i in range(GOOD)]
    wrong, clean, poisoned, lost = [], [], [], []
    for _ in range(args.rounds):
        mixed = list(good)
        for name, (job, _, _) in BAD.items():
            mixed.insert(dice.randrange(len(mixed)), {"id": name, **job})
        for lines in dice.sample([good, mixed], 2):
            took, rows = run(args.brigade, lines)
            by_id = {row["id"]: row for row in rows}
            if len(rows) != len(lines) or len(by_id) != len(lines):
                wrong.append(f"{len(rows)} answers to {len(lines)} jobs")
            for row in rows:
                _, status, reason = BAD.get(row["id"], (None, "ok", ""))
                said = f"{row['error']} {row.get('stderr', '')}"
                if row["status"] != status or reason not in said:
                    wrong.append(f"job {row['id']}: {row['status']}: {said}")
            if lines is good:
                clean.append(took)
            else:
                poisoned.append(took)
                bad = sum(by_id[name]["spans_us"]["compute"] * by_id[name]["attempts"]
                          for name in BAD if name in by_id) / 1e6
                restarts = sum(by_id[name]["attempts"] for name in BAD if name in by_id)
                lost.append((bad + restarts * RESTART_S) / WORKERS)
    without, with_them = statistics.median(clean), statistics.median(poisoned)
    allowed = (1 + args.slack) * without + statistics.median(lost)
    print(f"without {without:.3f} s, with the four {with_them:.3f} s; lost workers account for "
          f"{statistics.median(lost):.3f} s; {allowed:.3f} s would be allowed")
    if with_them > allowed:
        wrong.append("the others were held up")
    if args.table:
        Path(args.table).write_text(
            "| rounds | 1,000 good jobs | with the four | allowed | wrong |\n"
            "| ---: | ---: | ---: | ---: | ---: |\n"
            f"| {args.rounds} | {without:.3f} s | {with_them:.3f} s | {allowed:.3f} s | "
            f"{len(wrong)} |\n\nseed {args.seed}, {storm.machine()}.\n")
    for line in wrong[:10]:
        print(line, file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
