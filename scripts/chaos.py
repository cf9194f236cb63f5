#!/usr/bin/env python3
"""A storm over the real executable: workers are killed, stopped and starved of memory at
random moments while a batch runs, and every outcome is compared with what plain code gives.

    scripts/chaos.py                             one storm: 2,000 jobs, seed 1
    scripts/chaos.py --full                      20,000 jobs, 2 and 8 workers, arena and shm,
                                                 spawn and forkserver, ten seeds
    scripts/chaos.py --brigade PATH --log FILE   another build; what was done to it, as JSON lines

About every --every milliseconds (exponential gaps) a worker is chosen and gets SIGKILL,
SIGSEGV, SIGSTOP (it hangs) or no more memory (RLIMIT_AS is set to nothing, so its next large
allocation fails). Exit code 1 unless each job is answered once, as `ok`, with the digest that
`--backend sync` gives, and afterwards no process, socket or entry in /dev/shm is left and
descriptors and mappings of the coordinator had not grown. Needs Linux and Python's own library.
"""

import argparse
import json
import os
import random
import resource
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from pathlib import Path

ACTIONS = ("SIGKILL", "SIGSEGV", "SIGSTOP", "memory")


# ---- the batch ----------------------------------------------------------------------


def png(path, width, height, dice):
    rows = b"".join(b"\0" + dice.randbytes(3 * width) for _ in range(height))
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                     + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))


def batch(directory, count, seed):
    """Mixed kernels and sizes, from nothing to 1 MiB."""
    dice = random.Random(seed)
    sizes = [1, 100, 4_000, 64_000, 300_000, 1 << 20]
    raw = []
    for size in sizes:
        raw.append(directory / f"{size}.bin")
        raw[-1].write_bytes(dice.randbytes(size))
    images = []
    for width, height in ((32, 24), (160, 120), (320, 240)):
        images.append(directory / f"{width}.png")
        png(images[-1], width, height, dice)
    path = directory / "jobs.jsonl"
    with open(path, "w") as out:
        for i in range(count):
            kind = dice.random()
            if kind < 0.3:
                job = {"kernel": "noop"}
            elif kind < 0.5:
                job = {"kernel": "spin", "params": {"us": dice.randint(50, 3000)}}
            elif kind < 0.75:
                job = {"kernel": "touch", "inputs": [str(dice.choice(raw))]}
            elif kind < 0.9:
                kernel = dice.choice(["grayscale", "sobel", "median"])
                job = {"kernel": kernel, "inputs": [str(dice.choice(images))]}
            else:
                job = {"kernel": "blur", "params": {"sigma": dice.choice([0.8, 2, 3])},
                       "inputs": [str(dice.choice(images))]}
            out.write(json.dumps({"id": i, **job}) + "\n")
    return path


def rows(lines):
    """The rows of a batch's output; its last line is the summary."""
    rows = [json.loads(line) for line in lines]
    return [row for row in rows if "status" in row]


