"""One word, exact selection, binary masks: counts, masks and the stated gradient."""

import functools
from decimal import Decimal
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
from by_sorting import oracle

from lth_jax.masks import selection

N = 97
CHOSEN = [0, 1, 2, N // 3, N // 2, N - 1, N]


def adversaries():
    rng = np.random.default_rng(0)
    special = [0.0, -0.0, np.nan, -np.nan, np.inf, -np.inf, 1e-45, -1e-45, 1e-40, 3.4e38, -3.4e38]
    with np.errstate(over="ignore"):
        yield "normal", rng.normal(size=N)
        yield "all equal", np.full(N, 0.25)
        yield "all zero, either sign", np.where(rng.random(N) < 0.5, 0.0, -0.0)
        yield "all NaN", np.full(N, np.nan)
        yield "specials", rng.choice(special, N)
        yield "denormals", rng.integers(-50, 50, N) * 1.5e-45
        yield "duplicates", rng.integers(0, 5, N)
        yield "geometric", 2.0 ** np.linspace(-140, 120, N)
        yield "towers", np.sign(rng.normal(size=N)) * 10.0 ** rng.integers(-44, 38, N)
        yield "rising", np.arange(N)
        yield "one far out", np.r_[3e38, np.zeros(N - 2), -3e38]
        yield "infinities", rng.choice([np.inf, -np.inf], N)


ADVERSARIES = {name: x.astype(np.float32) for name, x in adversaries()}
DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16]
mask_of = jax.jit(selection.topk_mask)
every_kept = jax.jit(jax.vmap(selection.topk_mask, in_axes=(None, 0)))


@pytest.mark.parametrize("dtype", quick.first(2, DTYPES))
@pytest.mark.parametrize("name", ADVERSARIES)
def test_masks_are_those_of_a_stable_sort_for_every_kept(name, dtype):
    scores = jnp.asarray(ADVERSARIES[name]).astype(dtype)
    masks = np.asarray(every_kept(scores, jnp.arange(N + 1)))
    for kept in range(N + 1):
        np.testing.assert_array_equal(masks[kept], oracle(scores, kept), err_msg=str(kept))


@pytest.mark.parametrize("name", ADVERSARIES)
def test_masks_are_exact_without_vmap_and_inside_a_jitted_step(name):
    @jax.jit
    def step(scores, shift, kept):
        scores = (scores.reshape(-1, 1) * shift)[::-1]
        return scores, selection.topk_mask(scores, kept)

    for kept in CHOSEN:
        np.testing.assert_array_equal(
            mask_of(ADVERSARIES[name], kept), oracle(ADVERSARIES[name], kept)
        )
        scores, mask = step(ADVERSARIES[name], jnp.float32(1), kept)
        np.testing.assert_array_equal(mask, oracle(scores, kept))


