"""Networks whose weights are to be approximated: a user's file, or one trained on digits."""

import pathlib
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn import datasets

from lth_jax import errors


def load(path: str | pathlib.Path) -> list[np.ndarray]:
    """The weight matrices [out, in] of an .npz file: its 2-D float arrays, in file order.

    Args:
        path: The file. Pickled content is refused.

    Raises:
        InputError: If the file is missing, no npz, pickled, without a 2-D array or not finite.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array, not an archive")
        with archive:
            arrays = {name: archive[name] for name in archive.files}
    except FileNotFoundError:
        raise errors.InputError(f"target {path} does not exist.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise errors.InputError(f"target {path} is not a readable .npz file: {reason}.") from None
    weights = [a for a in arrays.values() if a.ndim == 2 and a.dtype.kind == "f" and a.size]
    if not weights:
        raise errors.InputError(f"target {path} holds no 2-D float array.")
    if not all(np.isfinite(w).all() for w in weights):
        raise errors.InputError(f"target {path} holds NaN or infinite weights.")
    return weights


def forward(weights: list, x):
    """A bias-free ReLU network, linear at its end: weights [out, in], x [b, in] -> [b, out]."""
    for w in weights[:-1]:
        x = jax.nn.relu(x @ w.T)
    return x @ weights[-1].T


def digits_target(key: jax.Array, hidden: int = 32, steps: int = 400) -> list[np.ndarray]:
    """A bias-free 64-hidden-10 ReLU network trained on all of scikit-learn's digits (pixels/16).

    Args:
        key: PRNG key of its initial weights.
        hidden: Width of the hidden layer.
        steps: Full-batch Adam steps.

    Returns:
        Weight matrices [hidden, 64] and [10, hidden], float32.
    """
    images, labels = datasets.load_digits(return_X_y=True)
    x, y = jnp.asarray(images / 16, jnp.float32), jnp.asarray(labels, jnp.int32)
    widths = [(hidden, 64), (10, hidden)]
    keys = jax.random.split(key, len(widths))
    weights = [
        jax.random.normal(k, shape) * (2 / shape[1]) ** 0.5
        for k, shape in zip(keys, widths, strict=True)
    ]
    optimizer = optax.adam(1e-2)

    def loss(weights):
        logits = forward(weights, x)
        return optax.losses.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def step(_, carry):
        weights, state = carry
        updates, state = optimizer.update(jax.grad(loss)(weights), state)
        return optax.apply_updates(weights, updates), state

    train = jax.jit(lambda w: jax.lax.fori_loop(0, steps, step, (w, optimizer.init(w)))[0])
    return [np.asarray(w) for w in train(weights)]
