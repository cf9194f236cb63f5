"""JPEG files over sampling factors, scripts of scans, restart intervals, progression and colour,
made by libjpeg-turbo's cjpeg and read by its djpeg. Needs both (apt install libjpeg-turbo-progs), and
Python with numpy.

One file in twenty is damaged afterwards, with its end mark kept: what djpeg warns of has to be refused,
and may be where scans are missing, of which djpeg says nothing.
"""
import os
import random
import subprocess

import files_common
import numpy as np

SIDES = [1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 40, 64, 65, 97, 130]
SAMPLING = [
    "1x1", "2x1", "2x2", "1x2", "4x1", "4x2", "1x4", "4x4", "3x1", "3x3", "2x1,1x1,1x1",
    "2x2,2x1,2x1", "2x2,1x2,1x1", "1x1,2x2,2x2", "1x1,2x1,1x1", "4x1,2x1,2x1", "1x1,1x1,2x2",
    "2x1,1x2,1x2", "1x2,2x1,2x1", "2x2,1x1,2x1", "4x2,1x1,2x2", "1x1,1x2,1x2", "2x2,2x2,2x2",
    "3x2,1x1,1x1",
]
SCANS = {
    "together": None,
    "default progression": "-progressive",
    "one each": "0; 1; 2;",
    "luma, chroma": "0; 1 2;",
    "blue with luma": "0 1; 2;",
    "backwards": "2; 1; 0;",
    "spectral": "0,1,2: 0-0,0,0; 0: 1-63,0,0; 1: 1-63,0,0; 2: 1-63,0,0;",
    "successive": "0: 0-0,0,0; 1: 0-0,0,0; 2: 0-0,0,0; 0: 1-5,0,2; 0: 6-63,0,2; 0: 1-63,2,1; "
                  "0: 1-63,1,0; 1: 1-63,0,0; 2: 1-63,0,1; 2: 1-63,1,0;",
    "mixed": "0,1,2: 0-0,0,1; 0: 1-63,0,0; 0,1,2: 0-0,1,0; 2: 1-63,0,0; 1: 1-63,0,0;",
}


def generate(directory, n, seed):
    rng, noise = random.Random(seed), np.random.default_rng(seed)
    paths = []
    while len(paths) < n:
        path = os.path.join(directory, f"{len(paths):05}.jpg")
        if not write(path, rng, noise):
            continue
        if rng.random() < 0.05:
            damage(path, rng)
            path = path.replace(".jpg", "-damaged.jpg")
            os.rename(path.replace("-damaged", ""), path)
        paths.append(path)
    return paths


def write(path, rng, noise):
    """Whether cjpeg and djpeg both know this kind."""
    width, height = rng.choice(SIDES), rng.choice(SIDES)
    options = ["-quality", str(rng.choice([5, 30, 75, 90, 100]))]
    if rng.random() < 0.07:
        options += ["-grayscale"]
        if rng.random() < 0.5:
            options += ["-progressive"]
    else:
        scans = rng.choice(list(SCANS.values()))
        options += ["-sample", rng.choice(SAMPLING)]
        if scans == "-progressive":
            options += [scans]
        elif scans:
            script = path + ".scans"
            with open(script, "w", encoding="ascii") as file:
                file.write(scans.replace(";", ";\n"))
            options += ["-scans", script]
        if rng.random() < 0.06:
            options += ["-rgb"]
    if rng.random() < 0.35:
        rows = str(rng.choice([1, 2, 3, 7]))
        options += ["-restart", rows + ("B" if rng.random() < 0.7 else "")]
    if rng.random() < 0.2:
        options += ["-optimize"]
    pixels = picture(width, height, rng, noise)
    made = subprocess.run(["cjpeg", *options, "-outfile", path], check=False, capture_output=True,
                          input=b"P6 %d %d 255\n" % (width, height) + pixels.tobytes())
    return made.returncode == 0 and quiet(path)


def picture(width, height, rng, noise):
    """Gradients, an edge, and some noise; one in ten nothing but noise."""
    if rng.random() < 0.1:
        return noise.integers(0, 256, (height, width, 3), dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    planes = [np.sin(x / rng.uniform(3, 40) + rng.random() * 6) * rng.uniform(20, 90)
              + np.cos(y / rng.uniform(3, 40)) * rng.uniform(20, 60)
              + (x + y > width / 2) * rng.uniform(0, 90) for _ in range(3)]
    values = np.stack(planes, axis=2) + 100 + noise.normal(0, 4, (height, width, 3))
    return np.clip(values, 0, 255).astype(np.uint8)


def quiet(path):
    done = subprocess.run(["djpeg", path], capture_output=True, check=False)
    return done.returncode == 0 and not done.stderr


def damage(path, rng):
    """Cuts the file within its first scan, keeps the end mark, and puts a file behind some."""
    with open(path, "rb") as file:
        data = file.read()
    start = data.index(b"\xff\xda")
    start += 2 + int.from_bytes(data[start + 2:start + 4], "big")
    keep = rng.randrange(start, max(start + 1, start + (len(data) - start) // 2))
    with open(path, "wb") as file:
        file.write(data[:keep] + (data if rng.random() < 0.3 else b"\xff\xd9"))


def expected(path):
    if not quiet(path):
        return "refused"
    done = subprocess.run(["djpeg", path], capture_output=True, check=True).stdout
    kind, size, _, pixels = done.split(b"\n", 3)
    width, height = map(int, size.split())
    shape = (height, width) if kind == b"P5" else (height, width, 3)
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def check(brigade, paths):
    return files_common.check_images(brigade, paths, expected, compare,
                                     is_damaged=lambda path: "damaged" in path)


def compare(path, got, right):
    if isinstance(right, str):
        return "a damaged file was taken for whole"
    return files_common.compare(path, got, right)
