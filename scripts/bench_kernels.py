#!/usr/bin/env python3
"""One-core time of each kernel beside OpenCV, Pillow, SciPy and NumPy on the same inputs, in
one run: best of N, the two sides taking turns. Prints a Markdown table.

    python3 -m venv .venv && .venv/bin/pip install numpy scipy opencv-python-headless pillow safetensors
    .venv/bin/python scripts/bench_kernels.py target/release/brigade > kernels.txt
"""
import io
import platform
import sys
import time

from kernels_common import (Brigade, PIL, cv2, gaussian, mlp, network, np, photo, scipy, sharpen,
                            sobel, stft)

brigade = Brigade(sys.argv[1] if len(sys.argv) > 1 else "target/release/brigade")
ROUNDS, REPEATS = 3, 5


def best_ms(function, repeats):
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return min(times) * 1000


def row(name, kernel, inputs, reference, function, **params):
    function()
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(brigade.best_ms(kernel, inputs, REPEATS, **params))
        theirs.append(best_ms(function, REPEATS))
    ours, theirs = min(ours), min(theirs)
    print(f"| {name} | {ours:.2f} | {theirs:.2f} | {ours / theirs:.2f} | {reference} |", flush=True)


rng = np.random.default_rng(1)
grey, rgb = photo(1080, 1920, 1), photo(1080, 1920, 3)
fg, fc = [brigade.save("grey.npy", grey)], [brigade.save("rgb.npy", rgb)]

print(f"""# One-core times of the kernels

Best of {ROUNDS * REPEATS}, in ms, the two sides taking turns in one run; below 1 Brigade is faster. Images are
1920x1080, uncompressed, so no codec is in these times but in the last rows. Brigade's times are
compute spans of `brigade batch -b sync`, which include a fresh output buffer. Measured on
{platform.machine()}, {open('/proc/cpuinfo').read().split('model name')[1].split(chr(10))[0].strip(': 	')}, OpenCV {cv2.__version__}, NumPy {np.__version__}, Pillow {PIL.__version__}, SciPy {scipy.__version__}, by

    .venv/bin/python scripts/bench_kernels.py target/release/brigade > kernels.txt

| kernel | Brigade | other | ratio | the other |
| --- | ---: | ---: | ---: | --- |""")

row("grayscale RGB", "grayscale", fc, "OpenCV", lambda: cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
row("blur sigma 2, grey", "blur", fg, "OpenCV", lambda: gaussian(grey, 2.0), sigma=2.0)
row("blur sigma 2, RGB", "blur", fc, "OpenCV", lambda: gaussian(rgb, 2.0), sigma=2.0)
row("blur sigma 12, RGB", "blur", fc, "OpenCV", lambda: gaussian(rgb, 12.0), sigma=12.0)
half = PIL.Image.fromarray(rgb)
row("resize to half, lanczos3, RGB", "resize", fc, "Pillow",
    lambda: half.resize((960, 540), PIL.Image.LANCZOS), width=960, height=540, filter="lanczos3")
row("resize to half, lanczos3, RGB", "resize", fc, "OpenCV (4 taps)",
    lambda: cv2.resize(rgb, (960, 540), interpolation=cv2.INTER_LANCZOS4), width=960, height=540,
    filter="lanczos3")
row("sobel grey", "sobel", fg, "OpenCV, with magnitude", lambda: sobel(grey))
row("median 3x3, grey", "median", fg, "OpenCV", lambda: cv2.medianBlur(grey, 3), radius=1)
row("median 5x5, grey", "median", fg, "OpenCV", lambda: cv2.medianBlur(grey, 5), radius=2)
row("median 21x21, grey", "median", fg, "OpenCV", lambda: cv2.medianBlur(grey, 21), radius=10)
row("sharpen sigma 2, RGB", "sharpen", fc, "OpenCV", lambda: sharpen(rgb, 2.0, 1.0), sigma=2.0, amount=1.0)
row("equalize grey", "equalize", fg, "OpenCV", lambda: cv2.equalizeHist(grey))
row("histogram grey", "histogram", fg, "OpenCV",
    lambda: cv2.calcHist([grey], [0], None, [256], [0, 256]))
row("canny grey", "canny", fg, "OpenCV", lambda: cv2.Canny(grey, 50, 100), low=50, high=100)
fast = cv2.FastFeatureDetector_create(10)
row("corners (FAST-9) grey", "corners", fg, "OpenCV", lambda: fast.detect(grey), threshold=10)

for dtype in (np.float32, np.float64):
    kind = "f32" if dtype is np.float32 else "f64"
    n = 1024
    a, b = (rng.standard_normal((n, n)).astype(dtype) for _ in range(2))
    system = a + n * np.eye(n, dtype=dtype)
    spd = (a @ a.T + n * np.eye(n)).astype(dtype)
    x = rng.standard_normal(n).astype(dtype)
    fa, fb = brigade.save("a.npy", a), brigade.save("b.npy", b)
    fx, fs = brigade.save("x.npy", x), brigade.save("s.npy", system)
    row(f"matmul 1024 {kind}", "matmul", [fa, fb], "NumPy", lambda: a @ b)
    row(f"matvec 1024 {kind}", "matvec", [fa, fx], "NumPy", lambda: a @ x)
    row(f"transpose 1024 {kind}", "transpose", [fa], "NumPy", lambda: np.ascontiguousarray(a.T))
    row(f"lu-solve 1024 {kind}", "lu-solve", [fs, fx], "NumPy", lambda: np.linalg.solve(system, x))
    row(f"cholesky 1024 {kind}", "cholesky", [brigade.save("p.npy", spd)], "NumPy",
        lambda: np.linalg.cholesky(spd))

sound = (rng.standard_normal(480000) * 8000).astype(np.int16)
wav = [brigade.save("sound.wav", sound)]
row("spectrogram, 10 s at 48 kHz", "spectrogram", wav, "SciPy", lambda: stft(sound / 32768))
row("resample 48 to 16 kHz, 10 s", "resample", wav, "SciPy",
    lambda: scipy.signal.resample_poly(sound / 32768, 1, 3), rate=16000)
layers, batch = network(rng), rng.standard_normal((256, 784)).astype(np.float32)
row("mlp 784-512-256-10, batch 256", "mlp",
    [brigade.save("batch.npy", batch), brigade.save("net.safetensors", layers)], "NumPy",
    lambda: mlp(batch, layers))


def coded(extension, *options):
    bytes_ = cv2.imencode(extension, rgb, list(options))[1]
    path = brigade.file("photo" + extension)
    bytes_.tofile(path)
    return path, bytes_


def through(bytes_, extension, *options):
    image = cv2.imdecode(bytes_, cv2.IMREAD_COLOR)
    cv2.imencode(extension, gaussian(image, 2.0), list(options))


path, jpeg = coded(".jpg", cv2.IMWRITE_JPEG_QUALITY, 95)
row("JPEG in, blur sigma 2, JPEG out (quality 95)", "blur", [path], "OpenCV",
    lambda: through(jpeg, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95), sigma=2.0)
path, png = coded(".png")
row("PNG in, blur sigma 2, PNG out", "blur", [path], "OpenCV", lambda: through(png, ".png"),
    sigma=2.0)
