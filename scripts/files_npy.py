"""`.npy` files, against NumPy and SciPy. Needs numpy and scipy:

    python3 -m venv .venv && .venv/bin/pip install numpy scipy
    .venv/bin/python scripts/check_files.py npy 300

What a file is for stands in its name: NUMBER-KERNEL-WHAT.npy, with NUMBER-b.npy for a second input.
"""
import io
import json
import os
import re
import struct
import subprocess
import sys
import warnings
import zipfile
from collections import Counter

try:
    import numpy as np
    import scipy.linalg
except ImportError as missing:
    sys.exit(f"{missing}; python3 -m venv .venv && .venv/bin/pip install numpy scipy")

NUMBERS = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"]
FOREIGN = ["c8", "c16", "S3", "U3", "O", "M8[ns]", "m8[s]", "V4", "f16", [("a", "<f4"), ("b", "<i2")]]
KERNELS = ["transpose", "matmul", "matvec", "lu-solve", "cholesky", "sharpen"]


def write(path, array, rng):
    """As NumPy, or another program, might write it."""
    version = (int(rng.integers(1, 4)), 0)
    order = array.flags.f_contiguous and not array.flags.c_contiguous
    how = rng.integers(0, 4)
    if how < 2 or array.dtype.hasobject:
        with open(path, "wb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.lib.format.write_array(file, array, version=version)
        return
    # By hand: other spaces, another order of the fields, a header of an odd length.
    space = " " * int(rng.integers(0, 3))
    fields = [f"'descr':{space}{np.lib.format.dtype_to_descr(array.dtype)!r}",
              f'"fortran_order"{space}:{space}{order}',
              f"'shape':{space}{array.shape!r}"]
    rng.shuffle(fields)
    text = ("{" + f",{space}".join(fields) + rng.choice(["}", ", }", ",}\n", "}   \n"])).encode("latin1")
    length = struct.pack("<H", len(text)) if version[0] == 1 else struct.pack("<I", len(text))
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY" + bytes(version) + length + text)
        file.write(array.tobytes("F" if order else "C"))


def elements(dtype, shape, rng):
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        small = rng.integers(max(info.min, -9), 10, shape)
        if rng.random() < 0.7:
            return small.astype(dtype)
        return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)
    return rng.standard_normal(shape).astype(dtype)


def laid_out(array, rng):
    """In another order, or of bytes in the other order."""
    if rng.random() < 0.4:
        array = np.asfortranarray(array)
    return array.astype(array.dtype.newbyteorder(rng.choice(["<", ">"])), order="K")


def shapes(kernel, rng):
    a, b, c = (int(x) for x in rng.integers(1, 40, 3))
    return {"transpose": [(a, b)], "matmul": [(a, b), (b, c)], "matvec": [(a, b), (b,)],
            "lu-solve": [(a, a), [(a,), (a, c)][c % 2]], "cholesky": [(a, a)],
            # An image, which sharpening by nothing leaves as it is.
            "sharpen": [[(a, b), (a, b, 1), (a, b, 3), (a, b, 4)][c % 4]]}[kernel]


