"""WAV files as other programs write them, against libsndfile (soundfile) and ffmpeg. Needs numpy and
soundfile, and the programs ffmpeg and sox:

    apt-get install ffmpeg sox; python3 -m venv .venv && .venv/bin/pip install numpy soundfile
    .venv/bin/python scripts/check_files.py wav 200

`resample` to the rate that a file has gives its samples back. What a file is stands in its name.
"""
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections import Counter

try:
    import numpy as np
    import soundfile
except ImportError as missing:
    sys.exit(f"{missing}; python3 -m venv .venv && .venv/bin/pip install numpy soundfile")

for program in ("ffmpeg", "sox"):
    if not shutil.which(program):
        sys.exit(f"{program} is not here; apt-get install ffmpeg sox")

RATES = [8000, 11025, 16000, 22050, 44100, 48000, 96000, 192000, 12345]
GUID = bytes.fromhex("0000000010008000 00aa00389b71".replace(" ", ""))


def sound(rng, channels):
    """A length that is odd as often as even, short enough for many files."""
    frames = int(rng.integers(1, 3000))
    at = np.arange(frames)[:, None]
    tone = 0.4 * np.sin(at * rng.uniform(0.001, 0.5, channels)) + rng.normal(0, 0.1, (frames, channels))
    return np.clip(tone, -1, 0.99)


def by_soundfile(path, rng, rate, x):
    subtype = str(rng.choice(["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"]))
    soundfile.write(path, x, rate, subtype=subtype, format=str(rng.choice(["WAV", "WAVEX", "RF64"])))


def by_ffmpeg(path, rng, rate, x):
    """Into a pipe, so with lengths that it does not know; or with RF64, or chunks of text."""
    codec = str(rng.choice(["pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"]))
    how = int(rng.integers(3))
    extra = [[], ["-rf64", "always"], ["-write_bext", "1", "-metadata", "description=a", "-metadata", "title=abc"]][how]
    to = ["pipe:1"] if how == 0 else [path]
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-y", "-f", "f64le", "-ar", str(rate), "-ac", str(x.shape[1]), "-i", "-",
         "-c:a", codec, *extra, "-f", "wav", *to],
        input=x.astype("<f8").tobytes(), capture_output=True, check=True)
    if how == 0:
        with open(path, "wb") as file:
            file.write(done.stdout)


def by_sox(path, rng, rate, x):
    bits, encoding = [(8, "unsigned-integer"), (16, "signed-integer"), (24, "signed-integer"),
                      (32, "signed-integer"), (32, "floating-point"),
                      (64, "floating-point")][int(rng.integers(6))]
    pipe = rng.random() < 0.5
    done = subprocess.run(
        ["sox", "-V1", "-t", "f64", "-r", str(rate), "-c", str(x.shape[1]), "-", "-b", str(bits),
         "-e", encoding, "-t", "wav", "-" if pipe else path],
        input=x.astype("<f8").tobytes(), capture_output=True, check=True)
    if pipe:
        with open(path, "wb") as file:
            file.write(done.stdout)


def chunk(name, body):
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def integers(x, bits):
    scale = 2.0 ** (bits - 1)
    return np.clip(np.rint(x * scale), -scale, scale - 1).astype(np.int64)


def packed(values, valid, size):
    """Integers of so many bits at the upper end of so many bytes."""
    shifted = values << (8 * size - valid)
    if size == 1:
        shifted = shifted + 128
    return (shifted.astype("<i8").view(np.uint8).reshape(-1, 8)[:, :size]).tobytes()


