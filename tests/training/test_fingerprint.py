"""A program is known by what it computes.

In a file of its own, run late: what other tests have compiled is lost here.
"""

import jax
import tiny

from lth_jax import pruners, training
from lth_jax.training import fingerprint


def test_a_program_is_known_by_what_it_computes():
    def name(slope=0.0, bound=1.0):
        pruner = pruners.edge_popup(score_bound=lambda path, leaf: bound)
        problem = training.Problem(tiny.own_model.__wrapped__(slope), pruner, tiny.CONFIG)
        return fingerprint.program(problem, tiny.dataset())

    first = name()
    jax.clear_caches()
    assert name() == first
    assert len({first, name(slope=0.1), name(bound=0.5)}) == 3
