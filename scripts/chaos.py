#!/usr/bin/env python3
"""A storm over the real executable: workers are killed, stopped and starved of memory at
random moments while a batch runs, and every outcome is compared with what plain code gives.

    scripts/chaos.py                             one storm: 2,000 jobs, seed 1
    scripts/chaos.py --full --table FILE         20,000 jobs, 2 and 8 workers, arena and shm,
                                                 spawn and forkserver, ten seeds; for docs/survival.md
    scripts/chaos.py --brigade PATH --log FILE   another build; what was done to it, as JSON lines

About --every milliseconds (exponential gaps) after there is somebody to strike he gets SIGKILL,
SIGSEGV, SIGSTOP (it hangs) or no more memory (RLIMIT_AS is set to nothing, so its next large
allocation fails): a worker that is at work, now and then one that is just starting, or the
template of the fork server. Exit code 1 unless

- each job is answered once, as `ok`, with the digest that `--backend sync` gives,
- strikes of every kind that was asked for have ended somebody,
- the coordinator, at rest after the last job, has no more descriptors, mappings and memory than
  at rest after the first tenth of the jobs, but for what GROWTH allows,
- no process, socket, file or entry in /dev/shm is left.

Needs Linux and Python's own library.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from storm import (ACTIONS, SIZES, TARGETS, Storm, calm_size, machine, png, rows,
                   wait_left_behind)

# From a tenth of the jobs to the end. A region of the arena that is first needed late is a
# descriptor and a mapping in the coordinator; resident memory counts the arena, which
# is used where the jobs happen to lie. Of payloads in regions of their own (shm) the heap keeps room
# for as many as there ever were at a time.
GROWTH = {"descriptors": 16, "mappings": 24, "private KiB": 4096, "resident KiB": 64 << 10}
SHM_GROWTH = {("shm", "private KiB"): 28 << 10}


def menu(directory, seed):
    """The different jobs, from nothing to 1 MiB, and how often each is wanted: 0.4 ms each
    on average, so that a run is about its strikes."""
    dice = random.Random(seed)
    jobs = [({"kernel": "noop"}, 300)]
    jobs += [({"kernel": "spin", "params": {"us": us}}, 40) for us in (50, 100, 300, 700, 2000)]
    for size, weight in ((1, 60), (100, 60), (4_000, 60), (64_000, 60), (300_000, 20), (1 << 20, 10)):
        path = directory / f"{size}.bin"
        path.write_bytes(dice.randbytes(size))
        jobs.append(({"kernel": "touch", "inputs": [str(path)]}, weight))
    for width, height, weight in ((32, 24, 40), (160, 120, 15), (320, 240, 3)):
        path = directory / f"{width}.png"
        png(path, width, height, dice)
        for kernel in ("grayscale", "sobel", "median", "blur"):
            jobs.append(({"kernel": kernel, "inputs": [str(path)]}, weight))
    return jobs


def reference(brigade, jobs):
    """What plain code makes of each."""
    lines = "".join(json.dumps({"id": i, **job}) + "\n" for i, (job, _) in enumerate(jobs))
    done = subprocess.run([brigade, "batch", "-", "-b", "sync"], input=lines, capture_output=True,
                          text=True)
    if done.returncode != 0:
        sys.exit(f"the reference failed: {done.stderr}")
    return {row["id"]: row["digest"] for row in rows(done.stdout.splitlines())}


class Answers(threading.Thread):
    """Reads them, and tells when there are as many as are waited for."""

    def __init__(self, stream):
        super().__init__(daemon=True)
        self.stream, self.rows, self.ended = stream, [], False
        self.more = threading.Condition()

    def run(self):
        for line in self.stream:
            row = json.loads(line)
            if "status" in row:
                with self.more:
                    self.rows.append(row)
                    self.more.notify()
        with self.more:
            self.ended = True
            self.more.notify()

    def wait_for(self, count, patience_s):
        with self.more:
            return self.more.wait_for(lambda: len(self.rows) >= count or self.ended, patience_s)


def storm(args, jobs, expected, setup, seed):
    count, transport, method = setup
    home = tempfile.mkdtemp(prefix="chaos-")
    marker = f"BRIGADE_CHAOS={os.getpid()}-{time.monotonic_ns()}"
    shm_before = set(os.listdir("/dev/shm"))
    env = {**os.environ, "XDG_RUNTIME_DIR": home, "TMPDIR": home, **dict([marker.split("=")])}
    command = [args.brigade, "batch", "-", "-w", str(count), "--transport", transport,
               "--start-method", method, "--retries", "10", "--timeout", "20s",
               "--heartbeat", args.heartbeat, "--start-timeout", "1s", "--log", "error"]
    if args.max_restarts is not None:
        command += ["--max-restarts", str(args.max_restarts)]
    targets = TARGETS if method == "forkserver" else TARGETS[:-1]
    dice, weights, order = random.Random(seed), [weight for _, weight in jobs], []
    wrong, sizes = [], []
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as errors:
        run = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=errors, text=True, env=env)
        answers = Answers(run.stdout)
        answers.start()
        weather = Storm(run.pid, seed, args.every / 1000, args.actions.split(","), targets)
        weather.start()
        def feed(more):
            """Whether so many jobs more were answered."""
            chosen = dice.choices(range(len(jobs)), weights, k=more)
            lines = [json.dumps({"id": len(order) + i, **jobs[what][0]}) + "\n"
                     for i, what in enumerate(chosen)]
            order.extend(chosen)
            try:
                run.stdin.writelines(lines)
                run.stdin.flush()
            except BrokenPipeError:
                return False
            if not answers.wait_for(len(order), args.patience):
                wrong.append(f"{len(answers.rows)} of {len(order)} answers after {args.patience} s")
                run.kill()
                return False
            return len(answers.rows) == len(order)

        rested, tenth = 0, max(1, args.jobs // 10)
        for part in (tenth, args.jobs - tenth):
            going = feed(part)
            # A short batch goes on until it has been struck in every way.
            while going and part > tenth and weather.missing() and \
                    time.monotonic() < begin + args.patience:
                going = feed(100)
            if not going:
                break
            weather.calm.set()
            since = time.monotonic()
            seen = calm_size(run.pid, count)
            if seen is None:
                wrong.append(f"it does not come to rest after {len(order)} jobs")
                break
            sizes.append(seen)
            rested += time.monotonic() - since
            weather.calm.clear()
        weather.end()
        took = time.monotonic() - begin - rested
        try:
            run.stdin.close()
        except BrokenPipeError:
            pass
        try:
            code = run.wait(60)
        except subprocess.TimeoutExpired:
            wrong.append("it does not end")
            run.kill()
            code = run.wait()
        answers.join()
        run.stdout.close()
        errors.seek(0)
        said = errors.read()
    answered = Counter()
    for row in answers.rows:
        answered[row["id"]] += 1
        if row["status"] != "ok":
            wrong.append(f"job {row['id']}: {row['status']}: {row['error']}")
        elif row["digest"] != expected[order[row["id"]]]:
            wrong.append(f"job {row['id']}: other bytes")
    wrong += [f"job {i}: answered {answered[i]} times" for i in range(len(order))
              if answered[i] != 1]
    if code != 0:
        wrong.append(f"exit code {code}: {said.strip()[-300:]}")
    wrong += weather.missing()
    wrong += wait_left_behind(home, marker.encode(), shm_before)
    shutil.rmtree(home)
    grown = None
    if len(sizes) < 2:
        wrong.append("whether it grew is not known")
    else:
        grown = {what: sizes[1][what] - sizes[0][what] for what in SIZES}
        wrong += [f"{what} grew by {by}, from {sizes[0][what]}" for what, by in grown.items()
                  if by > GROWTH[what] + SHM_GROWTH.get((transport, what), 0)]
    by_action, by_target = weather.counts()
    about = {"workers": count, "transport": transport, "start_method": method, "seed": seed}
    end = {
        **about, "jobs": len(order), "took_s": round(took, 1),
        "actions": dict(by_action), "targets": dict(by_target),
        "hangs_noticed": sum(act["action"] == "SIGSTOP" and act["gone_s"] is not None
                             for act in weather.done),
        "retried": sum(row["attempts"] > 1 for row in answers.rows),
        "most_attempts": max((row["attempts"] for row in answers.rows), default=0),
        "grown": grown, "wrong": wrong,
    }
    return end, [{**about, **act} for act in weather.done]


HEAD = ("| workers | transport | start | seeds | jobs | s a run | strikes | one every ms | "
        f"{' / '.join(ACTIONS)} | {' / '.join(TARGETS)} | tried again | most tries | "
        f"most grown: {', '.join(SIZES)} | wrong |\n"
        "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | --- | --- | ---: | ---: | --- | ---: |")


def line(ends):
    """The runs of one set-up in a line of a table."""
    first = ends[0]
    total = lambda what: sum(end[what] for end in ends)  # noqa: E731
    by = lambda what, names: " / ".join(  # noqa: E731
        str(sum(end[what].get(name, 0) for end in ends)) for name in names)
    strikes = sum(sum(end["actions"].values()) for end in ends)
    grown = [max(end["grown"][what] for end in ends) if all(end["grown"] for end in ends) else "?"
             for what in SIZES]
    return (f"| {first['workers']} | {first['transport']} | {first['start_method']} | {len(ends)} | "
            f"{total('jobs')} | {total('took_s') / len(ends):.1f} | {strikes} | "
            f"{1000 * total('took_s') / max(1, strikes):.0f} | {by('actions', ACTIONS)} | "
            f"{by('targets', TARGETS)} | {total('retried')} | "
            f"{max(end['most_attempts'] for end in ends)} | {', '.join(map(str, grown))} | "
            f"{sum(len(end['wrong']) for end in ends)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brigade", default="target/release/brigade")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--workers", default="2", help="as in 2,8")
    parser.add_argument("--transport", default="arena", help="as in arena,shm")
    parser.add_argument("--start-method", default="spawn", help="as in spawn,forkserver")
    parser.add_argument("--every", type=float, default=30,
                        help="milliseconds until somebody who can be struck is struck; with the waits "
                        "for one who can, a strike comes about every 50 ms (default: %(default)s)")
    parser.add_argument("--actions", default=",".join(ACTIONS), help="default: %(default)s")
    parser.add_argument("--max-restarts", type=int, help="default: the product's")
    parser.add_argument("--heartbeat", default="200ms", help="longer where others use the cores")
    parser.add_argument("--patience", type=float, default=600, help="seconds for one run")
    parser.add_argument("--full", action="store_true", help="20,000 jobs, 2 and 8 workers, arena and shm, spawn and "
                        "forkserver, ten seeds")
    parser.add_argument("--log", help="append what was done, as JSON lines")
    parser.add_argument("--out", help="append each storm's result, as JSON lines")
    parser.add_argument("--table", help="write the table into this file as well, as Markdown")
    args = parser.parse_args()
    if args.full:
        args.jobs, args.seeds = 20_000, 10
        args.workers, args.transport, args.start_method = "2,8", "arena,shm", "spawn,forkserver"
    setups = [(int(count), transport, method) for count in args.workers.split(",")
              for transport in args.transport.split(",") for method in args.start_method.split(",")]
    ends = {setup: [] for setup in setups}
    begin = time.monotonic()
    print(HEAD)
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(args.seed, args.seed + args.seeds):
            jobs = menu(Path(directory), seed)
            expected = reference(args.brigade, jobs)
            for setup in setups:
                end, log = storm(args, jobs, expected, setup, seed)
                ends[setup].append(end)
                print(line([end]), flush=True)
                for what in end["wrong"][:5]:
                    print(f"  seed {seed}: {what}", file=sys.stderr)
                for path, written in ((args.log, log), (args.out, [end])):
                    if path:
                        with open(path, "a") as file:
                            file.writelines(json.dumps(act) + "\n" for act in written)
    if args.table:
        rows = "\n".join(line(runs) for runs in ends.values())
        seeds = f"seeds {args.seed} to {args.seed + args.seeds - 1}"
        minutes = (time.monotonic() - begin) / 60
        Path(args.table).write_text(f"{HEAD}\n{rows}\n\n{seeds}, {minutes:.0f} minutes, {machine()}.\n")
    sys.exit(1 if any(end["wrong"] for runs in ends.values() for end in runs) else 0)


if __name__ == "__main__":
    main()
