"""The phase diagram: minimal n over (η, ε) for all z in [-1/2, 1/2], simulated and by theorem."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from lth_jax.theory.subset_sum import bounds, coverage


def cells(
    key: jax.Array, etas: Sequence[float], epsilons: Sequence[float], trials: int, most: int = 26
) -> list[dict[str, Any]]:
    """One object per (η, ε) with η + ε > 0.

    Args:
        key: PRNG key; ε number i folds in i.
        etas: Errors, >= 0.
        epsilons: Perturbations, >= 0.
        trials: Draws per ε; they serve every η.
        most: Candidates per draw; a draw that needs more counts as a failure (n is then None).

    Returns:
        eta, eps, n50 and n90 with 95 % intervals, our sufficient number at δ = 0.5 and 0.1, both
        lower bounds.
    """
    rows = []
    for i, eps in enumerate(epsilons):
        able = [eta for eta in etas if eta + eps > 0]
        if not able:
            continue
        start = int(min(bounds.lower_by_volume(eta, eps) for eta in able))
        minima = coverage.simulate(jax.random.fold_in(key, i), eps, able, trials, most, start=start)
        for eta, column in zip(able, minima.T, strict=True):
            row: dict[str, Any] = {"eta": eta, "eps": eps, "trials": trials}
            for name, p in (("n50", 0.5), ("n90", 0.9)):
                low, high = coverage.quantile_interval(column, p)
                values = (coverage.quantile(column, p), low, high)
                row[name], *interval = (int(v) if np.isfinite(v) else None for v in values)
                row[f"{name}_interval"] = interval
            row["sufficient50"] = bounds.every_target(eta, eps, 0.5)
            row["sufficient90"] = bounds.every_target(eta, eps, 0.1)
            row["necessary_volume"] = bounds.lower_by_volume(eta, eps)
            row["necessary50"] = bounds.lower_by_density(eta, eps, 0.5)
            row["necessary90"] = bounds.lower_by_density(eta, eps, 0.9)
            rows.append(row)
    return rows


def fit(rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Least squares n50 ≈ slope·lg(1/max(η,ε)) + intercept, with R² and the largest residual.

    Returns:
        None where fewer than two different max(η, ε) have an n50; R² is None if all n50 are equal.
    """
    rows = [row for row in rows if row["n50"] is not None]
    if len({max(row["eta"], row["eps"]) for row in rows}) < 2:
        return None
    x = np.array([-np.log2(max(row["eta"], row["eps"])) for row in rows])
    y = np.array([row["n50"] for row in rows], float)
    design = np.stack([x, np.ones_like(x)], axis=1)
    slope, intercept = np.linalg.lstsq(design, y, rcond=None)[0]
    rest = y - slope * x - intercept
    spread = ((y - y.mean()) ** 2).sum()
    return {
        "slope": float(slope),
        "intercept": float(intercept),
        "r2": float(1 - (rest**2).sum() / spread) if spread else None,
        "largest_residual": float(np.abs(rest).max()),
        "cells": len(rows),
    }
