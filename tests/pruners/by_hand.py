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


def edge_popup(w, s, kept, noise):
    """The network, and the slopes by which ∂L/∂v reaches weights and scores."""
    mask = top(np.abs(s), kept)
    return w * mask, mask, w * np.sign(s)


def biprop(w, s, kept, noise):
    """α·sign(w)."""
    mask = top(np.abs(s), kept)
    magnitude = np.abs(w[mask]).mean() if mask.any() else 0.0
    return magnitude * np.sign(w) * mask, mask, w * np.sign(s)


def signed(w, s, kept, noise):
    """W times a ternary mask."""
    ternary = top(np.abs(s), kept) * np.where(s < 0, -1, 1)
    return w * ternary, ternary, w


def frozen(w, s, kept, noise):
    """Half of the kept ones come from what is frozen, in the order of its marks."""
    marks = s > 2.0**20
    of_frozen = top(np.where(marks, s, -np.inf), kept // 2)
    others = top(np.where(marks, -np.inf, np.abs(s)), kept - kept // 2)
    mask = of_frozen | others
    return w * mask, mask, w * np.sign(s) * ~marks


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bernoulli(w, s, kept, noise):
    """The top of score + noise; the least of them is the threshold."""
    mask = top(s + noise, kept)
    p = sigmoid(s - np.min((s + noise)[mask], initial=np.inf))
    return w * mask, mask, w * p * (1 - p)


def gem_miner(w, s, kept, noise):
    """Rounded scores, at most the top ones."""
    mask = top(s, kept) & (s >= 0.5)
    return w * mask, mask, w


def iterand(w, s, kept, noise):
    """Scores themselves, not their sizes."""
    mask = top(s, kept)
    return w * mask, mask, w


def hard_concrete(w, s, kept, noise):
    """Stretched and clipped sigmoids."""
    part = sigmoid((s + noise) * 1.5)
    gate = 1.2 * part - 0.1
    between = (gate > 0) & (gate < 1)
    gate = np.clip(gate, 0, 1)
    return w * gate, gate, w * between * 1.2 * 1.5 * part * (1 - part)


def random(w, s, kept, noise):
    """Scores are fixed."""
    mask = top(s, kept)
    return w * mask, mask, 0 * w


FINDERS = {"random": random, "magnitude": random} | {
    each.__name__: each
    for each in (edge_popup, biprop, signed, frozen, bernoulli, gem_miner, hard_concrete, iterand)
}