def generate(directory, n, seed):
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(n):
        kernel = KERNELS[number % len(KERNELS)]
        dtype = str(rng.choice(NUMBERS))
        if kernel == "sharpen" and rng.random() < 0.7:
            dtype = "u1"
        what = "plain"
        arrays = [elements(dtype, shape, rng) for shape in shapes(kernel, rng)]
        if kernel == "lu-solve" and rng.random() < 0.3:
            arrays[0], what = near_singular(len(arrays[0]), rng), "near"
            arrays[1] = arrays[1].astype("f8")
        if kernel == "cholesky":
            half = rng.integers(-3, 4, arrays[0].shape).astype("f8")
            square = half @ half.T + np.eye(len(half)) * int(rng.integers(0, 2))
            limits = {"?": 1, "i": 127, "u": 255}
            fits = square.max() <= limits.get(np.dtype(dtype).kind, 2048) and square.min() >= (
                0 if np.dtype(dtype).kind in "?ub" else -127)
            arrays[0] = square.astype(dtype if fits else "f8")
        if rng.random() < 0.15 and len(arrays) > 1:
            arrays[1] = elements(str(rng.choice(NUMBERS)), arrays[1].shape, rng)
            what = "mixed"
        extreme = rng.random()
        if extreme < 0.05:
            arrays[0], what = odd_shape(dtype, rng), "shape"
        elif extreme < 0.13:
            index = int(rng.integers(len(FOREIGN)))
            arrays[0], what = np.zeros((2, 2), FOREIGN[index]), f"foreign{index}"
        elif extreme < 0.16 and arrays[0].dtype.kind == "f":
            arrays[0].flat[int(rng.integers(arrays[0].size))] = rng.choice([np.nan, np.inf, -np.inf])
            what = "odd"
        elif extreme < 0.2 and arrays[0].dtype.kind == "f":
            with np.errstate(over="ignore"):
                arrays[0] = arrays[0] * np.array(np.finfo(arrays[0].dtype).max / 4, arrays[0].dtype)
            arrays[0] = np.nan_to_num(arrays[0])
            what = "large"
        arrays = [laid_out(a, rng) if a.dtype.kind in "biuf" and a.dtype.itemsize <= 8 else a
                  for a in arrays]
        path = os.path.join(directory, f"{number:04}-{kernel}-{what}.npy")
        write(path, arrays[0], rng)
        if len(arrays) > 1:
            write(second(path), arrays[1], rng)
        damage = rng.random()
        if damage < 0.04:
            spoil(path, rng)
        paths.append(path)
    return paths


def odd_shape(dtype, rng):
    shape = [(), (0,), (0, 3), (1, 3, 1)][int(rng.integers(4))]
    return np.ones(shape, dtype)


def near_singular(n, rng):
    u, _ = np.linalg.qr(rng.standard_normal((n, n)))
    v, _ = np.linalg.qr(rng.standard_normal((n, n)))
    return u @ np.diag(np.logspace(0, -float(rng.uniform(0, 22)), n)) @ v


def spoil(path, rng):
    """Other bytes than NumPy's: cut, with more behind, an archive, a pickle."""
    with open(path, "rb") as file:
        whole = file.read()
    how = int(rng.integers(4))
    with open(path, "wb") as file:
        if how == 0:
            file.write(whole[:int(rng.integers(len(whole)))])
        elif how == 1:
            file.write(whole + b"\0" * int(rng.integers(1, 9)))
        elif how == 2:
            archive = io.BytesIO()
            with zipfile.ZipFile(archive, "w") as files:
                files.writestr("a.npy", whole)
            file.write(archive.getvalue())
        else:
            file.write(b"\x80\x04\x95" + whole)


def second(path):
    directory, name = os.path.split(path)
    return os.path.join(directory, name.split("-")[0] + "-b.npy")


def inputs_of(path):
    kernel = "-".join(os.path.basename(path)[:-4].split("-")[1:-1])
    return kernel, [path] + ([second(path)] if os.path.exists(second(path)) else [])


