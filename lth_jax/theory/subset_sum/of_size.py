"""The nearest subset of exactly k candidates: tickets of one density, whatever ε is."""

import numpy as np
import numpy.typing as npt

from lth_jax.theory.subset_sum import certificate, fixed, search, solvers


def nearest(
    x: npt.ArrayLike, z: npt.ArrayLike, eps: float, size: int, *, memory: int = solvers.MEMORY
) -> solvers.Subset:
    """Picks for each target the `size` candidates whose sum is nearest to it.

    Args:
        x: [n] candidates shared by all targets or [m, n], a set for each; n <= 40.
        z: [m] targets.
        eps: Largest |y_i|, >= 0.
        size: Members of each subset, 0 to n.
        memory: Most bytes of temporaries, as `solvers.solve` counts them.

    Returns:
        NumPy arrays. The subset has the least |z − σ_S| of its size, to n·2^-53 of Σ|x| + |z| + nε,
        and so the least error and the least |y| of those sizes. `found` says, exactly, that its
        error is 0; EXHAUSTED is the status of the others, as other sizes were not looked at.

    Raises:
        ValueError: If a shape or a value does not fit, or one target does not fit into memory.
    """
    x, z = solvers.checked(x, z, eps, 0.0)
    n = x.shape[1]
    if not 0 <= size <= n:
        raise ValueError(f"expected 0 to {n} members of {n} candidates, got {size}.")
    search.check_memory(n, memory)
    seen = search.nearest_of_size(fixed.quantize(x, z, eps, 0.0), size)
    mask = search.members(seen.subset, n)
    rest, _ = certificate.residual(x, z, mask)
    found = certificate.within(x, z, eps, 0.0, mask)
    status = np.where(found, solvers.Status.FOUND, solvers.Status.EXHAUSTED).astype(np.int8)
    y = certificate.perturbation(rest, mask, eps)
    return solvers.Subset(mask, y, np.maximum(np.abs(rest) - size * eps, 0.0), found, status)
