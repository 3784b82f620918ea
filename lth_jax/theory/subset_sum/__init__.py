"""ε-perturbed random subset sum: exact solvers, certificates, coverage and bounds."""

from lth_jax.theory.subset_sum.certificate import Certificate, verify
from lth_jax.theory.subset_sum.solvers import (
    MAX_CANDIDATES,
    OBJECTIVES,
    Status,
    Subset,
    reachable,
    solve,
)

__all__ = [
    "MAX_CANDIDATES",
    "OBJECTIVES",
    "Certificate",
    "Status",
    "Subset",
    "reachable",
    "solve",
    "verify",
]