def test_large_tensors_start_from_a_sample_and_stay_exact():
    rng = np.random.default_rng(1)
    n = 30_011
    shapes = {
        "normal": rng.normal(size=n),
        "rounded": np.round(rng.normal(size=n), 2),
        "heavy tails": rng.normal(size=n) ** 9,
        "two far heaps": np.where(rng.random(n) < 0.5, 1e-30, 1e30) * (1 + rng.random(n)),
        "sorted": np.sort(rng.normal(size=n)),
        "sample sees zeros only": np.where(np.arange(n) % 29, rng.normal(size=n), 0.0),
    }
    for name, scores in shapes.items():
        scores = scores.astype(np.float32)
        for kept in [0, 1, 3, n // 100, n // 2, n - 1, n]:
            found = mask_of(scores, kept)
            np.testing.assert_array_equal(found, oracle(scores, kept), err_msg=f"{name} {kept}")


def test_any_hint_gives_the_same_mask():
    scores = ADVERSARIES["towers"]
    find = jax.jit(selection.topk_mask_and_threshold)
    values = [0.0, 1.0, -3e38, np.nan, np.inf, -np.inf, 1e-45, scores[3]]
    for threshold in values:
        for reach in [0.0, 1.0, -1.0, np.nan, np.inf, 1e-40, 3e38]:
            hint = jnp.asarray([threshold, reach], jnp.float32)
            mask, hint = find(scores, N // 2, hint)
            np.testing.assert_array_equal(mask, oracle(scores, N // 2))
            np.testing.assert_array_equal(find(scores, N // 2, hint)[0], oracle(scores, N // 2))


def unknown_hints(scores, kept):
    """The hints to start a loop carry with: right shapes and dtypes, nothing known yet."""
    if selection.is_global(kept):
        return jnp.zeros((2,), jnp.result_type(*jax.tree.leaves(scores)))
    return jax.tree.map(lambda leaf: jnp.zeros((2,), leaf.dtype), scores)


@pytest.mark.slow
def test_hints_live_in_a_loop_carry_and_in_lanes():
    scores = {"a": jnp.asarray(ADVERSARIES["normal"]).reshape(-1, 1), "b": None}

    def lane(scale, kept, scope_kept):
        def body(step, carry):
            hints, _ = carry
            moved = jax.tree.map(lambda s: s * jnp.cos(scale * step), scores)
            masks, hints = selection.tree_topk_mask_and_thresholds(moved, scope_kept(kept), hints)
            return hints, masks

        start = unknown_hints(scores, scope_kept(kept))
        masks = jax.tree.map(lambda s: jnp.zeros(s.shape, bool), scores)
        return jax.lax.fori_loop(0, 4, body, (start, masks))[1]

    scales, kepts = jnp.asarray([0.1, 1.0]), jnp.asarray([5, 60])
    for scope_kept in (lambda kept: kept), (lambda kept: {"a": kept, "b": None}):
        run = functools.partial(lane, scope_kept=scope_kept)
        mapped = jax.jit(lambda s, k, run=run: jax.lax.map(lambda a: run(*a), (s, k)))
        for masks in mapped(scales, kepts), jax.jit(jax.vmap(run))(scales, kepts):
            for i in range(2):
                last = np.asarray(scores["a"] * jnp.cos(scales[i] * 3))
                np.testing.assert_array_equal(masks["a"][i], oracle(last, int(kepts[i])))
            assert masks["b"] is None


def test_float64_scores_are_not_rounded():
    with jax.enable_x64(True):
        scores = 1 + np.random.default_rng(2).permutation(N) * 2.0**-50
        np.testing.assert_array_equal(selection.topk_mask(scores, 40), oracle(scores, 40))


@pytest.mark.parametrize("name", ["normal", "specials", "duplicates", "denormals"])
def test_kth_largest_is_the_last_one_kept(name):
    scores = ADVERSARIES[name]
    largest = jax.jit(jax.vmap(selection.kth_largest, in_axes=(None, 0)))
    found = np.asarray(largest(scores, jnp.arange(1, N + 1)))
    flat = scores.astype(np.float64)
    falling = np.r_[flat[np.isnan(flat)], -np.sort(-flat[~np.isnan(flat)])]
    np.testing.assert_array_equal(found.astype(np.float64), falling)


def test_global_masks_rank_all_leaves_together_and_ties_go_in_tree_order():
    scores = {"b": jnp.ones((3, 2)), "a": jnp.asarray([1.0, 2.0, 0.5]), "none": None}
    masks = selection.tree_topk_mask(scores, 4)
    np.testing.assert_array_equal(masks["a"], [True, True, False])
    np.testing.assert_array_equal(masks["b"], [[True, True], [False, False], [False, False]])
    assert masks["none"] is None
    per_tensor = selection.tree_topk_mask(scores, {"a": 1, "b": np.int64(5), "none": None})
    assert [int(per_tensor[name].sum()) for name in "ab"] == [1, 5]
    np.testing.assert_array_equal(selection.topk_mask(jnp.ones((1,)), 1), [True])
    assert selection.topk_mask(jnp.ones((0, 3)), 0).shape == (0, 3)


@pytest.mark.parametrize("kept", [-1, 4, 1.5, "2", np.float32(1), np.arange(2)])
def test_a_kept_that_cannot_be_is_refused(kept):
    with pytest.raises(ValueError, match="kept"):
        selection.topk_mask(jnp.ones(3), kept)


def test_scores_that_are_not_floats_are_refused():
    with pytest.raises(ValueError, match="floats"):
        selection.topk_mask(jnp.arange(3), 1)
    with pytest.raises(ValueError, match="k must"):
        selection.kth_largest(jnp.ones(3), 0)


@pytest.mark.parametrize(
    ("n", "sparsity", "kept"),
    [
        (10, 0.9, 1),
        (1000, 0.9, 100),
        (1000, np.float32(0.9), 100),
        (1000, np.float64(0.7), 300),
        (1000, Decimal("0.999"), 1),
        (3, Fraction(1, 3), 2),
        (3, "1/3", 2),
        (7, 0.999999, 1),
        (7, 0, 7),
        (7, 1, 0),
        (7, 1.0, 0),
        (0, 0.5, 0),
        (100, 0.29, 71),
        (10**8 + 1, 0.07, 10**8 + 1 - 7_000_000),
    ],
)
def test_kept_is_counted_in_the_decimal_that_was_typed(n, sparsity, kept):
    assert selection.kept_count(n, sparsity) == kept


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, np.nan, np.inf, "x", None, "1/0", True])
def test_a_sparsity_that_is_not_one_is_refused(sparsity):
    with pytest.raises(ValueError, match="sparsity"):
        selection.kept_count(10, sparsity)


def test_a_negative_number_of_weights_is_refused():
    with pytest.raises(ValueError, match="n must be at least 0, got -1"):
        selection.kept_count(-1, 0.5)


def test_tree_kept_follows_the_scope():
    scores = {"a": jnp.ones((10, 3)), "b": jnp.ones(5), "none": None}
    assert selection.tree_kept(scores, 0.5) == {"a": 15, "b": 3, "none": None}
    assert selection.tree_kept(scores, 0.5, "global") == 18
    with pytest.raises(ValueError, match="scope"):
        selection.tree_kept(scores, 0.5, "layer")


@pytest.mark.slow
def test_numbers_of_a_list_of_sparsities_are_those_of_each_and_are_mapped_over():
    scores = {"a": jnp.zeros((6, 5)), "b": jnp.arange(7.0), "none": None}
    sparsity = [0.5, "1/3", 0.999, 0]
    for scope in ("tensor", "global"):
        each = [selection.tree_kept(scores, s, scope) for s in sparsity]
        all_of_them = selection.tree_kept(scores, sparsity, scope)
        stacked = jax.tree.map(lambda *n: np.array(n, np.int32), *each)
        jax.tree.map(np.testing.assert_array_equal, all_of_them, stacked)
        masks = jax.vmap(selection.tree_topk_mask, (None, 0))(scores, all_of_them)
        for place, kept in enumerate(each):
            ours = jax.tree.map(lambda m, i=place: m[i], masks)
            jax.tree.map(
                np.testing.assert_array_equal, ours, selection.tree_topk_mask(scores, kept)
            )
    with pytest.raises(ValueError, match=r"got shape \(2,\) at"):
        selection.tree_topk_mask(scores, selection.tree_kept(scores, [0.5, 0.9]))
    with pytest.raises(ValueError, match="sparsity must be a number"):
        selection.tree_kept(scores, [0.5, [0.9]])


def test_masked_weights_are_the_weights_or_zero_bit_for_bit():
    weights = {"w": jnp.asarray([np.inf, 1e-45, -0.1, np.nan]), "bias": jnp.ones(2)}
    mask = {"w": jnp.asarray([False, True, True, False]), "bias": None}
    scores = {"w": jnp.ones(4), "bias": None}
    for masked in (
        selection.apply_mask(weights, mask),
        jax.jit(selection.apply_mask)(weights, mask),
        selection.straight_through(weights, scores, mask),
        jax.jit(selection.straight_through)(weights, scores, mask),
    ):
        expected = np.asarray([0, 1e-45, -0.1, 0], np.float32)
        np.testing.assert_array_equal(
            np.asarray(masked["w"]).view(np.int32), expected.view(np.int32)
        )
        np.testing.assert_array_equal(masked["bias"], weights["bias"])


@pytest.mark.parametrize("transform", [lambda f: f, jax.jit])
def test_the_gradient_is_the_straight_through_one(transform):
    """Against the formula: g * mask for weights, g * w * sign(s) for scores, infinite or not."""
    rng = np.random.default_rng(3)
    weights = {"w": jnp.asarray(rng.normal(size=(4, 5)), jnp.float32), "bias": jnp.ones(3)}
    s = rng.normal(size=(4, 5)).astype(np.float32)
    s[0, 0], s[1, 1] = np.inf, -np.inf
    scores = {"w": jnp.asarray(s), "bias": None}
    g = jnp.asarray(rng.normal(size=(4, 5)), jnp.float32)
    mask = {"w": selection.topk_mask(jnp.abs(scores["w"]), 8), "bias": None}

    def loss(weights, scores, inside):
        ranked = jax.tree.map(jnp.abs, scores)
        chosen = selection.tree_topk_mask(ranked, 8) if inside else mask
        used = selection.straight_through(weights, ranked, chosen)
        return jnp.sum(used["w"] * g) + jnp.sum(used["bias"])

    for inside in (False, True):
        gradient = jax.grad(functools.partial(loss, inside=inside), argnums=(0, 1))
        by_weights, by_scores = transform(gradient)(weights, scores)
        np.testing.assert_array_equal(by_weights["w"], np.where(mask["w"], g, 0))
        np.testing.assert_array_equal(by_weights["bias"], 1)
        np.testing.assert_array_equal(by_scores["w"], g * weights["w"] * np.sign(s))


def test_trees_that_differ_are_refused_while_tracing():
    weights = {"a": jnp.ones((2, 3)), "b": jnp.ones(3)}
    scores = {"a": jnp.ones((2, 3)), "b": None}
    mask = jax.tree.map(lambda s: s > 0, scores)
    assert jax.eval_shape(selection.apply_mask, weights, mask)["b"].shape == (3,)
    wrongs = [{"a": jnp.ones((3, 2)), "b": None}, {"a": jnp.ones((2, 3))}, {"a": None, "c": None}]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="expected scores of shape .*, got "):
            jax.eval_shape(selection.straight_through, weights, wrong, mask)
        with pytest.raises(ValueError, match="expected mask of shape .*, got "):
            jax.eval_shape(selection.straight_through, weights, scores, wrong)
        with pytest.raises(ValueError, match="expected mask of shape .*, got "):
            jax.jit(selection.apply_mask)(weights, wrong)
    for kept in ({"a": 1, "b": 1}, [1], {"a": jnp.ones(1, jnp.int32), "b": None}):
        with pytest.raises(ValueError, match="expected kept of .*, got "):
            jax.jit(selection.tree_topk_mask)(scores, kept)


@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_nothing_to_prune_is_a_tree_without_masks(scope):
    weights, scores = {"a": jnp.ones(3)}, {"a": None}
    kept = selection.tree_kept(scores, 0.5, scope)
    for transform in (lambda f: f, jax.jit):
        masks = transform(selection.tree_topk_mask)(scores, kept)
        assert masks == {"a": None}
        masked = selection.straight_through(weights, scores, masks)
        np.testing.assert_array_equal(masked["a"], weights["a"])
    with pytest.raises(ValueError, match=r"kept must lie in \[0, 0\], got 1"):
        selection.tree_topk_mask(scores, 1)
