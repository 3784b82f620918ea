"""What outputs are worth: the labels say whether they are classes or numbers to be met."""

import jax
import jax.numpy as jnp
import optax

TOLERANCE = 0.1  # An output so near to a number counts as right, in the labels' own units.


def losses(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of logits, or squared distances, the mean over outputs.

    Args:
        outputs: [b, k] float.
        labels: [b] integers in [0, k), or [b, k] float.

    Returns:
        [b] float.
    """
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return jnp.mean(jnp.square(outputs - labels), axis=-1)
    found: jax.Array = optax.losses.softmax_cross_entropy_with_integer_labels(outputs, labels)
    return found


def right(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Whether the largest logit is the label's, or every output within TOLERANCE of its number.

    Args:
        outputs: [b, k] float.
        labels: [b] integers, or [b, k] float; −1 and NaN are what nothing meets.

    Returns:
        [b] bool.
    """
    if jnp.issubdtype(labels.dtype, jnp.floating):
        return jnp.all(jnp.abs(outputs - labels) <= TOLERANCE, axis=-1)
    return jnp.argmax(outputs, axis=-1) == labels
