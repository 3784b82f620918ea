"""How fast is it, against what one could use instead? `python -m experiments.benchmark`."""

import importlib.util
import sys
import types
from typing import Any


def _stand_in_for_chex() -> None:
    """On a machine with a GPU there may be jax, flax and optax, but no chex.

    This library takes the names of two types and the comparison of two trees from it.
    """
    import jax

    def compare(same: Any, message: Any, first: Any, *rest: Any) -> None:
        for other in rest:
            pairs = zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True)
            for a, b in pairs:
                if not same(a, b):
                    raise AssertionError(message(a, b))

    stand_in: Any = types.ModuleType("chex")
    stand_in.ArrayTree, stand_in.Array = Any, jax.Array
    stand_in.assert_trees_all_equal_comparator = compare
    sys.modules["chex"] = stand_in


if importlib.util.find_spec("chex") is None:
    _stand_in_for_chex()
