#!/usr/bin/env python3
"""The main job beside its peers: a folder of photographs, blurred with sigma 2 into JPEG of
quality 95, by Brigade's two worker processes, OpenCV in a ProcessPoolExecutor of two, and
`vips gaussblur` under GNU parallel with two jobs.

    cargo build --release
    python3 -m venv .venv && .venv/bin/pip install numpy opencv-python-headless pillow
    apt-get install libvips-tools parallel                # without them that column is left out
    .venv/bin/python scripts/bench_photos.py FOLDER       # your JPEG files
    .venv/bin/python scripts/bench_photos.py --make IMAGES   # 60 of 1920x1080 out of these pictures

The programs take turns in each round, in an order that is shuffled from --seed; nothing else
should run. A figure is the whole time of a program, its start included: median, least and
greatest of the rounds, and the median of its ratio to Brigade's in the same round.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))

OPENCV = """
import os, sys
import cv2
from concurrent.futures import ProcessPoolExecutor
cv2.setNumThreads(1)
def one(job):
    source, target = job
    blurred = cv2.GaussianBlur(cv2.imread(source), (0, 0), 2.0)
    return cv2.imwrite(target, blurred, [cv2.IMWRITE_JPEG_QUALITY, 95])
if __name__ == "__main__":
    out = sys.argv[1]
    jobs = [(f, os.path.join(out, os.path.basename(f))) for f in sys.argv[2:]]
    with ProcessPoolExecutor(2) as pool:
        assert all(pool.map(one, jobs))
"""


def make(images: Path, folder: Path) -> None:
    from PIL import Image
    pictures = [path for path in sorted(images.iterdir())
                if path.suffix.lower() in {".png", ".jpg", ".jpeg"}]
    dice = random.Random(1)
    for i in range(60):
        picture = Image.open(pictures[i % len(pictures)]).convert("RGB")
        width, height = picture.size
        w = int(min(width, height * 16 / 9) * dice.uniform(0.6, 1.0))
        h = w * 9 // 16
        x, y = dice.randint(0, width - w), dice.randint(0, height - h)
        part = picture.crop((x, y, x + w, y + h)).resize((1920, 1080), Image.Resampling.LANCZOS)
        part.save(folder / f"{i:02}.jpg", quality=92)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="photographs, *.jpg")
    parser.add_argument("--make", type=Path, metavar="IMAGES", help="make them from these")
    parser.add_argument("--brigade", type=Path, default=TARGET / "release" / "brigade")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        folder = args.folder
        if folder is None:
            if args.make is None:
                parser.error("a folder of photographs, or --make IMAGES")
            folder = here / "photos"
            folder.mkdir()
            make(args.make, folder)
        photos = [str(path) for path in sorted(folder.glob("*.jpg"))]
        script = here / "opencv.py"
        script.write_text(OPENCV)
        out = here / "out"
        vips = "vips gaussblur {} " + str(out) + "/{/}[Q=95] 2"
        programs = {
            "brigade": [str(args.brigade), "run", "blur", *photos, "-p", "sigma=2",
                        "-p", "quality=95", "-o", str(out), "-w", "2"],
            "OpenCV": [sys.executable, str(script), str(out), *photos],
        }
        if shutil.which("vips") and shutil.which("parallel"):
            programs["vips"] = ["parallel", "-j2", vips, ":::", *photos]
        environment = os.environ | {"VIPS_CONCURRENCY": "1"}
        times = {name: [] for name in programs}
        dice = random.Random(args.seed)
        for round_ in range(args.rounds + 1):
            for name in dice.sample(list(programs), len(programs)):
                shutil.rmtree(out, ignore_errors=True)
                out.mkdir()
                begin = time.perf_counter()
                subprocess.run(programs[name], check=True, env=environment,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                took = time.perf_counter() - begin
                assert len(list(out.iterdir())) == len(photos), f"{name} left some out"
                # The first round finds cold files.
                if round_:
                    times[name].append(took)
        print(f"{len(photos)} photographs, {args.rounds} rounds"
              "      median      least .. greatest   photos/s  x brigade")
        for name, took in times.items():
            median = statistics.median(took)
            ratio = statistics.median(a / b for a, b in zip(took, times["brigade"]))
            print(f"  {name:<30}{median:>8.2f} s {min(took):>8.2f} .. {max(took):.2f} s"
                  f"{len(photos) / median:>12.0f}{ratio:>11.2f}")


if __name__ == "__main__":
    main()
