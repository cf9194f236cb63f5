"""TIFF files over types of samples, colours, planes, compression, predictors, strips and tiles,
byte orders and alpha, for check_files.py; read by tifffile, and by Pillow what tifffile does not.

    python3 -m venv .venv && .venv/bin/pip install numpy pillow tifffile imagecodecs
    .venv/bin/python scripts/check_files.py tiff 500
"""
import os

import imagecodecs
import numpy as np
import PIL.Image
import tifffile

import files_common

# How far a value may be from the reference, where both round a quotient.
CALCULATED = 1


def picture(rng, height, width, samples, dtype):
    """Values over the whole range: slopes, noise, flat parts."""
    y, x = np.mgrid[:height, :width]
    planes = []
    for _ in range(samples):
        slope = (x * rng.uniform(-3, 3) + y * rng.uniform(-3, 3)) / max(width + height, 1)
        noise = rng.random((height, width)) * rng.choice([0, 0.05, 1])
        planes.append((slope + noise + rng.random()) % 1.0)
    unit = np.stack(planes, axis=-1)
    unit[: height // 4, : width // 3] = rng.integers(0, 2, samples)
    if dtype.kind == "f":
        if rng.random() < 0.3:
            unit = unit * 3 - 1
        if rng.random() < 0.1:
            unit[0, 0] = np.nan
        return unit.astype(dtype)
    if dtype.kind == "b":
        return unit > 0.5
    if dtype.kind == "i":
        return (unit * 100 - 50).astype(dtype)
    return (unit.clip(0, 1 - 2.0 ** -53) * 2.0 ** (8 * dtype.itemsize)).astype(dtype)


def pick(rng, *weighted):
    """One of (value, weight) pairs."""
    values, weights = zip(*weighted)
    weights = np.array(weights, float)
    return values[rng.choice(len(values), p=weights / weights.sum())]


def by_tifffile(rng, path):
    dtype = np.dtype(pick(rng, ("u1", 6), ("u2", 5), ("u4", 3), ("u8", 1), ("f2", 2), ("f4", 3),
                          ("f8", 2), ("i1", 0.3), ("i2", 0.4), ("i4", 0.3), ("?", 1)))
    photometric, colors = pick(rng, (("minisblack", 1), 4), (("miniswhite", 1), 2), (("rgb", 3), 8),
                               (("separated", 4), 1), (("palette", 1), 1), (("cielab", 3), 0.2))
    if dtype.kind == "b":
        photometric, colors = pick(rng, (("minisblack", 1), 1), (("miniswhite", 1), 1))
    options = {}
    if photometric == "palette":
        dtype = np.dtype("u1") if dtype.itemsize != 2 else np.dtype("u2")
        colormap = rng.integers(0, 65536, (3, 256 ** dtype.itemsize), "u2")
        if rng.random() < 0.5:
            colormap = (colormap >> 8) * rng.choice([256, 257])
        options["colormap"] = colormap.astype("u2")
    extra = []
    if photometric != "palette" and dtype.kind != "b":
        extra = pick(rng, ([], 5), (["unassalpha"], 3), (["assocalpha"], 3), (["unspecified"], 1),
                     (["unassalpha", "unspecified"], 0.5), (["unspecified", "assocalpha"], 0.5))
    samples = colors + len(extra)
    height, width = (int(side) for side in rng.integers(1, pick(rng, (9, 1), (90, 5), (300, 1)), 2))
    data = picture(rng, height, width, samples, dtype)
    if "assocalpha" in extra and rng.random() < 0.8:
        data = multiplied(data, colors, colors + extra.index("assocalpha"))
    planar = samples > 1 and rng.random() < 0.35
    if planar:
        data = np.moveaxis(data, -1, 0)
    elif samples == 1:
        data = data[..., 0]
    if samples > 1:
        options["planarconfig"] = "separate" if planar else "contig"
    if extra:
        options["extrasamples"] = extra
    compression = pick(rng, (None, 3), ("lzw", 4), ("zlib", 4), ("packbits", 2), ("zstd", 0.3),
                       ("lzma", 0.2), ("jpeg", 0.3))
    if compression == "jpeg" and (dtype != np.dtype("u1") or extra or
                                  photometric not in ("rgb", "minisblack")):
        compression = "zlib"
    # Some codecs do not know each type.
    if dtype.kind == "b" and compression not in (None, "packbits", "zlib"):
        compression = "zlib"
    if compression in ("lzw", "zlib") and dtype.kind != "b" and rng.random() < 0.6:
        options["predictor"] = 3 if dtype.kind == "f" and rng.random() < 0.8 else 2
        if dtype.kind == "f" and options["predictor"] == 2:
            # tifffile takes differences of floats here.
            options["predictor"] = 3
    if rng.random() < 0.45:
        options["tile"] = tuple(int(side) * 16 for side in rng.integers(1, 6, 2))
    else:
        options["rowsperstrip"] = int(rng.integers(1, height + 1))
    if rng.random() < 0.2:
        options["extratags"] = [(274, "H", 1, int(rng.integers(1, 9)), True)]
    if compression:
        options["compression"] = compression
    with tifffile.TiffWriter(path, bigtiff=rng.random() < 0.2,
                             byteorder=rng.choice(["<", ">"])) as writer:
        for _ in range(pick(rng, (1, 8), (2, 1), (3, 1))):
            writer.write(data, photometric=photometric, metadata=None, **options)
            options.pop("extratags", None)


def multiplied(data, colors, alpha):
    unit = to_unit(data, 8 * data.dtype.itemsize)
    unit = np.nan_to_num(unit).clip(0, 1)
    unit[..., :colors] *= unit[..., alpha:alpha + 1]
    if data.dtype.kind == "f":
        return unit.astype(data.dtype)
    return np.floor(unit * (2.0 ** (8 * data.dtype.itemsize) - 1) * 0.9999999).astype(data.dtype)


def by_pillow(rng, path):
    height, width = (int(side) for side in rng.integers(1, 120, 2))
    mode = pick(rng, ("1", 3), ("L", 1), ("P", 1), ("RGB", 1), ("RGBA", 1), ("CMYK", 1), ("LA", 1),
                ("I;16", 1), ("F", 1), ("LAB", 0.3), ("YCbCr", 0.3))
    compression = pick(rng, (None, 1), ("tiff_lzw", 1), ("tiff_adobe_deflate", 1), ("tiff_deflate", 1),
                       ("packbits", 1), ("jpeg", 0.2))
    if mode == "1":
        compression = pick(rng, ("group4", 4), ("group3", 0.5), (None, 1), ("packbits", 1))
    elif compression == "jpeg" and mode not in ("L", "RGB", "CMYK", "YCbCr"):
        compression = None
    bits = picture(rng, height, width, 1, np.dtype("u1"))[..., 0]
    if mode == "I;16":
        image = PIL.Image.fromarray(picture(rng, height, width, 1, np.dtype("u2"))[..., 0])
    elif mode == "F":
        image = PIL.Image.fromarray(rng.random((height, width)).astype("f4"))
    elif mode in ("1", "L"):
        image = PIL.Image.fromarray(bits).convert(mode)
    elif mode == "P":
        image = PIL.Image.fromarray(bits).convert("P")
        image.putpalette([int(v) for v in rng.integers(0, 256, 768)])
    else:
        bands = len(PIL.Image.new(mode, (1, 1)).getbands())
        planes = picture(rng, height, width, bands, np.dtype("u1"))
        image = PIL.Image.merge(mode, [PIL.Image.fromarray(np.ascontiguousarray(planes[..., i]))
                                       for i in range(bands)])
    image.save(path, format="TIFF", **({"compression": compression} if compression else {}))


def pack(values, bits):
    """Rows of samples of so many bits, the highest bit first, each row in whole bytes."""
    planes = (values[..., None] >> np.arange(bits - 1, -1, -1, dtype=values.dtype)) & 1
    return np.packbits(planes.reshape(values.shape[0], -1).astype("u1"), axis=1)


def by_hand(rng, path):
    """Depths that no library here writes: 2, 4, 10, 12 and 14 bits, and floats of 24 bits."""
    height, width = (int(side) for side in rng.integers(1, 60, 2))
    samples, photometric = pick(rng, ((1, 1), 2), ((1, 0), 1), ((3, 2), 2), ((1, 3), 1))
    bits = int(pick(rng, (2, 1), (4, 1), (10, 1), (12, 2), (14, 1), (24, 2)))
    order = rng.choice(["<", ">"])
    tags = {}
    if photometric == 3 and bits > 4:
        bits = 4
    if bits == 24:
        values = rng.random((height, width * samples)) * rng.choice([1, 1.2])
        rows = imagecodecs.float24_encode(values.astype("f4"),
                                          byteorder=order if order == ">" else "<")
        rows = np.frombuffer(rows, "u1").reshape(height, -1)
        tags[339] = ("H", [3] * samples)
    else:
        values = rng.integers(0, 1 << bits, (height, width * samples), "u2")
        rows = pack(values, bits)
    if photometric == 3:
        tags[320] = ("H", list(rng.integers(0, 65536, 3 << bits)))
    data = rows.tobytes()
    compression = int(pick(rng, (1, 1), (5, 1), (8, 1), (32773, 1)))
    if compression == 5:
        data = imagecodecs.lzw_encode(data)
    elif compression == 8:
        data = imagecodecs.zlib_encode(data)
    elif compression == 32773:
        data = b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in rows)
    tags |= {256: ("I", [width]), 257: ("I", [height]), 258: ("H", [bits] * samples),
             259: ("H", [compression]), 262: ("H", [photometric]), 273: ("I", [8]),
             277: ("H", [samples]), 278: ("I", [height]), 279: ("I", [len(data)])}
    write_tags(path, order, tags, data)


