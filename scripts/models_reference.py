#!/usr/bin/env python3
"""Writes crates/measure/tests/models_scipy.json: what SciPy makes of the models' inputs.

    .venv/bin/python scripts/models_reference.py
"""
import json
import pathlib

import numpy as np
import scipy.stats
from scipy.optimize import nnls

random = np.random.default_rng(20)
WORKERS = np.array([1, 2, 3, 4, 6, 8])


def center(figures):
    """Hodges and Lehmann of logarithms: the median of the means of all pairs."""
    logs = np.log(figures)
    i, j = np.tril_indices(len(logs))
    return np.exp(np.median((logs[i] + logs[j]) / 2))


def relative(rows, centers):
    """Non-negative least squares on relative error, and the largest such error."""
    rows = np.asarray(rows, float) / np.asarray(centers)[:, None]
    x, _ = nnls(rows, np.ones(len(rows)))
    return x, np.abs(rows @ x - 1).max()


def noisy(truth, blocks):
    return (np.asarray(truth)[:, None] * random.lognormal(0, 0.1, (len(truth), blocks))).tolist()


def nnls_case():
    # Targets that pull parameters to either side of 0, columns of different size.
    rows = random.uniform(0, 1, (7, 3)) * 10.0 ** random.integers(-3, 4, 3)
    target = rows @ (random.normal(0.3, 1, 3) / rows.max(0)) + random.normal(0, 0.1, 7)
    return {"rows": rows.tolist(), "target": target.tolist(), "x": nnls(rows, target)[0].tolist()}


def hockney():
    sizes = np.array([0, 4096, 65536, 1 << 20, 8 << 20])
    blocks = noisy(12 + sizes / 8000, 12)
    (latency, per_byte), worst = relative([[1, n] for n in sizes], [center(b) for b in blocks])
    return {"bytes": sizes.tolist(), "blocks": blocks, "latency_us": latency,
            "bandwidth_mb_per_s": 1 / per_byte, "worst_residual": worst}


def scaling(kappa):
    # A negative kappa is what the bound is for.
    blocks = noisy(500 * WORKERS / (1 + 0.1 * (WORKERS - 1) + kappa * WORKERS * (WORKERS - 1)), 9)
    centers = [center(n / np.array(b)) for n, b in zip(WORKERS, blocks)]
    (one, serial), amdahl_worst = relative([[1, n - 1] for n in WORKERS], centers)
    x, usl_worst = relative([[1, n - 1, n * (n - 1)] for n in WORKERS], centers)
    return {"workers": WORKERS.tolist(), "blocks": blocks,
            "amdahl": {"lambda": 1 / one, "sigma": serial / one, "worst_residual": amdahl_worst},
            "usl": {"lambda": 1 / x[0], "sigma": x[1] / x[0], "kappa": x[2] / x[0],
                    "worst_residual": usl_worst}}


def break_even():
    times = np.array([0.0, 10, 100, 1000])
    rival, reference = noisy(20 + times, 8), noisy(2 + times, 8)
    rows = [[1, c] for c in times]
    a, _ = relative(rows, [center(b) for b in rival])
    b, _ = relative(rows, [center(b) for b in reference])
    return {"compute_us": times.tolist(), "rival": rival, "reference": reference, "tolerance": 0.2,
            "threshold": (a[0] - 1.2 * b[0]) / (1.2 * b[1] - a[1])}


def cuts():
    """What is cut off each end with n blocks."""
    return [{"blocks": n, "cut": scipy.stats.norm.sf(scipy.stats.t.ppf(0.975, n - 1))}
            for n in (6, 7, 8, 10, 15, 20, 30, 64)]


reference = {
    "by": f"scripts/models_reference.py, SciPy {scipy.__version__}",
    "nnls": [nnls_case() for _ in range(40)],
    "cuts": cuts(),
    "centers": [{"figures": f, "center": center(f)} for n in (6, 7, 20) for f in noisy([50], n)],
    "hockney": hockney(),
    "scaling": [scaling(kappa) for kappa in (0.02, -0.01)],
    "break_even": break_even(),
}
path = pathlib.Path(__file__).parent.parent / "crates/measure/tests/models_scipy.json"
path.write_text(json.dumps(reference) + "\n")
