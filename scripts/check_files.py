#!/usr/bin/env python3
"""Holds what Brigade reads of generated files against the usual readers of their format: each file
is read rightly or refused by name. Exit code 1 if one is read wrongly.

    scripts/check_files.py npy 300 [--seed 1] [--brigade target/debug/brigade] [--keep DIR]
    scripts/check_files.py wav 200

A format is a module files_FORMAT beside this file, whose head says what it needs, with

    generate(directory, n, seed) -> paths
    check(brigade, paths) -> (files read rightly, {reason of a refusal: files}, [what is wrong])
"""
import argparse
import importlib
import os
import sys
import tempfile


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("format")
    parser.add_argument("n", type=int, help="how many files")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--brigade", default="target/debug/brigade")
    parser.add_argument("--keep", metavar="DIR", help="where the files stay")
    args = parser.parse_args()
    module = importlib.import_module(f"files_{args.format}")
    brigade = os.path.abspath(args.brigade)
    with tempfile.TemporaryDirectory(prefix="brigade-files-") as own:
        directory = args.keep or own
        os.makedirs(directory, exist_ok=True)
        paths = module.generate(directory, args.n, args.seed)
        right, refused, wrong = module.check(brigade, paths)
    print(f"{args.format}: {len(paths)} files, {right} read rightly, {sum(refused.values())} refused, "
          f"{len(wrong)} wrong")
    for reason, count in sorted(refused.items(), key=lambda item: -item[1]):
        print(f"  {count:5}  {reason}")
    for line in wrong:
        print(f"  WRONG  {line}")
    sys.exit(1 if wrong or right + sum(refused.values()) != len(paths) else 0)


if __name__ == "__main__":
    main()
