"""The exceptions that a program turns into one line for its user, and a check of trees."""

import chex
import jax
import numpy as np


class InputError(ValueError):
    """A bad file, folder or setting of the user's; the message is one clear line. Status 2."""


class RunError(RuntimeError):
    """A run could not go on (full disk, lost process, folder in use); one clear line.

    What was finished is safe, and the same command continues.
    """

    def __init__(self, message: str, status: int = 1):
        """Keeps the message and the program's exit status."""
        super().__init__(message)
        self.status = status


def check_tree(
    name: str, tree: chex.ArrayTree, expected: chex.ArrayTree, gaps: bool = False
) -> None:
    """Checks that a tree has the structure and shapes of another; compiled code is free of it.

    Args:
        name: What the tree is, for the message.
        tree: Tree of arrays.
        expected: Tree of arrays.
        gaps: Whether `tree` may have None in place of an array of `expected`.

    Raises:
        ValueError: If they differ: "expected NAME of ..., got ...", with the leaves that do.
    """
    try:
        if gaps:
            fill = lambda leaf, other: None if other is None else leaf  # noqa: E731
            expected = jax.tree.map(fill, expected, tree)
        chex.assert_trees_all_equal_comparator(_same_shape, _shapes, expected, tree)
    except (AssertionError, ValueError):
        wanted, found = _leaves(expected), _leaves(tree)
        if wanted == found:  # A list in place of a tuple, or the like.
            wanted, found = {str(jax.tree.structure(expected))}, {str(jax.tree.structure(tree))}
        raise ValueError(
            f"expected {name} of {', '.join(sorted(wanted - found)) or 'nothing more'}, "
            f"got {', '.join(sorted(found - wanted)) or 'nothing'}."
        ) from None


def _same_shape(a: chex.Array, b: chex.Array) -> bool:
    return bool(np.shape(a) == np.shape(b))


def _shapes(a: chex.Array, b: chex.Array) -> str:
    return f"{np.shape(a)} and {np.shape(b)}"


def _leaves(tree: chex.ArrayTree) -> set[str]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        f"shape {np.shape(leaf)} at {jax.tree_util.keystr(path) or 'its root'}"
        for path, leaf in leaves
    }
