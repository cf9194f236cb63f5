"""What the scripts share that break things on purpose: whose process is what, strikes
against them, how large a coordinator is, and what it has left behind. Linux."""

import json
import os
import random
import resource
import signal
import struct
import threading
import time
import zlib
from collections import Counter
from pathlib import Path

ACTIONS = ("SIGKILL", "SIGSEGV", "SIGSTOP", "memory")
TARGETS = ("worker", "starting", "template")
# Of a hundred strikes, how many are at a worker that is just starting, and at the template
# of a fork server. The first ones are at them in any case.
STARTING, TEMPLATE = 15, 2


def png(path, width, height, dice):
    rows = b"".join(b"\0" + dice.randbytes(3 * width) for _ in range(height))
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
                     + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b""))


def rows(lines):
    """The rows of a batch's output; its last line is the summary."""
    rows = [json.loads(line) for line in lines]
    return [row for row in rows if "status" in row]


# ---- who is who ---------------------------------------------------------------------


def stat(pid):
    """State and moment of the start, which no two processes of one number share."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], int(fields[19])
    except (OSError, IndexError):
        return None


def children(coordinator):
    """Pids of living children by what they are. A worker has its number for a name once it
    has shaken hands; the template of a fork server is called f and a number."""
    found = {target: [] for target in TARGETS}
    try:
        tasks = os.listdir(f"/proc/{coordinator}/task")
        pids = [int(pid) for task in tasks for pid in
                Path(f"/proc/{coordinator}/task/{task}/children").read_text().split()]
    except OSError:
        return found
    for pid in pids:
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip().removeprefix("brigade-")
        except OSError:
            continue
        if (seen := stat(pid)) is None or seen[0] in "ZX":
            continue
        is_template = name[:1] == "f" and name[1:].isdigit()
        found["template" if is_template else "worker" if name.isdigit() else "starting"].append(pid)
    return found


def workers(coordinator):
    """Pids of the coordinator's workers that are at work."""
    return children(coordinator)["worker"]


# ---- the storm ----------------------------------------------------------------------


class Storm(threading.Thread):
    """Strikes about every `every_s` seconds. It rests while `calm` is set, and `end()`s. The
    `spare` oldest workers are left to grow old."""

    def __init__(self, coordinator, seed, every_s, actions, targets=("worker",), spare=0):
        super().__init__(daemon=True)
        self.spare = spare
        self.coordinator, self.every_s = coordinator, every_s
        self.actions, self.targets = actions, targets
        self.dice = random.Random(seed)
        self.begin = time.monotonic()
        self.calm, self.over = threading.Event(), threading.Event()
        self.done = []
        # Struck and not gone yet, with when it was born: nobody is struck twice that may be
        # dying, or nobody would see whether the coordinator notices a hang.
        self.struck = {}

    def run(self):
        while True:
            # From the last strike on: one that had to wait for somebody to strike does not make the
            # next ones come sooner, or nobody who comes back would get to work.
            due = time.monotonic() + self.dice.expovariate(1 / self.every_s)
            if self.over.wait(max(0, due - time.monotonic())):
                break
            target = self.target()
            action = self.action(target)
            if target == "starting" and (pid := self.victim("worker")) is not None:
                # Nobody starts unless somebody ends.
                self.strike(pid, "SIGKILL", "worker")
            while (pid := self.victim(target)) is None or self.calm.is_set():
                if self.over.wait(0.001):
                    return
                if target != "worker" and time.monotonic() > due + 0.2:
                    target = "worker"
                if target == "worker" and self.victim(target) is not None:
                    # Who has just come has as long as anybody else.
                    if self.over.wait(self.dice.expovariate(1 / self.every_s)):
                        return
            self.strike(pid, action, target)

    def landed(self, what):
        """Kinds of strikes that have ended somebody who had not been struck before."""
        return {act[what] for act in list(self.done)
                if act["gone_s"] is not None and not act["again"]}

    def target(self):
        # The first strikes are of each kind, so that a short storm has them too.
        missing = [target for target in self.targets if target not in self.landed("target")]
        if missing and len(self.done) >= 3:
            return missing[-1]
        roll = self.dice.randrange(100)
        if roll < STARTING and "starting" in self.targets:
            return "starting"
        if STARTING <= roll < STARTING + TEMPLATE and "template" in self.targets:
            return "template"
        return "worker"

    def action(self, target):
        # A template without memory would hand its limit on to all that it forks.
        possible = [a for a in self.actions if target != "template" or a != "memory"]
        missing = [a for a in possible if a not in self.landed("action")]
        return self.dice.choice(missing or possible or ["SIGKILL"])

    def victim(self, target):
        """Somebody who is not struck yet, if there is one: who is may be about to be noticed."""
        self.look()
        pids = children(self.coordinator)
        if self.spare:
            age = {pid: seen[1] for pid in pids["worker"] if (seen := stat(pid))}
            pids["worker"] = sorted(age, key=age.get)[self.spare:]
        fresh = [pid for pid in pids[target] if pid not in self.struck or self.lives_on(pid)]
        return self.dice.choice(fresh) if fresh else None

    def lives_on(self, pid):
        """Without memory, and does not need any."""
        act = self.struck[pid][1]
        return act["action"] == "memory" and time.monotonic() - self.begin > act["at_s"] + 0.1

    def strike(self, pid, action, target):
        seen = stat(pid)
        if seen is None or seen[0] in "ZX":
            return
        try:
            if action == "memory":
                resource.prlimit(pid, resource.RLIMIT_AS, (4096, 4096))
            else:
                os.kill(pid, getattr(signal, action))
            # Rust's handler takes the first one for a fault that will come again, and goes away.
            for _ in range(50 * (action == "SIGSEGV")):
                time.sleep(0.0005)
                if (now := stat(pid)) is None or now[1] != seen[1] or now[0] in "ZX":
                    break
                os.kill(pid, signal.SIGSEGV)
        except ProcessLookupError:
            if action != "SIGSEGV":
                return
        except PermissionError:
            return
        again = pid in self.struck
        act = {"at_s": round(time.monotonic() - self.begin, 4), "pid": pid, "action": action,
               "target": target, "again": again, "gone_s": None}
        self.done.append(act)
        self.struck[pid] = (seen[1], act)

    def look(self):
        """Notes who is gone of those that were struck."""
        for pid, (born, act) in list(self.struck.items()):
            seen = stat(pid)
            if seen is None or seen[1] != born or seen[0] in "ZX":
                act["gone_s"] = round(time.monotonic() - self.begin - act["at_s"], 4)
                del self.struck[pid]

    def end(self):
        self.over.set()
        self.join()
        self.look()

    def missing(self):
        """Kinds of strikes that were asked for, and ended nobody."""
        actions, targets = self.landed("action"), self.landed("target")
        return [f"no strike by {action} has ended anybody" for action in self.actions
                if action not in actions] + \
               [f"no {target} was ended" for target in self.targets if target not in targets]

    def counts(self):
        return (Counter(act["action"] for act in self.done),
                Counter(act["target"] for act in self.done))