def run(brigade, jobs):
    params = {"sharpen": {"amount": 0}}
    lines = [json.dumps({"id": path, "kernel": kernel, "params": params.get(kernel, {}),
                         "inputs": inputs, "output": path + ".out.npy"})
             for path, kernel, inputs in jobs]
    done = subprocess.run([brigade, "batch", "-", "-b", "sync", "--ordered", "--force"],
                          input="\n".join(lines), capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == [path for path, _, _ in jobs], done.stderr
    return rows


def check(brigade, paths):
    right, refused, wrong = 0, Counter(), []
    for path, row in zip(paths, run(brigade, [(path, *inputs_of(path)) for path in paths])):
        kernel, inputs = inputs_of(path)
        name = os.path.basename(path)
        try:
            loaded = [np.load(file, allow_pickle=False) for file in inputs]
            loaded = loaded if all(isinstance(array, np.ndarray) for array in loaded) else None
        except Exception as error:  # NumPy has many for a file that it does not read.
            loaded = None
            why = f"{type(error).__name__}: {error}"
        else:
            why = "it is an archive" if loaded is None else ""
        if row["status"] != "ok":
            reason = generic(row["error"])
            blamed = blame(kernel, loaded, row["error"], name)
            if blamed:
                wrong.append(f"{name}: refused, but {blamed}: {row['error']}")
            else:
                refused[reason] += 1
        elif loaded is None:
            wrong.append(f"{name}: read, but NumPy says {why}")
        else:
            notes = row.get("notes", [])
            problem = compare(kernel, loaded, np.load(path + ".out.npy"), notes)
            if problem:
                types = ", ".join(f"{array.dtype.str} {array.shape}" for array in loaded)
                wrong.append(f"{name} ({types}): {problem}")
            else:
                right += 1
    return right, dict(refused), wrong


def generic(error):
    """Without what differs from file to file."""
    text = re.sub(r"^line \d+: ", "", error)
    text = re.sub(r"input \d: ?|input \d ", "", text)
    text = re.sub(r"at \[[^]]*\]", "at [..]", text)
    return re.sub(r"(?<![\w<>|.])-?\d[\d.e+]*(?!\w)", "N", text)


def exact(array, dtype):
    """The same numbers in another type, if they are."""
    with np.errstate(all="ignore"):
        there = array.astype(dtype)
        if array.dtype.kind in "iu":
            return there if all(int(a) == int(b) for a, b in zip(array.flat, there.flat)) else None
    return there


def working(loaded):
    single = all(array.dtype.kind == "f" and array.dtype.itemsize <= 4 for array in loaded)
    return np.float32 if single else np.float64


def blame(kernel, loaded, error, name):
    """Why a refusal is not right; nothing if it is."""
    if loaded is None:
        # A foreign type that NumPy itself will not load without being asked: objects.
        return None
    kinds = [array.dtype.kind in "biuf" and array.dtype.itemsize <= 8 for array in loaded]
    if not all(kinds):
        return None if "not supported" in error else "another reason is right"
    if re.search("bytes? behind its array", error):
        return None
    if kernel == "sharpen":
        array = loaded[0]
        is_image = array.ndim == 2 or array.ndim == 3 and array.shape[2] in (1, 3, 4)
        if not is_image or array.size == 0:
            return None if "image" in error else "another reason is right"
        if array.dtype == np.uint8:
            return "it is an image of uint8"
        return None if f"of type {array.dtype.newbyteorder('<').name};" in error else "its type is not named"
    if any(array.ndim not in (1, 2) or array.size == 0 for array in loaded):
        return None if "shape" in error else "another reason is right"
    if "cannot hold exactly" in error:
        return None if any(exact(array, working(loaded)) is None for array in loaded) else "it can"
    if "holds" in error:
        odd = any(not np.isfinite(array.astype("f8")).all() for array in loaded if array.dtype.kind == "f")
        return None if odd else "all is finite"
    a, *rest = [exact(array, np.float64) for array in loaded]
    if kernel in ("matmul", "matvec") and a.shape[-1] != rest[0].shape[0]:
        return None if "shapes do not fit" in error else "another reason is right"
    # A vector is a matrix of one column.
    if kernel in ("lu-solve", "cholesky") and a.size != len(a) ** 2:
        return None if "square" in error else "another reason is right"
    a = a.reshape(len(a), -1)
    if kernel == "lu-solve" and len(a) != len(rest[0]):
        return None if "they must be as many" in error else "another reason is right"
    if "singular" in error:
        return None if np.linalg.matrix_rank(a) < len(a) else "it is not singular"
    if "beyond the largest" in error:
        return None if np.abs(a).max() > np.finfo(working(loaded)).max / 1e3 else "it is not so large"
    if "not positive definite" in error:
        lower = np.tril(a) + np.tril(a, -1).T
        least = np.linalg.eigvalsh(lower).min()
        tiny = np.finfo(working(loaded)).eps * len(a) * np.abs(lower).max() * 10
        return None if least <= tiny else f"its least eigenvalue is {least}"
    return "the reason is not known here"


def compare(kernel, loaded, got, notes):
    """What is wrong with a result; nothing if it is right."""
    if kernel == "transpose":
        expected = np.ascontiguousarray(loaded[0].T)
        same = got.dtype == expected.dtype.newbyteorder("<") and got.shape == expected.shape
        return None if same and got.tobytes() == expected.astype(got.dtype).tobytes() else "not a.T"
    if kernel == "sharpen":
        expected = loaded[0][..., 0] if loaded[0].ndim == 3 and loaded[0].shape[2] == 1 else loaded[0]
        return None if got.dtype == expected.dtype and np.array_equal(got, expected) else "other pixels"
    dtype = working(loaded)
    exacts = [exact(array, dtype) for array in loaded]
    if any(array is None for array in exacts):
        return "numbers were changed"
    if got.dtype != dtype:
        return f"a result of {got.dtype}, not {np.dtype(dtype)}"
    a, *rest = [array.astype(np.longdouble) for array in exacts]
    eps = float(np.finfo(dtype).eps)
    if kernel in ("matmul", "matvec"):
        expected = a @ rest[0]
        bar = eps * a.shape[-1] * (np.abs(a) @ np.abs(rest[0]))
        with np.errstate(over="ignore"):
            is_large = bar.max() / eps > np.finfo(dtype).max / 4
        if is_large:
            overflowed = not np.isfinite(got).all()
            return None if overflowed == ("overflow" in notes) else f"notes {notes} on overflow"
        if got.shape != expected.shape:
            return f"shape {got.shape}"
        if notes:
            return f"notes {notes}"
        return None if (np.abs(got - expected) <= bar + np.finfo(dtype).tiny).all() else "not a b"
    if kernel == "cholesky":
        lower = np.tril(a) + np.tril(a, -1).T
        back = got.astype(np.longdouble) @ got.T.astype(np.longdouble)
        near = np.abs(back - lower).max() <= 10 * len(a) * eps * np.abs(lower).max()
        clean = not np.triu(got, 1).any()
        potrf = scipy.linalg.get_lapack_funcs("pocon", (got,))
        anorm = np.abs(lower).sum(axis=0).max()
        rcond, _ = potrf(got, anorm.astype(dtype), uplo="L")
        return noted("ill-conditioned", rcond, eps, notes) or (
            None if near and clean else "not L L^T")
    x = got.reshape(len(a), -1).astype(np.longdouble)
    b = rest[0].reshape(len(a), -1)
    # Brought near to 1, for sums of large numbers.
    scaled = exacts[0] / np.exp2(np.floor(np.log2(np.abs(exacts[0]).max())))
    lu, _ = scipy.linalg.lu_factor(scaled, check_finite=False)
    gecon = scipy.linalg.get_lapack_funcs("gecon", (lu,))
    rcond, _ = gecon(lu, np.abs(scaled).sum(axis=0).max())
    if not np.isfinite(got).all():
        return None if "overflow" in notes else "not finite, and no word of it"
    # Backward error (Higham, Accuracy and Stability of Numerical Algorithms, theorem 9.4).
    bar = 30 * len(a) ** 2 * eps * (np.abs(a) @ np.abs(x) + np.abs(a).max() * np.abs(x).max())
    return noted("ill-conditioned", rcond, eps, notes) or (
        None if (np.abs(a @ x - b) <= bar).all() else "not a solution")


def noted(name, rcond, eps, notes):
    """Estimates differ by rounding, so close to the bar either is right."""
    if eps / 3 < rcond < 3 * eps:
        return None
    if (rcond < eps) != (name in notes):
        return f"LAPACK's rcond is {rcond:.2e}, and the notes are {notes}"
    return None
