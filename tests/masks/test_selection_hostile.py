"""Exact selection under attack: any bits in any dtype, any way to say how many, counted."""

import collections
import contextlib
import decimal
import fractions
import functools
import math

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from by_sorting import oracle

from lth_jax.masks import selection

DTYPES = {
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
    "float32": np.float32,
    "float64": np.float64,
}
SHAPES = ((0,), (1,), (2,), (3, 0), (3, 1), (31,), (8, 8), (5, 4, 5), (1030,))
BAD = [True, False, np.True_, -1, np.int8(-1), 7, 2**31, 2**40, -(2**70), 2.0, 0.0, -0.0, math.nan]
BAD += [math.inf, np.float64(3), np.float32(0), 1j, "2", b"2", [2], (2,), {2}, np.ones(1, int)]
BAD += [
    np.array([1, 2]),
    decimal.Decimal(2),
    fractions.Fraction(2),
    pytest.param(object(), id="object"),
    np.array(2.0),
]


def fills(rng, dtype, shape):
    """Scores of every hostile kind."""
    info, size = ml_dtypes.finfo(dtype), math.prod(shape)
    tiny, most = float(info.smallest_subnormal), float(info.max)
    special = np.array([0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, tiny, -tiny, most, -most, 1])
    bits = np.dtype(f"uint{8 * np.dtype(dtype).itemsize}")
    raw = rng.integers(0, np.iinfo(bits).max, size, bits, endpoint=True).view(dtype)
    with np.errstate(all="ignore"):
        found = {
            "any bits": raw,
            "normal": rng.normal(size=size),
            "ties": rng.integers(-1, 2, size),
            "one value": np.full(size, rng.choice(special)),
            "specials": rng.choice(special, size),
            "zeros of both signs": rng.choice([0.0, -0.0], size),
            "denormals": rng.integers(-9, 10, size) * tiny,
            "neighbours": (1 + rng.integers(0, 4, size) * float(info.eps)),
            "towers": rng.choice([-1, 1], size)
            * 2.0 ** rng.integers(info.minexp, info.maxexp, size),
            "two heaps": np.where(rng.random(size) < 0.5, -most, most),
        }
        return {name: np.asarray(x).astype(dtype).reshape(shape) for name, x in found.items()}


