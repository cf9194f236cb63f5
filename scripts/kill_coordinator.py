#!/usr/bin/env python3
"""Kills the coordinator at random moments, and goes on with --resume until all is done.

    scripts/kill_coordinator.py                        100 kills, about two minutes
    scripts/kill_coordinator.py --kills 6 --seed 7     shorter, other moments
    scripts/kill_coordinator.py --brigade PATH         another build than target/release/brigade

A batch of images and of jobs without files is run with a journal. At a moment between nothing
and a little more than the whole run takes the coordinator gets SIGKILL; then the next one goes
on with --resume, and is killed too, until one comes to its end; then it begins anew. Exit code 1
unless after each kill all workers, and what they started, are gone within a second, and at the
end of each batch every job has ended `ok` once, each output is byte for byte what
`--backend sync` makes of it, and nothing else is left: temporary files, sockets, shared
memory. Linux; needs Python's own library only.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import chaos


def jobs(directory: Path, out: Path, count: int, dice: random.Random) -> Path:
    images = []
    for width, height in ((64, 48), (320, 240), (640, 480)):
        images.append(directory / f"{width}.png")
        if not images[-1].exists():
            chaos.png(images[-1], width, height, random.Random(width))
    path = directory / f"{out.name}.jsonl"
    with open(path, "w") as file:
        for i in range(count):
            job = {"id": f"j{i}", "kernel": dice.choice(["blur", "median", "sobel"]),
                   "inputs": [str(dice.choice(images))], "output": str(out / f"{i}.png")}
            if i % 4 == 0:
                job = {"id": f"j{i}", "kernel": "spin", "params": {"us": 2000}}
            file.write(json.dumps(job) + "\n")
    return path


def contents(out: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in out.iterdir()}


def marked(marker: bytes) -> list[str]:
    """Living processes of a run; a zombie has no environment."""
    return [pid for pid in os.listdir("/proc") if pid.isdigit() and chaos.is_marked(pid, marker)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brigade", default="target/release/brigade")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    brigade = str(Path(args.brigade).resolve())
    dice = random.Random(args.seed)
    wrong: list[str] = []
    gone_after: list[float] = []
    kills = batches = redone = 0
    shm_before = set(os.listdir("/dev/shm"))
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        here = Path(name)
        out, plain, home = here / "out", here / "sync", here / "home"
        for directory in (out, plain, home):
            directory.mkdir()
        seed = dice.random()
        path = jobs(here, out, args.jobs, random.Random(seed))
        subprocess.run([brigade, "batch", jobs(here, plain, args.jobs, random.Random(seed)),
                        "-b", "sync"], check=True, capture_output=True)
        expected = contents(plain)
        marker = f"BRIGADE_KILL={os.getpid()}-{time.monotonic_ns()}"
        env = {**os.environ, "XDG_RUNTIME_DIR": str(home), "TMPDIR": str(home),
               **dict([marker.split("=")])}

        def start(method: str) -> subprocess.Popen:
            command = [brigade, "batch", str(path), "--journal", str(here / "journal"), "--resume",
                       "-w", "2", "--start-method", method]
            return subprocess.Popen(command, env=env, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True, cwd=here)

        begin = time.monotonic()
        start("spawn").communicate()
        whole = time.monotonic() - begin
        while kills < args.kills and not wrong:
            (here / "journal").unlink()
            shutil.rmtree(out)
            out.mkdir()
            while True:
                method = dice.choice(["spawn", "forkserver"])
                run = start(method)
                try:
                    # At the very beginning too, where most is set up.
                    limit = whole * dice.choice([0.1, 1.1]) * dice.random()
                    said, errors = run.communicate(timeout=limit)
                except subprocess.TimeoutExpired:
                    if kills < args.kills:
                        run.kill()
                        run.wait()
                        killed = time.monotonic()
                        while (left := marked(marker.encode())) and time.monotonic() - killed < 5:
                            time.sleep(0.001)
                        gone_after.append(time.monotonic() - killed)
                        if left or gone_after[-1] > 1:
                            wrong.append(f"after kill {kills}: {len(left)} processes live, "
                                         f"{gone_after[-1]:.2f} s later")
                        kills += 1
                        run.stdout.close()
                        run.stderr.close()
                        continue
                    said, errors = run.communicate()
                break
            batches += 1
            if run.returncode != 0:
                wrong.append(f"exit code {run.returncode}: {errors[-300:]}")
            rows = chaos.rows(said.splitlines())
            ended = Counter(row["id"] for row in rows if row["status"] == "ok")
            wrong += [f"job j{i} ended {ended[f'j{i}']} times" for i in range(args.jobs)
                      if ended[f"j{i}"] != 1]
            found = contents(out)
            wrong += [f"{name} is missing" for name in expected.keys() - found.keys()]
            wrong += [f"{name} is left over" for name in found.keys() - expected.keys()]
            wrong += [f"{name} has other bytes" for name in expected.keys() & found.keys()
                      if expected[name] != found[name]]
            done = Counter()
            for line in (here / "journal").read_text().splitlines():
                record = json.loads(line.split(" ", 1)[1])
                if "done" in record:
                    done[record["done"]["job"]] += 1
            # A result that was in the journal and not in place yet when the kill came.
            redone += sum(count - 1 for count in done.values())
            if len(done) != args.jobs:
                wrong.append(f"the journal has {len(done)} results")
        left = chaos.left_behind(home, marker.encode(), shm_before)
        if any(left.values()):
            wrong.append(f"left behind: {left}")
    print(f"{kills} kills in {batches} batches of {args.jobs} jobs, seed {args.seed}: workers gone "
          f"after {1000 * statistics.median(gone_after):.1f} ms (median), "
          f"{1000 * max(gone_after):.1f} ms (most); {redone} results computed again that were "
          f"in the journal and not in place; {len(wrong)} wrong")
    for line in wrong[:10]:
        print(f"  {line}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