# ---- how large it is, and what it leaves --------------------------------------------

SIZES = ("descriptors", "mappings", "private KiB", "resident KiB")


def size(pid):
    """Descriptors, mappings, memory that nobody else has, and resident memory."""
    root = Path(f"/proc/{pid}")
    rollup = {}
    for line in (root / "smaps_rollup").read_text().splitlines()[1:]:
        name, kib, *_ = line.split()
        rollup[name.rstrip(":")] = int(kib)
    return {
        "descriptors": len(os.listdir(root / "fd")),
        "mappings": len((root / "maps").read_text().splitlines()),
        "private KiB": rollup["Anonymous"],
        "resident KiB": rollup["Rss"],
    }


def calm_size(pid, count, patience_s=20):
    """The size of a coordinator whose workers are all there and that has nothing to do: when
    three looks in a row show the same. `None` if that never comes."""
    end, last, same = time.monotonic() + patience_s, None, 0
    while time.monotonic() < end:
        try:
            found = children(pid)
            now = size(pid)
        except (OSError, KeyError):
            return None
        key = (len(found["worker"]), len(found["starting"]), now["descriptors"], now["mappings"])
        same = same + 1 if key == last else 0
        last = key
        if same >= 2 and key[:2] == (count, 0):
            return now
        time.sleep(0.05)
    return None


def is_marked(pid, marker):
    """Whether a process was started by a run with this marker in its environment."""
    try:
        return marker in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def marked(marker):
    """Living processes of a run; a zombie has no environment."""
    return [pid for pid in os.listdir("/proc") if pid.isdigit() and is_marked(pid, marker)]


def left_behind(home, marker, shm_before):
    """What a run has left: processes, zombies among them, sockets that are open, files and
    sockets by name in its directory for both, shared memory."""
    zombies = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    sockets = [line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines()
               if str(home) in line]
    files = [str(path) for path in Path(home).rglob("*") if not path.is_dir()]
    return {"processes": marked(marker) + zombies, "sockets": sockets, "files": files,
            "shm": sorted(set(os.listdir("/dev/shm")) - shm_before)}


def wait_left_behind(home, marker, shm_before, patience_s=10):
    """The same, once nothing is left or nobody goes any more: a worker may be about to
    notice that its coordinator has gone. Nothing if all is gone."""
    end = time.monotonic() + patience_s
    while any((left := left_behind(home, marker, shm_before)).values()):
        if time.monotonic() > end:
            return [f"left behind: {left}"]
        time.sleep(0.01)
    return []


def machine():
    """For the line under a table."""
    system = os.uname()
    return f"{os.cpu_count()} cores, Linux {system.release}, {time.strftime('%Y-%m-%d')}"