def reference(brigade, jobs):
    done = subprocess.run([brigade, "batch", jobs, "-b", "sync"], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the reference failed: {done.stderr}")
    return {row["id"]: row["digest"] for row in rows(done.stdout.splitlines())}


# ---- the storm ----------------------------------------------------------------------


def name(pid):
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def workers(coordinator):
    """Pids of the coordinator's workers; not its fork server's."""
    found = []
    try:
        for task in os.listdir(f"/proc/{coordinator}/task"):
            children = Path(f"/proc/{coordinator}/task/{task}/children").read_text().split()
            found += [int(pid) for pid in children]
    except OSError:
        pass
    return [pid for pid in found if name(pid).startswith("brigade-") and name(pid)[8:].isdigit()]


def strike(pid, action):
    try:
        if action == "memory":
            resource.prlimit(pid, resource.RLIMIT_AS, (4096, 4096))
        else:
            os.kill(pid, getattr(signal, action))
        return True
    except (ProcessLookupError, PermissionError):
        return False


class Storm(threading.Thread):
    def __init__(self, coordinator, seed, every_s, actions):
        super().__init__(daemon=True)
        self.coordinator, self.every_s, self.actions = coordinator, every_s, actions
        self.dice = random.Random(seed)
        self.begin = time.monotonic()
        self.done = []
        self.size = []

    def run(self):
        while Path(f"/proc/{self.coordinator}/fd").exists():
            time.sleep(self.dice.expovariate(1 / self.every_s))
            pids = workers(self.coordinator)
            if not pids:
                continue
            pid, action = self.dice.choice(pids), self.dice.choice(self.actions)
            if strike(pid, action):
                at = round(time.monotonic() - self.begin, 4)
                self.done.append({"at_s": at, "pid": pid, "action": action})
            self.measure()

    def measure(self):
        """Descriptors, shared mappings and resident KiB of the coordinator."""
        root = Path(f"/proc/{self.coordinator}")
        try:
            fds = len(os.listdir(root / "fd"))
            maps = (root / "maps").read_text().count("memfd")
            rss = int((root / "statm").read_text().split()[1]) * resource.getpagesize() // 1024
            self.size.append((fds, maps, rss))
        except OSError:
            pass


def is_marked(pid, marker):
    """Whether a process was started by a run with this marker in its environment."""
    try:
        return marker in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def left_behind(home, marker, shm_before):
    """What a run has left: processes, zombies among them, sockets, shared memory."""
    pids = [pid for pid in os.listdir("/proc") if pid.isdigit() and is_marked(pid, marker)]
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    files = [str(path) for path in Path(home).rglob("*") if not path.is_dir()]
    return {"processes": pids + children, "files": files,
            "shm": sorted(set(os.listdir("/dev/shm")) - shm_before)}


def storm(args, jobs, expected, workers_count, transport, method, seed):
    home, marker = tempfile.mkdtemp(prefix="chaos-"), f"BRIGADE_CHAOS={os.getpid()}-{time.monotonic_ns()}"
    shm_before = set(os.listdir("/dev/shm"))
    env = {**os.environ, "XDG_RUNTIME_DIR": home, "TMPDIR": home,
           **dict([marker.split("=")])}
    command = [args.brigade, "batch", str(jobs), "-w", str(workers_count), "--transport", transport,
               "--start-method", method, "--retries", "10", "--timeout", "20s",
               "--heartbeat", "200ms", "--max-restarts", "50", "--log", "error"]
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as errors:
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True,
                               env=env)
        weather = Storm(run.pid, seed, args.every / 1000, args.actions.split(","))
        weather.start()
        out = run.stdout.read().splitlines()
        code = run.wait()
        took = time.monotonic() - begin
        weather.join()
        errors.seek(0)
        said = errors.read()
    wrong = []
    answered = Counter()
    for row in rows(out):
        answered[row["id"]] += 1
        if row["status"] != "ok":
            wrong.append(f"job {row['id']}: {row['status']}: {row['error']}")
        elif row["digest"] != expected[row["id"]]:
            wrong.append(f"job {row['id']}: other bytes")
    wrong += [f"job {i}: answered {answered[i]} times" for i in expected if answered[i] != 1]
    if code != 0:
        wrong.append(f"exit code {code}: {said.strip()[-300:]}")
    # A worker may be about to notice that its coordinator has gone.
    end = time.monotonic() + 10
    while any((left := left_behind(home, marker.encode(), shm_before)).values()):
        if time.monotonic() > end:
            wrong.append(f"left behind: {left}")
            break
        time.sleep(0.01)
    shutil.rmtree(home)
    calm = weather.size[len(weather.size) // 5:]
    growth = None
    if len(calm) >= 20:
        # Medians: what is looked at is always just replacing somebody.
        third = len(calm) // 3
        middle = lambda part, i: statistics.median_low(seen[i] for seen in part)  # noqa: E731
        growth = [middle(calm[-third:], i) - middle(calm[:third], i) for i in range(3)]
        # What replacements are under way at one time and not at another.
        if growth[0] > 4 + workers_count or growth[1] > 4 + 4 * workers_count:
            wrong.append(f"descriptors grew by {growth[0]}, mappings by {growth[1]}")
    return {
        "workers": workers_count, "transport": transport, "start_method": method, "seed": seed,
        "jobs": len(expected), "took_s": round(took, 1),
        "strikes": dict(Counter(act["action"] for act in weather.done)),
        "retried": sum(row["attempts"] > 1 for row in rows(out)),
        "most_attempts": max((row["attempts"] for row in rows(out)), default=0),
        "grown": growth, "wrong": wrong,
    }, weather.done


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
    parser.add_argument("--every", type=float, default=50, help="milliseconds between strikes")
    parser.add_argument("--actions", default=",".join(ACTIONS), help="default: %(default)s")
    parser.add_argument("--full", action="store_true", help="the whole matrix, about an hour")
    parser.add_argument("--log", help="append what was done, as JSON lines")
    parser.add_argument("--out", help="append each storm's result, as JSON lines")
    args = parser.parse_args()
    if args.full:
        args.jobs, args.seeds = 20_000, 10
        args.workers, args.transport, args.start_method = "2,8", "arena,shm", "spawn,forkserver"
    failed = 0
    print("| workers | transport | start | seed | jobs | s | struck | retried | most tries | "
          "descriptors, mappings, KiB grown | wrong |\n"
          "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |")
    with tempfile.TemporaryDirectory() as directory:
        for seed in range(args.seed, args.seed + args.seeds):
            jobs = batch(Path(directory), args.jobs, seed)
            expected = reference(args.brigade, jobs)
            for count in map(int, args.workers.split(",")):
                for transport in args.transport.split(","):
                    for method in args.start_method.split(","):
                        end, log = storm(args, jobs, expected, count, transport, method, seed)
                        failed += bool(end["wrong"])
                        grown = "-" if end["grown"] is None else ", ".join(map(str, end["grown"]))
                        print(f"| {count} | {transport} | {method} | {seed} | {args.jobs} | "
                              f"{end['took_s']} | {sum(end['strikes'].values())} | {end['retried']} | "
                              f"{end['most_attempts']} | {grown} | {len(end['wrong'])} |", flush=True)
                        for line in end["wrong"][:5]:
                            print(f"  {line}", file=sys.stderr)
                        for path, lines in ((args.log, log), (args.out, [end])):
                            if path:
                                with open(path, "a") as file:
                                    file.writelines(json.dumps(line) + "\n" for line in lines)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
