#!/usr/bin/env python3
"""Kills the coordinator at random moments, and goes on with --resume until all is done.

    scripts/kill_coordinator.py                        100 kills, about two minutes
    scripts/kill_coordinator.py --kills 6 --seed 7     shorter, other moments
    scripts/kill_coordinator.py --brigade PATH         another build than
                                                       target/release/examples/leave_programs

A batch of images, of jobs without files, and of jobs that start a program and leave it running
(examples/leave_programs.rs) is run with a journal. Its outputs go to several directories, its ids
are the numbers of its lines, and each time that it is gone on with some lines have been added
before them, which start programs anew. At a moment between nothing and a little more than the whole run takes
the coordinator gets SIGKILL; then the next one goes on with --resume, and is killed too, until
one comes to its end; then it begins anew. Exit code 1 unless after each kill all workers, and
what they started, are gone within a second, and at the end of each batch every job has
ended `ok` once, each output is byte for byte what `--backend sync` makes of it, and nothing
else is left: temporary files, sockets, shared memory. Linux; needs Python's own library only.
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

import storm

DIRECTORIES = 5


def images(directory: Path) -> list[str]:
    found = []
    for width, height in ((64, 48), (320, 240), (640, 480)):
        path = directory / f"{width}.png"
        storm.png(path, width, height, random.Random(width))
        found.append(str(path))
    return found


def jobs(paths: list[str], out: Path, count: int, seed: float, plain: bool = False) -> list[dict]:
    """The first ones write to the first directory, the last ones to the last."""
    dice = random.Random(seed)
    found = []
    for i in range(count):
        directory = out / f"{DIRECTORIES * i // count}"
        job = {"id": i + 1, "kernel": dice.choice(["blur", "median", "sobel"]),
               "inputs": [dice.choice(paths)], "output": str(directory / f"{i}.png")}
        if i % 10 == 1:
            # Plain code has no worker that could leave something.
            job = {"id": i + 1, "kernel": "noop" if plain else "leave-program"}
        elif i % 4 == 0:
            job = {"id": i + 1, "kernel": "spin", "params": {"us": 2000}}
        found.append(job)
    return found


def write(path: Path, lines: list[dict]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def make_directories(out: Path) -> None:
    for number in range(DIRECTORIES):
        (out / str(number)).mkdir(parents=True)


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes()
            for path in out.rglob("*") if not path.is_dir()}


def programs(marker: bytes) -> int:
    """How many live that workers have started."""
    count = 0
    for pid in storm.marked(marker):
        try:
            count += Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
        except OSError:
            pass
    return count


def check(said: str, out: Path, expected: dict[str, bytes], journal: Path, count: int,
          wrong: list[str]) -> int:
    """What the last run says and has left; how many results were computed again that were in
    the journal and not in place yet when a kill came."""
    ended = Counter(row["id"] for row in storm.rows(said.splitlines()) if row["status"] == "ok")
    wrong += [f"job {i} ended {ended[i]} times" for i in range(1, count + 1) if ended[i] != 1]
    found = contents(out)
    wrong += [f"{name} is missing" for name in expected.keys() - found.keys()]
    wrong += [f"{name} is left over" for name in found.keys() - expected.keys()]
    wrong += [f"{name} has other bytes" for name in expected.keys() & found.keys()
              if expected[name] != found[name]]
    done = Counter()
    for line in journal.read_text().splitlines():
        record = json.loads(line.split(" ", 1)[1])
        if "done" in record:
            done[record["done"]["job"]] += 1
    # And what was added.
    if len(done) < count:
        wrong.append(f"the journal has {len(done)} results")
    return sum(times - 1 for times in done.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brigade", default="target/release/examples/leave_programs")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", help="write the figures into this file as well, as Markdown")
    args = parser.parse_args()
    if not Path(args.brigade).exists():
        sys.exit(f"{args.brigade} is missing: cargo build --release --example leave_programs")
    brigade = str(Path(args.brigade).resolve())
    dice = random.Random(args.seed)
    wrong: list[str] = []
    gone_after: list[float] = []
    batches = redone = left_running = 0
    shm_before = set(os.listdir("/dev/shm"))
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        here = Path(name)
        out, plain, home, journal = here / "out", here / "sync", here / "home", here / "journal"
        home.mkdir()
        make_directories(out)
        make_directories(plain)
        seed, paths = dice.random(), images(here)
        lines = jobs(paths, out, args.jobs, seed)
        reference = write(here / "reference", jobs(paths, plain, args.jobs, seed, plain=True))
        subprocess.run([brigade, "batch", reference, "-b", "sync"], check=True,
                       capture_output=True)
        expected = contents(plain)
        marker = f"BRIGADE_KILL={os.getpid()}-{time.monotonic_ns()}"
        env = {**os.environ, "XDG_RUNTIME_DIR": str(home), "TMPDIR": str(home),
               **dict([marker.split("=")])}

        def start() -> subprocess.Popen:
            added = [{"id": f"added-{dice.random()}", "kernel": "leave-program"}
                     for _ in range(dice.randrange(4))]
            command = [brigade, "batch", write(here / "jobs", added + lines), "--journal", journal,
                       "--resume", "-w", "2", "--start-method",
                       dice.choice(["spawn", "forkserver"])]
            return subprocess.Popen(command, env=env, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, text=True, cwd=here)

        begin = time.monotonic()
        start().communicate()
        whole = time.monotonic() - begin
        while len(gone_after) < args.kills and not wrong:
            journal.unlink()
            shutil.rmtree(out)
            make_directories(out)
            while True:
                run = start()
                try:
                    # At the very beginning too, where most is set up.
                    limit = whole * dice.choice([0.1, 1.1]) * dice.random()
                    said, errors = run.communicate(timeout=limit)
                except subprocess.TimeoutExpired:
                    if len(gone_after) < args.kills:
                        left_running += programs(marker.encode())
                        run.kill()
                        run.wait()
                        killed = time.monotonic()
                        while (left := storm.marked(marker.encode())) and \
                                time.monotonic() - killed < 5:
                            time.sleep(0.001)
                        gone_after.append(time.monotonic() - killed)
                        if left or gone_after[-1] > 1:
                            wrong.append(f"after kill {len(gone_after)}: {len(left)} processes "
                                         f"live, {gone_after[-1]:.2f} s later")
                        run.stdout.close()
                        run.stderr.close()
                        continue
                    said, errors = run.communicate()
                break
            batches += 1
            if run.returncode != 0:
                wrong.append(f"exit code {run.returncode}: {errors[-300:]}")
            redone += check(said, out, expected, journal, args.jobs, wrong)
        if left_running == 0:
            wrong.append("no program was left running at any kill: nothing was shown of them")
        wrong += storm.wait_left_behind(home, marker.encode(), shm_before)
    median, most = 1000 * statistics.median(gone_after), 1000 * max(gone_after)
    print(f"{len(gone_after)} kills in {batches} batches of {args.jobs} jobs, seed {args.seed}: "
          f"workers, and {left_running} programs that they had started, gone after {median:.1f} ms "
          f"(median), {most:.1f} ms (most); {redone} results computed again that were in the "
          f"journal and not in place; {len(wrong)} wrong")
    for line in wrong[:10]:
        print(f"  {line}", file=sys.stderr)
    if args.table:
        Path(args.table).write_text(
            "| kills | batches | jobs each | programs left running | all gone after, median | "
            "most | computed again | wrong |\n"
            "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
            f"| {len(gone_after)} | {batches} | {args.jobs} | {left_running} | {median:.1f} ms | "
            f"{most:.1f} ms | {redone} | {len(wrong)} |\n\n"
            f"seed {args.seed}, {storm.machine()}.\n")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
