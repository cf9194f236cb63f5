#!/usr/bin/env python3
"""Compares Brigade's kernels with OpenCV, Pillow, SciPy and NumPy. Exit code 1 if one is
farther away than its bar.

    python3 -m venv .venv && .venv/bin/pip install numpy scipy opencv-python-headless pillow safetensors
    .venv/bin/python scripts/check_kernels.py target/release/brigade
"""
import sys

from kernels_common import (Brigade, PIL, cv2, gaussian, luma, mlp, network, np, photo, scipy,
                            sharpen, sobel, stft)

brigade = Brigade(sys.argv[1] if len(sys.argv) > 1 else "target/release/brigade")
failed = []


def report(name, reference, values, good):
    print(f"{'ok  ' if good else 'FAIL'} {name:34} {reference:28} {values}")
    if not good:
        failed.append(name)


def grey_levels(name, reference, got, expected, most=2, mean=0.5):
    if got.shape != expected.shape:
        report(name, reference, f"shape {got.shape} instead of {expected.shape}", False)
        return
    difference = np.abs(got.astype(int) - expected.astype(int))
    values = f"at most {difference.max()} grey levels, {difference.mean():.4f} on average"
    report(name, reference, values, difference.max() <= most and difference.mean() <= mean)


def relative(name, reference, got, expected, bar):
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    scale = np.abs(expected).max()
    error = np.abs(got - expected).max() / scale if got.shape == expected.shape else np.inf
    report(name, reference, f"{error:.1e} of the largest, bar {bar:.0e}", error <= bar)


def images():
    for height, width, channels in [(270, 480, 1), (270, 480, 3), (33, 17, 3), (1, 1, 1)]:
        image = photo(height, width, channels)
        kind = f"{width}x{height}{' RGB' if channels == 3 else ''}"
        file = [brigade.save("image.npy", image)]
        for sigma in (0.8, 2.0, 7.5, 40.0):
            grey_levels(f"blur sigma {sigma:g} {kind}", "cv2.GaussianBlur",
                        brigade.output("blur", file, sigma=sigma), gaussian(image, sigma))
        for radius in (1, 2, 5):
            if min(height, width) > 1:
                size = (2 * radius + 1,) * 2 + ((1,) if channels == 3 else ())
                expected = scipy.ndimage.median_filter(image, size=size, mode="nearest")
                grey_levels(f"median radius {radius} {kind}", "scipy median_filter",
                            brigade.output("median", file, radius=radius), expected)
        grey_levels(f"sobel {kind}", "cv2.Sobel, magnitude",
                    brigade.output("sobel", file), sobel(image))
        grey_levels(f"grayscale {kind}", "cv2.cvtColor",
                    brigade.output("grayscale", file), luma(image))
        grey_levels(f"canny {kind}", "cv2.Canny", brigade.output("canny", file, low=50, high=100),
                    cv2.Canny(luma(image), 50, 100))
        for name, filter in [("bilinear", PIL.Image.BILINEAR), ("catmull-rom", PIL.Image.BICUBIC),
                             ("lanczos3", PIL.Image.LANCZOS)]:
            width2, height2 = max(width * 3 // 7, 1), max(height * 2 // 3, 1)
            expected = np.asarray(PIL.Image.fromarray(image).resize((width2, height2), filter))
            got = brigade.output("resize", file, width=width2, height=height2, filter=name)
            grey_levels(f"resize {name} {kind}", "Pillow resize", got, expected)
    grey = photo(270, 480, 1)
    file = [brigade.save("image.npy", grey)]
    grey_levels("equalize grey", "cv2.equalizeHist", brigade.output("equalize", file),
                cv2.equalizeHist(grey))
    grey_levels("sharpen grey", "cv2 unsharp mask",
                brigade.output("sharpen", file, sigma=2.0, amount=1.0), sharpen(grey, 2.0, 1.0))


def matrices():
    rng = np.random.default_rng(7)
    for dtype, bar in [(np.float32, 1e-5), (np.float64, 1e-12)]:
        kind = np.dtype(dtype).name
        for n in (1, 64, 300):
            # Scaled by size: the bar is for one sum of n products.
            scaled = bar * max(1, n ** 0.5)
            a, b = (rng.standard_normal((n, n)).astype(dtype) for _ in range(2))
            fa, fb = brigade.save("a.npy", a), brigade.save("b.npy", np.asfortranarray(b))
            exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
            relative(f"matmul {kind} {n}", "NumPy, long double",
                     brigade.output("matmul", [fa, fb]), exact, scaled)
            x = rng.standard_normal(n).astype(dtype)
            relative(f"matvec {kind} {n}", "NumPy",
                     brigade.output("matvec", [fa, brigade.save("x.npy", x)]), a @ x, scaled)
            relative(f"transpose {kind} {n}", "NumPy", brigade.output("transpose", [fa]), a.T, 0)
            system = a + n * np.eye(n, dtype=dtype)
            got = brigade.output("lu-solve", [brigade.save("a.npy", system), brigade.file("x.npy")])
            relative(f"lu-solve {kind} {n}", "numpy.linalg.solve", got,
                     np.linalg.solve(system, x), scaled)
            spd = (a @ a.T + n * np.eye(n)).astype(dtype)
            relative(f"cholesky {kind} {n}", "numpy.linalg.cholesky",
                     brigade.output("cholesky", [brigade.save("a.npy", spd)]),
                     np.linalg.cholesky(spd), scaled)


def sound_and_network():
    rng = np.random.default_rng(3)
    seconds = np.arange(96000) / 48000
    tones = 0.4 * np.sin(2 * np.pi * 440 * seconds) + 0.2 * np.sin(2 * np.pi * 3000 * seconds)
    sound = (np.clip(tones + rng.normal(0, 0.05, len(tones)), -1, 1) * 32767).astype(np.int16)
    wav = [brigade.save("sound.wav", sound)]
    relative("spectrogram", "scipy.signal.stft", brigade.output("spectrogram", wav),
             stft(sound / 32768), 1e-5)
    expected = scipy.signal.resample_poly(sound / 32768, 1, 3)
    got = brigade.output("resample", wav, "wav", rate=16000) / 32768
    # The output is 16 bit: half a step is rounding.
    relative("resample 48 to 16 kHz", "scipy resample_poly", got, expected, 2e-5 / expected.max())
    layers, batch = network(rng), rng.standard_normal((200, 784)).astype(np.float32)
    inputs = [brigade.save("batch.npy", batch), brigade.save("net.safetensors", layers)]
    double = {name: tensor.astype(np.float64) for name, tensor in layers.items()}
    relative("mlp", "NumPy, f64", brigade.output("mlp", inputs), mlp(batch.astype(float), double), 1e-5)


images()
matrices()
sound_and_network()
print(f"{len(failed)} outside their bar" + (": " + ", ".join(failed) if failed else ""))
sys.exit(1 if failed else 0)
