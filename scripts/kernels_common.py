"""What check_kernels.py and bench_kernels.py share: inputs, and running Brigade."""
import json
import os
import subprocess
import sys
import tempfile

# One core, for NumPy too; before it is imported.
for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

REQUIREMENTS = "numpy scipy opencv-python-headless pillow safetensors"

try:
    import cv2
    import numpy as np
    import PIL.Image
    import safetensors.numpy
    import scipy.io.wavfile
    import scipy.ndimage
    import scipy.signal
except ImportError as error:
    sys.exit(f"{error}; python3 -m venv .venv && .venv/bin/pip install {REQUIREMENTS}")

cv2.setNumThreads(1)


class Brigade:
    """The executable, and a directory for its inputs and outputs."""

    def __init__(self, path):
        self.path = os.path.abspath(path)
        self.directory = tempfile.TemporaryDirectory(prefix="brigade-kernels-")

    def file(self, name):
        return os.path.join(self.directory.name, name)

    def save(self, name, array):
        path = self.file(name)
        if name.endswith(".npy"):
            np.save(path, array)
        elif name.endswith(".wav"):
            scipy.io.wavfile.write(path, 48000, array)
        else:
            safetensors.numpy.save_file(array, path)
        return path

    def batch(self, lines):
        """Runs jobs one after another in one process; gives their rows."""
        text = "".join(json.dumps(line) + "\n" for line in lines)
        done = subprocess.run(
            [self.path, "batch", "-", "-b", "sync", "--ordered", "--force"],
            input=text, capture_output=True, text=True, check=False)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        for row in rows:
            if row["status"] != "ok":
                sys.exit(f"{row['kernel']}: {row['error']}")
        if len(rows) != len(lines):
            sys.exit(f"{len(rows)} results for {len(lines)} jobs: {done.stderr}")
        return rows

    def output(self, kernel, inputs, extension="npy", **params):
        """The output of one job."""
        path = self.file("out." + extension)
        self.batch([{"kernel": kernel, "params": params, "inputs": inputs, "output": path}])
        if extension == "npy":
            return np.load(path)
        if extension == "json":
            with open(path) as file:
                return json.load(file)
        return scipy.io.wavfile.read(path)[1]

    def best_ms(self, kernel, inputs, repeats, **params):
        """Best compute time of a job, in ms."""
        line = {"kernel": kernel, "params": params, "inputs": inputs}
        rows = self.batch([line] * repeats)
        return min(row["spans_us"]["compute"] for row in rows) / 1000


def photo(height, width, channels, seed=1):
    """Smooth shapes with some noise: what a photograph has."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    planes = []
    for channel in range(channels):
        plane = 127 + 60 * np.sin(x / (31 + 7 * channel)) + 50 * np.cos(y / (23 + 5 * channel))
        plane += 70 * (((x // 97 + y // 61 + channel) % 3) == 0)
        planes.append(plane + rng.normal(0, 6, (height, width)))
    image = np.clip(np.stack(planes, axis=-1), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(image[..., 0] if channels == 1 else image)


def gaussian(image, sigma):
    """Radius ceil(3 sigma), edges replicated."""
    side = 2 * int(np.ceil(3 * sigma)) + 1
    return cv2.GaussianBlur(image, (side, side), sigma, borderType=cv2.BORDER_REPLICATE)


def luma(image):
    return image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def sobel(image):
    grey = luma(image)
    dx = cv2.Sobel(grey, cv2.CV_32F, 1, 0, borderType=cv2.BORDER_REPLICATE)
    dy = cv2.Sobel(grey, cv2.CV_32F, 0, 1, borderType=cv2.BORDER_REPLICATE)
    return np.clip(np.rint(cv2.magnitude(dx, dy)), 0, 255).astype(np.uint8)


def sharpen(image, sigma, amount):
    return cv2.addWeighted(image, 1 + amount, gaussian(image, sigma), -amount, 0)


def mlp(batch, layers):
    x = batch
    for number in range(3):
        x = x @ layers[f"{number}.weight"].T + layers[f"{number}.bias"]
        if number < 2:
            x = np.maximum(x, 0)
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def network(rng, dtype=np.float32):
    sides = [784, 512, 256, 10]
    layers = {}
    for number, (inputs, outputs) in enumerate(zip(sides, sides[1:])):
        layers[f"{number}.weight"] = rng.normal(0, inputs ** -0.5, (outputs, inputs)).astype(dtype)
        layers[f"{number}.bias"] = rng.normal(0, 0.1, outputs).astype(dtype)
    return layers


def stft(sound, window=1024, hop=256):
    _, _, z = scipy.signal.stft(sound, window="hann", nperseg=window, noverlap=window - hop,
                                boundary=None, padded=False)
    return np.abs(z)