def write_tags(path, order, tags, data):
    """One directory behind one strip, which begins at 8."""
    data += b"\0" * (len(data) % 2)
    count = len(tags)
    outside = 8 + len(data) + 2 + 12 * count + 4
    table, values = b"", b""
    for tag, (kind, numbers) in sorted(tags.items()):
        packed = np.array(numbers, {"H": "u2", "I": "u4"}[kind]).astype(
            order + {"H": "u2", "I": "u4"}[kind]).tobytes()
        head = np.array([tag, {"H": 3, "I": 4}[kind]], order + "u2").tobytes()
        head += np.array([len(numbers)], order + "u4").tobytes()
        if len(packed) <= 4:
            table += head + packed.ljust(4, b"\0")
        else:
            table += head + np.array([outside + len(values)], order + "u4").tobytes()
            values += packed + b"\0" * (len(packed) % 2)
    start = np.array([8 + len(data)], order + "u4").tobytes()
    with open(path, "wb") as file:
        file.write((b"II*\0" if order == "<" else b"MM\0*") + start + data +
                   np.array([count], order + "u2").tobytes() + table + bytes(4) + values)


def generate(directory, n, seed):
    paths = []
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        path = os.path.join(directory, f"{i:05}.tif")
        pick(rng, (by_tifffile, 6), (by_pillow, 1.5), (by_hand, 1.5))(rng, path)
        paths.append(path)
    return paths


