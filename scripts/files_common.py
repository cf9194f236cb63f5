"""What modules of check_files.py share whose files are images: running Brigade, and comparing
pixels."""
import collections
import json
import os
import subprocess
import sys
import tempfile

REQUIREMENTS = "numpy pillow tifffile imagecodecs"

try:
    import numpy as np
except ImportError as error:
    sys.exit(f"{error}; python3 -m venv V && V/bin/pip install {REQUIREMENTS}")

# Arguments of one call: far below what a system allows.
AT_ONCE = 200


def run_jobs(brigade, kernel, paths, out, *options):
    """The jobs of `brigade run KERNEL PATHS` by their input, with their outputs below `out`."""
    jobs = {}
    for start in range(0, len(paths), AT_ONCE):
        part = os.path.join(out, str(start)) + os.sep
        os.makedirs(part)
        done = subprocess.run(
            [brigade, "run", kernel, *paths[start:start + AT_ONCE], "-o", part, "-b", "sync",
             "--keep-going", "--format", "json", *options],
            capture_output=True, text=True, check=False)
        try:
            jobs |= {job["input"]: job for job in json.loads(done.stdout)["jobs"]}
        except ValueError:
            sys.exit(f"{kernel}: exit code {done.returncode}: {done.stderr}")
    if len(jobs) != len(paths):
        sys.exit(f"{len(jobs)} results for {len(paths)} files")
    return jobs


def message(job):
    """Why a job failed, in one line."""
    error = job["error"]
    text = error if isinstance(error, str) else error.get("message", json.dumps(error))
    return text.strip()


def read_images(brigade, paths, out):
    """What Brigade reads of images: {path: array or message}."""
    jobs = run_jobs(brigade, "sharpen", paths, out, "-p", "amount=0", "--ext", "npy")
    results = {}
    for path in paths:
        job = jobs[path]
        ok = job["status"] == "ok"
        results[path] = np.load(job["output"]) if ok else message(job)
    return results


def compare(path, got, expected, tolerance=0):
    """What is wrong with an image of uint8."""
    if expected is None:
        return None
    if got.shape != expected.shape:
        return f"shape {got.shape} instead of {expected.shape}"
    difference = np.abs(got.astype(int) - expected.astype(int))
    if difference.max(initial=0) <= tolerance:
        return None
    place = np.unravel_index(difference.argmax(), difference.shape)
    return (f"{np.count_nonzero(difference > tolerance)} of {difference.size} values differ, by up "
            f"to {difference.max()}: at {tuple(map(int, place))} {got[place]} instead of "
            f"{expected[place]}")


def check_images(brigade, paths, expected, differ=compare, is_damaged=lambda path: False):
    """What `check` gives: how many files are read as `expected(path)` has them, how many are
    refused and why, and what is wrong. A whole file that is called damaged is wrong, too."""
    right, refused, wrong = 0, collections.Counter(), []
    with tempfile.TemporaryDirectory(prefix="brigade-out-") as out:
        results = read_images(brigade, paths, out)
    for path in paths:
        name, got = os.path.basename(path), results[path]
        if isinstance(got, str):
            if "unsupported" in got or is_damaged(path):
                refused[got] += 1
            else:
                wrong.append(f"{name}: {got}")
            continue
        fault = differ(path, got, expected(path))
        if fault:
            wrong.append(f"{name}: {fault}")
        else:
            right += 1
    return right, refused, wrong