def counts(rng, n):
    """Numbers to keep, and types to say them in."""
    some = sorted({0, min(1, n), n // 2, max(n - 1, 0), n, int(rng.integers(0, n + 1))})
    kinds = [int, np.int64, np.uint32, np.int16, np.array, jnp.asarray]
    return [(kept, kinds[i % len(kinds)]) for i, kept in enumerate(some)]


def precision(name):
    return jax.enable_x64(True) if name == "float64" else contextlib.nullcontext()


@jax.jit
def traced(scores, kept, hint):
    """Inside a larger program that computes the scores, under a hint of any content as well."""
    scores = scores[::-1][::-1]
    mask, again = selection.topk_mask_and_threshold(scores, kept, hint)
    return mask, selection.topk_mask(scores, kept), selection.topk_mask(scores, kept, again)


lanes = jax.jit(jax.vmap(selection.topk_mask, (None, 0)))


@pytest.mark.slow
def test_no_scores_and_no_way_to_count_give_another_mask(say):
    tried, wrong = collections.Counter(), []

    def note(way, found, scores, kept, *about):
        tried[way] += 1
        if found.dtype != bool or not np.array_equal(found, oracle(scores, kept)):
            wrong.append((way, kept, *about))

    for name, dtype in DTYPES.items():
        for shape in SHAPES:
            rng = np.random.default_rng([len(name), *shape])
            for fill, scores in [
                pair for _ in range(3) for pair in fills(rng, dtype, shape).items()
            ]:
                with precision(name):
                    hint = fills(rng, dtype, (2,))["specials" if rng.random() < 0.5 else "any bits"]
                    some = counts(rng, scores.size)
                    for kept, kind in some:
                        about = (name, shape, fill)
                        note("plain", selection.topk_mask(scores, kind(kept)), scores, kept, *about)
                        for mask in traced(scores, kept, hint):
                            note("traced", mask, scores, kept, *about)
                    together = jnp.asarray([kept for kept, _ in some] * 6)[:6]
                    for mask, kept in zip(lanes(scores, together), together, strict=True):
                        note("vmap", mask, scores, int(kept), *about)
    say(f"{tried.total()} masks ({dict(tried)}), {len(wrong)} wrong")
    assert tried.total() > 20_000 and not wrong, wrong[:5]


@pytest.mark.slow
def test_no_tree_gets_another_number(say):
    tried, wrong = 0, []
    find = jax.jit(selection.tree_topk_mask)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        names = rng.permutation(["float16", "bfloat16", "float32"])[: rng.integers(1, 4)]
        shapes = [SHAPES[i] for i in rng.integers(0, len(SHAPES) - 1, len(names))]
        leaves = [
            list(fills(rng, DTYPES[name], shape).values())[rng.integers(10)]
            for name, shape in zip(names, shapes, strict=True)
        ]
        tree = {"none": None, "some": [*leaves, None]}
        with np.errstate(invalid="ignore"):
            ranked = np.concatenate([leaf.ravel().astype(np.float64) for leaf in leaves])
        for kept in {0, ranked.size // 3, ranked.size}:
            # Compiling is what takes time: of every tree, or of few of them.
            for way in (
                (selection.tree_topk_mask, find) if seed < 10 else (selection.tree_topk_mask,)
            ):
                masks = way(tree, kept)
                flat = [np.ravel(mask) for mask in jax.tree.leaves(masks)]
                tried += 1
                if not np.array_equal(np.concatenate(flat), oracle(ranked, kept)):
                    wrong.append((seed, kept))
        each = [int(rng.integers(0, leaf.size + 1)) for leaf in leaves]
        masks = jax.tree.leaves(
            selection.tree_topk_mask(tree, {"none": None, "some": [*each, None]})
        )
        for leaf, kept, mask in zip(leaves, each, masks, strict=True):
            tried += 1
            if not np.array_equal(mask, oracle(leaf, kept)):
                wrong.append((seed, kept, leaf.dtype))
    say(f"{tried} trees and leaves, {len(wrong)} wrong")
    assert tried > 300 and not wrong, wrong[:5]


def refused(call):
    """Whether a call ends in a ValueError, not in a mask or in another error."""
    try:
        call()
    except ValueError:
        return True
    except Exception:
        return False
    return False


@pytest.mark.parametrize("kept", BAD, ids=repr)
def test_what_is_no_number_to_keep_is_refused(kept):
    scores = jnp.arange(6.0)
    assert refused(lambda: selection.topk_mask(scores, kept))
    assert refused(lambda: jax.jit(functools.partial(selection.topk_mask, kept=kept))(scores))
    assert refused(lambda: selection.kth_largest(scores, kept))
    assert refused(lambda: selection.tree_topk_mask({"a": scores, "b": None}, kept))
    assert refused(lambda: selection.tree_topk_mask({"a": scores}, {"a": kept}))


@pytest.mark.parametrize("kept", [2.0, True, np.ones(1, np.int32), 1j])
def test_a_traced_kept_is_one_integer_too(kept):
    for find in selection.topk_mask, selection.kth_largest:
        with pytest.raises(ValueError, match="must be one integer, got"):
            jax.jit(find)(jnp.arange(6.0), kept)


def test_a_traced_kept_beyond_the_scores_marks_none_or_all():
    scores = jnp.asarray([1.0, jnp.nan, -jnp.inf, 1.0])
    for kept, mark in ((-1, False), (-(2**31), False), (5, True), (2**31 - 1, True)):
        np.testing.assert_array_equal(jax.jit(selection.topk_mask)(scores, kept), np.full(4, mark))
    with jax.enable_x64(True):
        for kept, mark in ((-(2**32) + 2, False), (2**32 + 2, True)):
            found = jax.jit(selection.topk_mask)(scores, kept)
            np.testing.assert_array_equal(found, np.full(4, mark))


@pytest.mark.parametrize("scores", [np.arange(3), np.ones(3, bool), np.ones(3, complex)])
@pytest.mark.parametrize("dtype", [None, "float8_e5m2", "int4"])
def test_scores_of_other_dtypes_are_refused(scores, dtype):
    wrong = scores if dtype is None else jnp.ones(3).astype(dtype)
    assert refused(lambda: selection.topk_mask(wrong, 1))
