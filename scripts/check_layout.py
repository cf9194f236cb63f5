#!/usr/bin/env python3
"""Checks that the executable has the functions of job.ld next to each other.

A pattern in job.ld that matches no function has no effect, and only a slower job after a rest would
show it. Needs nm and readelf. The compiler decides which functions it inlines, so a few patterns may
match none.

Usage: scripts/check_layout.py [BRIGADE]
"""
import fnmatch
import pathlib
import re
import subprocess
import sys

# Of about 50 patterns. A function that is inlined into its only caller has no symbol.
MISSING = 3


def output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else "target/release/brigade"
    script = pathlib.Path(__file__).parent.parent / "job.ld"
    names = re.findall(r"\*\(\.text\.(.*)\)", script.read_text())
    section = re.search(
        r"\.text\.job\s+PROGBITS\s+(\w+)\s+\w+\s+(\w+)", output("readelf", "-SW", program)
    )
    if not section:
        sys.exit(f"layout: {program} has no section .text.job")
    begin, size = (int(part, 16) for part in section.groups())
    symbols = [line.split() for line in output("nm", program).splitlines()]
    there = [
        symbol[2]
        for symbol in symbols
        if len(symbol) == 3 and begin <= int(symbol[0], 16) < begin + size
    ]
    # fnmatch also gives brackets a meaning; symbols contain none.
    missing = [n for n in names if not any(fnmatch.fnmatchcase(s, n) for s in there)]
    print(f"layout: {len(there)} functions in {size / 1024:.0f} KiB, {len(names)} names", end="")
    print(f", not found: {', '.join(missing)}" if missing else ", all found")
    if len(missing) > MISSING or len(there) < len(names) / 2:
        sys.exit("layout: too few of the names in job.ld are those of functions")


main()
