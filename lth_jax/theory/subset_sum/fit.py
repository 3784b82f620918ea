"""Fits every weight of a network by subset sums, certifies the answers, times HiGHS beside."""

import resource
import time
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt
import scipy.optimize

from lth_jax.theory.subset_sum import candidate_sets, certificate, solvers

Floats = npt.NDArray[np.float64]


def problems(
    key: jax.Array, weights: Sequence[npt.NDArray[Any]], n: int, sets: candidate_sets.Sharing
) -> tuple[Floats, Floats, int]:
    """Targets and candidates, uniform on the range of all weights.

    Args:
        key: PRNG key.
        weights: [out, in] matrices.
        n: Candidates per set.
        sets: Who shares a set.

    Returns:
        z [m] float64, x [m, n] float64 (drawn in float32), and the number of candidates drawn.
    """
    z, owner = candidate_sets.owners(weights, sets)
    low, high = float(z.min()), float(z.max())
    count = int(owner[-1]) + 1
    x = np.asarray(jax.random.uniform(key, (count, n), minval=low, maxval=high), np.float64)
    return z, x if count == len(z) else x[owner], x.size


def highs(
    x: Floats, z: float, eps: float, tolerance: float, objective: solvers.Objective
) -> scipy.optimize.OptimizeResult:
    """One target by HiGHS, as the published work did by a commercial solver.

    Variables: δ binary, v_i = δ_i y_i with |v_i| <= εδ_i, t the error.

    Args:
        x: [n] candidates.
        z: The target.
        eps: Largest |y_i|.
        tolerance: Largest error; not used for "best".
        objective: One of `solvers.OBJECTIVES`.

    Returns:
        scipy's OptimizeResult.
    """
    n = len(x)
    most = np.inf if objective == "best" else tolerance
    cost = np.r_[np.full(n, objective == "sparsest"), np.zeros(n), float(objective == "best")]
    row, edge = np.r_[x, np.ones(n), 0.0], np.r_[np.zeros(2 * n), 1.0]
    eye, column = np.eye(n), np.zeros((n, 1))
    constraints = [
        scipy.optimize.LinearConstraint([row - edge], -np.inf, z),
        scipy.optimize.LinearConstraint([row + edge], z, np.inf),
        scipy.optimize.LinearConstraint(np.hstack([-eps * eye, eye, column]), -np.inf, 0),
        scipy.optimize.LinearConstraint(np.hstack([eps * eye, eye, column]), 0, np.inf),
    ]
    return scipy.optimize.milp(
        cost,
        constraints=constraints,
        bounds=scipy.optimize.Bounds(
            np.r_[np.zeros(n), np.full(n, -eps), 0], np.r_[np.ones(n), np.full(n, eps), most]
        ),
        integrality=np.r_[np.ones(n), np.zeros(n + 1)],
        options={"mip_rel_gap": 0, "time_limit": 20.0},
    )


def fit(
    key: jax.Array,
    weights: Sequence[npt.NDArray[Any]],
    n: int,
    eta: float,
    eps: float,
    sets: candidate_sets.Sharing,
    objective: solvers.Objective,
    timed_by_highs: int,
) -> dict[str, Any]:
    """Solves every weight once and verifies the answers.

    Returns:
        The object of solve.json. `seconds` is wall time of search and verification; nothing is
        compiled in either, so `compile_seconds` is 0. `highs_ratio` is HiGHS's seconds per weight
        over ours, on `timed_by_highs` evenly spaced weights with |w| > η.
    """
    z, x, drawn = problems(key, weights, n, sets)
    started = time.perf_counter()
    answer = solvers.solve(x, z, eps, eta, objective)
    solved = time.perf_counter()
    checked = certificate.verify(x, z, eps, eta, answer)
    verified = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    impossible = int((answer.status == solvers.Status.IMPOSSIBLE).sum())
    ratio = None
    large = np.flatnonzero(np.abs(z) > eta)
    if timed_by_highs and large.size:
        count = min(timed_by_highs, len(large))
        picked = large[np.linspace(0, len(large) - 1, count).astype(int)]
        start = time.perf_counter()
        for i in picked:
            highs(x[i], z[i], eps, eta, objective)
        each = (time.perf_counter() - start) / len(picked)
        ratio = each / ((verified - started) / len(z))
    return {
        "n": n,
        "eta": eta,
        "eps": eps,
        "sets": sets,
        "objective": objective,
        "weights": len(z),
        "found": int(answer.found.sum()),
        "impossible": impossible,
        "verified": int((checked.holds & answer.found).sum()),
        "kept": int(answer.mask.sum()),
        "candidates": drawn,
        "max_error": float(answer.error.max()),
        "max_error_found": float(np.max(answer.error, where=answer.found, initial=0.0)),
        "seconds": verified - started,
        "solve_seconds": solved - started,
        "verify_seconds": verified - solved,
        "compile_seconds": 0.0,
        "peak_bytes": peak,
        "highs_ratio": ratio,
    }
