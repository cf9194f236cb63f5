#!/usr/bin/env python3
"""Does the program have the code of a job's way together, as job.ld asks for?

A name in job.ld that no function has any more lays nothing out, and nobody would notice but by a
slower job after a rest. Needs nm and readelf. The functions that a compiler inlines vary, so a few
names may be missing.

Usage: scripts/check_layout.py [BRIGADE]
"""
import fnmatch
import pathlib
import re
import subprocess
import sys

# Of some 50 names; those that are inlined into their only caller are no functions.
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
    # Brackets are no pattern to the linker here, and there are none in a symbol.
    missing = [n for n in names if not any(fnmatch.fnmatchcase(s, n) for s in there)]
    print(f"layout: {len(there)} functions in {size / 1024:.0f} KiB, {len(names)} names", end="")
    print(f", not found: {', '.join(missing)}" if missing else ", all found")
    if len(missing) > MISSING or len(there) < len(names) / 2:
        sys.exit("layout: too few of the names in job.ld are those of functions")


main()
