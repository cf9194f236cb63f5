#!/usr/bin/env python3
"""Puts what scripts/measure_all.sh and scripts/bench_peers.py printed into docs/bench.md.

    scripts/measure_all.sh OUT
    .venv/bin/python scripts/bench_peers.py > OUT/peers.txt
    scripts/fill_bench.py OUT

Only the blocks between ``` change, of those under Peers the first (starts may be of a run of their
own); what the figures mean is written by hand, and has to be
read again afterwards.
"""

import sys
from pathlib import Path

ORDER = [
    "latency", "throughput", "startup", "startup-workers", "isolation",
    "spin-1ms", "spin-10ms", "blur",
]
PAGE = Path(__file__).resolve().parent.parent / "docs" / "bench.md"


def block(text: str) -> str:
    return f"```\n{text.strip()}\n```\n"


def main() -> None:
    out = Path(sys.argv[1])
    lines = PAGE.read_text()
    fence = "```\n"
    intro, rest = lines.split(fence + "$ brigade", 1)
    before_peers, peers = rest.split("## Peers\n", 1)
    words, table, after = peers.split(fence, 2)
    assert "x brigade" in table, "the first block under Peers is not its table"
    measured = "\n".join(block((out / f"{name}.txt").read_text()) for name in ORDER)
    page = intro + measured + "\n## Peers\n" + words + block((out / "peers.txt").read_text())
    PAGE.write_text(page + after)


if __name__ == "__main__":
    main()
