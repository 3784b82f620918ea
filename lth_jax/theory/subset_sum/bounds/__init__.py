"""How many candidates an ε-perturbed random subset sum needs: one function per statement.

Candidates are x_i iid U[-1, 1], targets z in W = [-1/2, 1/2], |y_i| <= ε. Enough, for one target
with candidates of its own: `fixed_target`; for all of W at once: `every_target`, `candidates` and
the published `theorem1_probability`. Not enough: `lower_by_volume` and `lower_by_density` for all
of W, `sign_lower` and `necessary` for weights with candidates of their own. `fixed_size` counts
only subsets of one size, both ways.
"""

from lth_jax.theory.subset_sum.bounds.growth import (
    candidates,
    growth_bound,
    potential,
    theorem1_probability,
)
from lth_jax.theory.subset_sum.bounds.lower import (
    lower_by_density,
    lower_by_volume,
    necessary,
    peak_density,
    sign_lower,
    success_upper_bound,
)
from lth_jax.theory.subset_sum.bounds.recursion import (
    every_target,
    expected_until_all,
    fixed_target,
    fixed_target_failure,
)
from lth_jax.theory.subset_sum.bounds.subset_size import fixed_size, fixed_size_probability

__all__ = [
    "candidates",
    "every_target",
    "expected_until_all",
    "fixed_size",
    "fixed_size_probability",
    "fixed_target",
    "fixed_target_failure",
    "growth_bound",
    "lower_by_density",
    "lower_by_volume",
    "necessary",
    "peak_density",
    "potential",
    "sign_lower",
    "success_upper_bound",
    "theorem1_probability",
]