def body_of(rng, x, rate, floats=True):
    """A format and samples: ordinary or extensible, with fewer bits than there is room for."""
    sizes = [(8, 1), (16, 2), (12, 2), (24, 3), (20, 3), (32, 4), (24, 4), (20, 4)]
    if floats:
        sizes += [("f", 4), ("f", 8)]
    valid, size = sizes[int(rng.integers(len(sizes)))]
    channels = x.shape[1]
    if valid == "f":
        x = x.astype(f"<f{size}")
        tag, bits, data = 3, 8 * size, x.tobytes()
        valid = bits
    else:
        numbers = integers(x, valid)
        tag, bits, data = 1, 8 * size, packed(numbers.reshape(-1), valid, size)
        x = numbers / 2.0 ** (valid - 1)
    extensible = rng.random() < 0.6 or valid != bits
    head = struct.pack("<HHIIHH", 0xfffe if extensible else tag, channels, rate,
                       rate * channels * size, channels * size, bits)
    if extensible:
        head += struct.pack("<HHIH", 22, valid, int(rng.integers(0, 2) * ((1 << channels) - 1)), tag) + GUID
    elif tag == 3 or rng.random() < 0.3:
        head += struct.pack("<H", 0)
    return head, data, x.astype(np.float64)


def extra_chunk(rng):
    name = [b"LIST", b"bext", b"JUNK", b"id3 ", b"cue ", b"odd "][int(rng.integers(6))]
    return chunk(name, (b"INFO" if name == b"LIST" else b"") + bytes(int(rng.integers(0, 700))))


def by_hand(path, rng, rate, x):
    """Chunks of odd lengths before and after the samples; lengths of a stream, or none."""
    head, data, there = body_of(rng, x, rate)
    before = b"".join(extra_chunk(rng) for _ in range(int(rng.integers(3))))
    after = b"".join(extra_chunk(rng) for _ in range(int(rng.integers(3))))
    how = int(rng.integers(4))
    samples = chunk(b"data", data)
    if how == 1:
        # A program that did not come back to fill its lengths in.
        unknown = [0xffffffff, 0x7ffff000, 0][int(rng.integers(3))]
        samples, after = b"data" + struct.pack("<I", unknown) + data, b""
    rest = b"WAVE" + chunk(b"fmt ", head) + before + samples + after
    size = len(rest)
    if how == 1:
        size = {0xffffffff: 0xffffffff, 0: 0}.get(unknown, 0x7ffff024)
    lead = b"RIFF"
    if how == 2:
        frames = len(x)
        lead, size = b"RF64", 0xffffffff
        ds64 = chunk(b"ds64", struct.pack("<QQQI", 0, len(data), frames, 0))
        samples = b"data" + struct.pack("<I", 0xffffffff) + data + b"\0" * (len(data) % 2)
        rest = b"WAVE" + ds64 + chunk(b"fmt ", head) + before + samples + after
    with open(path, "wb") as file:
        file.write(lead + struct.pack("<I", size) + rest)
    # What is read of it is known, where a reader of others is none of such lengths.
    np.save(path + ".npy", there)


