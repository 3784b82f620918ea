"""Finders and a tiny network written out in NumPy, float64: what the library is compared with."""

import numpy as np

SHAPES = {"first": (4, 3), "second": (3, 2)}


def top(ranked, kept):
    """The mask of the `kept` largest, ties to the lower flat index."""
    mask = np.zeros(ranked.size, bool)
    mask[np.argsort(-ranked.ravel(), kind="stable")[:kept]] = True
    return mask.reshape(ranked.shape)


def gradients(network, images, labels):
    """Of the mean cross-entropy of relu(x first) second, by each kernel's entries."""
    hidden = images @ network["first"]
    active = np.maximum(hidden, 0)
    logits = active @ network["second"]
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    shares[np.arange(len(labels)), labels] -= 1
    back = shares / len(labels)
    first = images.T @ (back @ network["second"].T * (hidden > 0))
    return {"first": first, "second": active.T @ back}


def edge_popup(w, s, kept):
    """The network, and the slopes by which ∂L/∂v reaches weights and scores."""
    mask = top(np.abs(s), kept)
    return w * mask, mask, w * np.sign(s)


def biprop(w, s, kept):
    """α·sign(w)."""
    mask = top(np.abs(s), kept)
    magnitude = np.abs(w[mask]).mean() if mask.any() else 0.0
    return magnitude * np.sign(w) * mask, mask, w * np.sign(s)


def signed(w, s, kept):
    """W times a ternary mask."""
    ternary = top(np.abs(s), kept) * np.where(s < 0, -1, 1)
    return w * ternary, ternary, w


FINDERS = {"edge_popup": edge_popup, "biprop": biprop, "signed": signed}
