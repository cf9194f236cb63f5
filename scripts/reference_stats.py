#!/usr/bin/env python3
"""Writes the values that crates/measure/tests/stats_reference.rs compares with, from
SciPy and NumPy. Run again only to add cases; the result is checked in.

    python3 -m venv .venv && .venv/bin/pip install numpy scipy
    .venv/bin/python scripts/reference_stats.py
"""
import json
import pathlib

import numpy as np
from scipy import optimize, stats

TARGET = pathlib.Path(__file__).parent.parent / "crates/measure/tests/data/stats.json"


def log_ratios():
    """Samples like those of a comparison: some calm, some with wild blocks, some tied."""
    random = np.random.default_rng(20240607)
    samples = [random.normal(0.01, 0.02, n) for n in (6, 7, 12, 16, 25, 50, 60, 120)]
    wild = random.normal(0.0, 0.01, 20)
    wild[[3, 11]] += [0.4, 0.9]
    samples.append(wild)
    return [np.round(sample, 12) for sample in samples]


def walsh(x):
    i, j = np.triu_indices(len(x))
    return np.sort((x[i] + x[j]) / 2)


def signed_rank_interval(x, confidence):
    """All centres that scipy.stats.wilcoxon does not reject, by trying one between any
    two neighbours among the Walsh averages: the p-value is constant there."""
    averages = walsh(x)
    method = {"method": "exact"} if len(x) <= 50 else {"method": "asymptotic", "correction": True}
    between = (averages[1:] + averages[:-1]) / 2
    kept = [stats.wilcoxon(x - centre, **method).pvalue > 1 - confidence for centre in between]
    kept = np.flatnonzero(kept)
    if len(x) <= 50 and 2.0 ** (1 - len(x)) > 1 - confidence:
        return None
    return [averages[kept[0]], averages[kept[-1] + 1]]


def sign_flip(x, null):
    return stats.permutation_test(
        (x - null,), np.mean, permutation_type="samples", n_resamples=np.inf,
        vectorized=True, batch=2**14, alternative="two-sided").pvalue


def spent(alpha, t):
    """Of one side, nearly evenly, as Pocock's bounds do."""
    return alpha / 2 * np.log1p((np.e - 1) * t)


def bounds(alpha, looks):
    """z-bounds by the recursion of Armitage, McPherson and Rowe, integrated by 400-point
    Gauss-Legendre; the multivariate normal distribution must agree."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    found, at, mass, before, used = [], np.zeros(1), np.ones(1), 0.0, 0.0
    for t in looks:
        step = np.sqrt(t - before)
        share = spent(alpha, t) - used

        def excess(z):
            return mass @ stats.norm.sf((z * np.sqrt(t) - at) / step) - share

        z = optimize.brentq(excess, 0, 38, xtol=1e-13)
        limit = min(z, 8.5) * np.sqrt(t)
        to = limit * nodes
        mass = limit * weights * (stats.norm.pdf((to[:, None] - at) / step) / step @ mass)
        found.append(z)
        at, before, used = to, t, used + share
    root = np.sqrt(looks)
    covariance = np.minimum.outer(root, root) / np.maximum.outer(root, root)
    if len(looks) <= 6:
        inside = stats.multivariate_normal(cov=covariance, abseps=1e-8, maxpts=10**7)
        z = np.array(found)
        crossed = 1 - inside.cdf(z, lower_limit=-z)
        assert abs(crossed - 2 * used) < 1e-6, (crossed, 2 * used)
    return found


def main():
    samples = log_ratios()
    one_sample = []
    for x in samples:
        case = {
            "values": x.tolist(),
            "median": np.median(x),
            "quantile_95": np.quantile(x, 0.95),
            "hodges_lehmann": np.median(walsh(x)),
            "interval_95": signed_rank_interval(x, 0.95),
            "interval_99": signed_rank_interval(x, 0.99),
        }
        if len(x) <= 20:
            case["sign_flip"] = [
                {"null": null, "p": sign_flip(x, null)} for null in (0.0, 0.015)]
        percentile = stats.bootstrap(
            (x,), np.mean, n_resamples=100_000, method="percentile", batch=1000,
            rng=np.random.default_rng(1)).confidence_interval
        case["bootstrap_mean_95"] = list(percentile)
        one_sample.append(case)

    random = np.random.default_rng(7)
    two_sample = []
    for m, n, shift, digits in [(8, 8, 0.5, 12), (12, 20, 1.0, 12), (30, 25, 0.0, 12),
                                (20, 20, 0.7, 0), (15, 40, 0.3, 1)]:
        a = np.round(random.normal(size=m), digits) + 0.0
        b = np.round(random.normal(size=n) + shift, digits) + 0.0
        test = stats.mannwhitneyu(a, b, method="asymptotic")
        two_sample.append({"a": a.tolist(), "b": b.tolist(), "u": test.statistic, "p": test.pvalue})

    five = [0.2, 0.4, 0.6, 0.8, 1.0]
    spending = [
        {"alpha": alpha, "looks": looks, "z": bounds(alpha, looks)}
        for alpha, looks in [(0.05, five), (0.01, five), (0.1, [0.5, 1.0]),
                             (0.05, [0.1, 0.15, 0.5, 0.55, 0.9]),
                             (0.05, [k / 20 for k in range(1, 21)])]]
    for case in spending:
        print(case["alpha"], np.round(case["z"], 5))

    TARGET.parent.mkdir(exist_ok=True)
    cases = {"one_sample": one_sample, "two_sample": two_sample, "spending": spending}
    lines = [f' "{name}": [\n  ' + ",\n  ".join(json.dumps(row) for row in rows) + "\n ]"
             for name, rows in cases.items()]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")


main()