def foreign(path, rng, rate, x):
    """What is not read: to be refused by name."""
    kind = str(rng.choice(["ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "RIFX", "W64", "AIFF", "FLAC"]))
    if kind == "RIFX":
        subprocess.run(["sox", "-V1", "-t", "f64", "-r", str(rate), "-c", str(x.shape[1]), "-", "-B", "-b",
                        "16", "-t", "wav", path], input=x.astype("<f8").tobytes(), check=True)
    elif kind in ("W64", "AIFF", "FLAC"):
        soundfile.write(path, x, rate, format=kind)
    else:
        x = x[:, :1] if kind == "GSM610" else x[:, :2]
        soundfile.write(path, x, rate, format="WAV", subtype=kind)


def broken(path, rng, rate, x):
    """Damage that must not pass for a sound."""
    head, data, _ = body_of(rng, np.vstack([x, x, x]), rate)
    whole = b"WAVE" + chunk(b"fmt ", head) + chunk(b"data", data)
    whole = b"RIFF" + struct.pack("<I", len(whole)) + whole
    start = whole.index(b"data") + 8
    how = int(rng.integers(5))
    if how == 0:
        whole = whole[:int(rng.integers(12, start + len(data) - 1))]
    elif how == 1:
        whole = whole.replace(b"fmt ", b"fmx ")
    elif how == 2:
        # Two files, one behind the other.
        whole += whole
    elif how == 3:
        place = whole.index(b"fmt ") + 8
        whole = whole[:place + 2] + b"\0\0" + whole[place + 4:]
    else:
        floats = np.full((10, 1), [np.nan, np.inf][int(rng.integers(2))], "<f4")
        head = struct.pack("<HHIIHH", 3, 1, rate, 4 * rate, 4, 32)
        whole = b"WAVE" + chunk(b"fmt ", head) + chunk(b"data", floats.tobytes())
        whole = b"RIFF" + struct.pack("<I", len(whole)) + whole
    with open(path, "wb") as file:
        file.write(whole)


MAKERS = [by_soundfile, by_ffmpeg, by_sox, by_hand, by_hand, by_soundfile, by_ffmpeg, by_hand, foreign, broken]


def generate(directory, n, seed):
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(n):
        make = MAKERS[number % len(MAKERS)]
        rate = int(rng.choice(RATES))
        path = os.path.join(directory, f"{number:04}-{make.__name__}.wav")
        make(path, rng, rate, sound(rng, int(rng.integers(1, 9))))
        paths.append(path)
    return paths


def reference(path):
    """Samples and rate: as they were written, or by libsndfile, or else by ffmpeg."""
    if os.path.exists(path + ".npy"):
        with open(path, "rb") as file:
            head = file.read()
        return np.load(path + ".npy"), struct.unpack_from("<I", head, head.index(b"fmt ") + 12)[0]
    try:
        return soundfile.read(path, dtype="float64", always_2d=True)
    except soundfile.SoundFileError:
        pass
    probe = subprocess.run(["ffprobe", "-v", "error", "-of", "json", "-show_streams", path],
                           capture_output=True, text=True, check=False)
    streams = json.loads(probe.stdout).get("streams", []) if probe.returncode == 0 else []
    if not streams:
        return None, None
    done = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-f", "f64le", "-c:a", "pcm_f64le", "-"],
                          capture_output=True, check=False)
    channels = streams[0]["channels"]
    return np.frombuffer(done.stdout, "<f8").reshape(-1, channels), int(streams[0]["sample_rate"])


def check(brigade, paths):
    references = {path: reference(path) for path in paths}
    lines = []
    for path in paths:
        rate = references[path][1] or 8000
        lines.append(json.dumps({"id": path, "kernel": "resample", "params": {"rate": rate},
                                 "inputs": [path], "output": path + ".out.wav"}))
    done = subprocess.run([brigade, "batch", "-", "-b", "sync", "--ordered", "--force"],
                          input="\n".join(lines), capture_output=True, text=True, check=False)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["id"] for row in rows] == paths, done.stderr
    right, refused, wrong = 0, Counter(), []
    for path, row in zip(paths, rows):
        name = os.path.basename(path)
        must_fail = "foreign" in name or "broken" in name
        if row["status"] != "ok":
            reason = re.sub(r"^line \d+: ", "", row["error"])
            if must_fail:
                refused[re.sub(r"(?<![\w.])\d+(?!\w|-bit)", "N", reason)] += 1
            else:
                wrong.append(f"{name}: refused: {reason}")
        elif must_fail:
            wrong.append(f"{name}: read")
        else:
            problem = compare(path, *references[path])
            if problem:
                wrong.append(f"{name}: {problem}")
            else:
                right += 1
    return right, dict(refused), wrong


def compare(path, expected, rate):
    """What is wrong with what came back; nothing if it is right."""
    if expected is None:
        return "no reference reads it"
    got, got_rate = soundfile.read(path + ".out.wav", dtype="float64", always_2d=True)
    if (got.shape, got_rate) != (expected.shape, rate):
        return f"{got.shape} at {got_rate} instead of {expected.shape} at {rate}"
    off = np.abs(got - expected).max()
    # A filter of sin(pi k) / (pi k) is not exactly nothing where k is not 0.
    is_float = soundfile.info(path + ".out.wav").subtype in ("FLOAT", "DOUBLE")
    return None if off <= (1e-14 if is_float else 0) else f"off by {off}"