def to_unit(data, bits):
    if data.dtype.kind == "f":
        return data.astype("f8")
    return data.astype("f8") / (2.0 ** bits - 1)


def to_bytes(unit):
    return np.floor(np.nan_to_num(unit, nan=0.0).clip(0, 1) * 255 + 0.5).astype("u1")


def expected(path):
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        tags = page.tags
        kind, compression = int(page.photometric), int(page.compression)
        if compression in (3, 4):
            return np.asarray(PIL.Image.open(path).convert("L"))
        data = page.asarray()
        colormap = page.colormap if kind == 3 else None
        orientation = int(tags[274].value) if 274 in tags else 1
    shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
    if int(page.planarconfig) == 2 and page.samplesperpixel > 1:
        data = np.moveaxis(data.reshape(shape[2:] + shape[:2]), 0, -1)
    data = data.reshape(shape)
    bits = page.bitspersample
    extra = [int(value) for value in page.extrasamples]
    colors = shape[2] - len(extra)
    alpha = next((i for i, value in enumerate(extra) if value in (1, 2)), None)
    if kind == 3:
        out = (np.asarray(colormap).T >> 8).astype("u1")[data[..., 0].astype(int)]
    else:
        with np.errstate(all="ignore"):
            unit = np.nan_to_num(to_unit(data, bits), nan=0.0, posinf=np.inf, neginf=-np.inf)
            if alpha is not None and extra[alpha] == 1:
                divisor = unit[..., colors + alpha][..., None]
                color = np.where(divisor == 0, np.where(unit[..., :colors] == 0, 0, np.inf *
                                                        unit[..., :colors]),
                                 unit[..., :colors] / divisor)
            else:
                color = unit[..., :colors]
            if kind == 0:
                color = 1 - color
            elif kind == 5:
                color = color.clip(0, 1)
                color = (1 - color[..., :3]) * (1 - color[..., 3:4])
            elif kind not in (1, 2):
                return None
        out = to_bytes(color)
        if alpha is not None:
            out = np.broadcast_to(out, shape[:2] + (3,))
            out = np.concatenate([out, to_bytes(unit[..., colors + alpha])[..., None]], axis=-1)
    if out.shape[-1] == 1:
        out = out[..., 0]
    return turned(out, orientation)


def turned(out, orientation):
    if orientation >= 5:
        out = np.swapaxes(out, 0, 1)
    if orientation in (2, 3, 6, 7):
        out = out[:, ::-1]
    if orientation in (3, 4, 7, 8):
        out = out[::-1]
    return out


def check(brigade, paths):
    return files_common.check_images(brigade, paths, expected, compare)


def compare(path, got, wanted):
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        exact = page.dtype is not None and page.dtype.kind in "ub" and 1 not in page.extrasamples \
            and int(page.photometric) != 5
    return files_common.compare(path, got, wanted, 0 if exact else CALCULATED)
