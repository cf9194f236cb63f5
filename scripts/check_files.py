#!/usr/bin/env python3
"""Generates files of a format, reads them with Brigade and with the format's reference reader.

    scripts/check_files.py tiff 500 [SEED] [--brigade PATH] [--keep DIR]

Prints how many were read rightly, how many were refused and why, and which were read wrongly;
exits with 1 if any were. The module files_NAME.py beside this one has what is particular to a
format:

    REQUIREMENTS                 the packages that it needs
    generate(directory, n, seed) writes n files, gives their paths
    expected(path)               what the reference reader reads: an array of uint8, or None where
                                 there is no telling
    read(brigade, paths, out)    optional: what Brigade reads, {path: array or message}
    compare(path, got, expected) optional: None, or what is wrong
"""
import argparse
import collections
import importlib
import os
import sys
import tempfile

import files_common


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("format", help="which files_NAME.py")
    parser.add_argument("count", type=int)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--brigade", default="target/release/brigade")
    parser.add_argument("--keep", metavar="DIR", help="leave the files there")
    args = parser.parse_args()
    try:
        module = importlib.import_module(f"files_{args.format}")
    except ImportError as error:
        sys.exit(f"{error}; python3 -m venv V && V/bin/pip install {files_common.REQUIREMENTS}")
    with tempfile.TemporaryDirectory(prefix="brigade-files-") as scratch:
        directory = args.keep or os.path.join(scratch, "files")
        os.makedirs(directory, exist_ok=True)
        sys.exit(check(module, args, directory, os.path.join(scratch, "out")))


def check(module, args, directory, out):
    paths = module.generate(directory, args.count, args.seed)
    read = getattr(module, "read", files_common.read_images)
    compare = getattr(module, "compare", files_common.compare)
    results = read(os.path.abspath(args.brigade), paths, out)
    right, refused, wrong = 0, collections.Counter(), []
    for path in paths:
        got = results[path]
        if isinstance(got, str):
            refused[got] += 1
            if "damaged" in got or "truncated" in got:
                wrong.append((path, f"a whole file is called {got!r}"))
            elif "unsupported" not in got:
                wrong.append((path, got))
            continue
        fault = compare(path, got, module.expected(path))
        if fault:
            wrong.append((path, fault))
        else:
            right += 1
    print(f"{args.format}: {len(paths)} files, seed {args.seed}")
    print(f"  right    {right}")
    print(f"  refused  {sum(refused.values())}")
    for message, count in refused.most_common():
        print(f"    {count:5}  {message}")
    print(f"  wrong    {len(wrong)}")
    for path, fault in wrong[:50]:
        print(f"    {os.path.basename(path)}: {fault}")
    return 1 if wrong else 0


if __name__ == "__main__":
    main()
