"""Networks whose weights are to be approximated: a user's file, or one trained here."""

import hashlib
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import optax

from lth_jax import errors, files

_MOST_BYTES = 1 << 31
_LARGEST = 1e30  # So that sums and scales stay finite in float32.


Weights = list[npt.NDArray[Any]]  # [out, in] of each layer, float


def load(path: str | pathlib.Path) -> Weights:
    """The weight matrices [out, in] of an .npz file: its 2-D float arrays, in file order.

    Args:
        path: The file. Pickled content is refused.

    Raises:
        InputError: If the file is missing, no npz, pickled, without a 2-D array, or if a weight is
            not finite and below 1e30.
    """
    try:
        # Opened here, as np.load leaves a damaged archive open; the warnings are about odd headers.
        with files.open_regular(path) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it holds one array, not an archive")
            # No entry unpacks to more than it says.
            entries = archive.zip.infolist() if archive.zip else []
            if sum(entry.file_size for entry in entries) > _MOST_BYTES:
                raise ValueError(f"it would take more than {_MOST_BYTES >> 30} GiB")
            arrays = [np.asarray(archive[name]) for name in archive.files]
    except FileNotFoundError:
        raise errors.InputError(f"target {path} does not exist.") from None
    except Exception as error:  # Whatever zipfile, its decompressors and NumPy make of the damage.
        reason = " ".join(str(error).split()).rstrip(".")[:200] or type(error).__name__
        raise errors.InputError(f"target {path} is not a readable .npz file: {reason}.") from None
    weights = [a for a in arrays if a.ndim == 2 and a.dtype.kind == "f" and a.size]
    if not weights:
        raise errors.InputError(f"target {path} holds no 2-D float array.")
    with np.errstate(all="ignore"):  # float128 overflows here.
        small = all(bool((np.abs(w.astype(np.float64)) < _LARGEST).all()) for w in weights)
    if not small:
        raise errors.InputError(f"target {path} holds NaN or weights that are not below 1e30.")
    return weights


def digest(weights: Sequence[npt.NDArray[Any]]) -> str:
    """SHA-256 over the shapes, types and bytes of matrices."""
    seen = hashlib.sha256()
    for w in weights:
        seen.update(repr((w.shape, w.dtype.str)).encode() + w.tobytes())
    return seen.hexdigest()


def forward(weights: Sequence[jax.Array], x: jax.Array) -> jax.Array:
    """A bias-free ReLU network, linear at its end: weights [out, in], x [b, in] -> [b, out]."""
    for w in weights[:-1]:
        x = jax.nn.relu(x @ w.T)
    return x @ weights[-1].T


def trained(
    key: jax.Array,
    images: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    hidden: Sequence[int],
    steps: int,
    batch: int = 128,
    learning_rate: float = 3e-3,
    largest: float | None = None,
) -> Weights:
    """A bias-free ReLU network trained by Adam on random batches, its rate falling as a cosine.

    Args:
        key: PRNG key of its initial weights, N(0, 2/in), and of the batches.
        images: [n, d] float.
        labels: [n] integers, of which the largest one says how many outputs there are, or [n, k]
            float: numbers for k outputs to meet.
        hidden: Width of each hidden layer.
        steps: Gradient steps.
        batch: Images per step, drawn with replacement.
        learning_rate: Of the first step.
        largest: Weights are clipped to this size after each step; None leaves them.

    Returns:
        Weight matrices [out, in], float32.
    """
    numbers = np.issubdtype(labels.dtype, np.floating)
    x = jnp.asarray(images, jnp.float32)
    y = jnp.asarray(labels, jnp.float32 if numbers else jnp.int32)
    widths = [x.shape[1], *hidden, labels.shape[1] if numbers else int(labels.max()) + 1]
    key_batches, *keys = jax.random.split(key, len(widths))
    weights = [
        jax.random.normal(k, (out, inputs)) * (2 / inputs) ** 0.5
        for k, inputs, out in zip(keys, widths, widths[1:], strict=False)
    ]
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps))

    def loss(weights: list[jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
        logits = forward(weights, x)
        if numbers:
            return jnp.mean(jnp.square(logits - y))
        losses = optax.losses.softmax_cross_entropy_with_integer_labels(logits, y)
        return jnp.mean(losses)

    def train(
        key: jax.Array, weights: list[jax.Array], x: jax.Array, y: jax.Array
    ) -> list[jax.Array]:
        def step(
            number: jax.Array, carry: tuple[list[jax.Array], chex.ArrayTree]
        ) -> tuple[list[jax.Array], chex.ArrayTree]:
            weights, state = carry
            at = jax.random.randint(jax.random.fold_in(key, number), (batch,), 0, len(x))
            updates, state = optimizer.update(jax.grad(loss)(weights, x[at], y[at]), state)
            moved = optax.apply_updates(weights, updates)
            if largest is not None:
                moved = jax.tree.map(lambda w: jnp.clip(w, -largest, largest), moved)
            return moved, state

        carry = (weights, optimizer.init(weights))
        final: list[jax.Array] = jax.lax.fori_loop(0, steps, step, carry)[0]
        return final

    return [np.asarray(w) for w in jax.jit(train)(key_batches, weights, x, y)]


def digits_target(key: jax.Array) -> Weights:
    """A bias-free 64-32-10 ReLU network trained on all of scikit-learn's digits (pixels/16)."""
    from sklearn import datasets  # Here, as it takes a second. In its own order, without splits.

    images, labels = datasets.load_digits(return_X_y=True)
    return trained(key, images / 16, labels, hidden=(32,), steps=1000)
