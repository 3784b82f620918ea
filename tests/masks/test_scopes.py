"""How a count is shared out over tensors: ERK and floors against plain re-implementations."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

import lth_jax
from lth_jax import pruners
from lth_jax.masks import selection, shares
from lth_jax.pruners.bernoulli import expected
from lth_jax.training import kept as kept_counts

LENET = [(784, 300), (300, 100), (100, 10)]
CONV = [(3, 3, 3, 64), (3, 3, 64, 64), (16384, 256), (256, 256), (256, 10)]


def tree(shapes):
    return {str(i): jax.ShapeDtypeStruct(shape, np.float32) for i, shape in enumerate(shapes)}


def erk_in_floats(shapes, total):
    """As RigL's code does: tensors whose density comes out above 1 are dense, then anew."""
    sizes = np.array([np.prod(shape) for shape in shapes], float)
    raw = np.array([sum(shape) for shape in shapes]) / sizes
    dense = np.zeros(len(shapes), bool)
    while True:
        factor = (total - sizes[dense].sum()) / (raw * sizes)[~dense].sum()
        over = ~dense & (factor * raw > 1)
        if not over.any():
            return np.where(dense, sizes, factor * raw * sizes)
        dense |= over & (raw == raw[over].max())


@pytest.mark.parametrize("shapes", [LENET, CONV])
@pytest.mark.parametrize("sparsity", [0, 0.2, 0.5, 0.9, 0.99])
def test_erk_is_the_published_rule_to_a_weight_and_its_sum_is_exact(shapes, sparsity):
    counts = list(selection.tree_kept(tree(shapes), sparsity, "erk").values())
    whole = sum(int(np.prod(shape)) for shape in shapes)
    assert sum(counts) == lth_jax.kept_count(whole, sparsity)
    assert np.abs(np.array(counts) - erk_in_floats(shapes, sum(counts))).max() < 1


def test_erk_keeps_its_bounds_and_its_sum_for_any_shapes():
    rng = np.random.default_rng(0)
    for _ in range(300):
        shapes = [tuple(rng.integers(1, 9, rng.integers(1, 4))) for _ in range(rng.integers(1, 6))]
        sizes = [int(np.prod(shape)) for shape in shapes]
        total = int(rng.integers(len(sizes), sum(sizes) + 1))
        counts = shares.erk(shapes, total)
        assert sum(counts) == total
        assert all(1 <= count <= size for count, size in zip(counts, sizes, strict=True))
        # Where no bound is met, more by dimensions is no less by count.
        free = [(sum(s), c) for s, c, n in zip(shapes, counts, sizes, strict=True) if 1 < c < n]
        assert all(a <= b + 1 for (da, a) in free for (db, b) in free if da <= db)


def test_what_leaves_too_little_is_refused():
    with pytest.raises(ValueError, match="at least one of each of 3 tensors .* got 2 to keep"):
        shares.erk(LENET, 2)
    with pytest.raises(ValueError, match="floor=1 keeps at least 6 weights of 4 tensors"):
        shares.floors([10, 1, 1, 1], 5, 1)
    assert shares.erk(LENET, 0) == [0, 0, 0] and shares.floors([10, 1], 0, 0.5) == [0, 0]
    assert shares.floors([100, 50, 3], 15, 0.1) == [1, 1, 1]
    assert shares.floors([1000, 100], 110, 0.3) == [30, 3]  # In floats 29.99…


def by_hand(scores, total, least):
    """The top of each, then the top of the rest; ties to the lower place."""
    masks = [np.zeros(s.size, bool) for s in scores]
    for mask, s, count in zip(masks, scores, least, strict=True):
        mask[np.argsort(-s, kind="stable")[:count]] = True
    chosen, flat = np.concatenate(masks), np.concatenate(scores)
    left = np.argsort(np.where(chosen, np.inf, -flat), kind="stable")
    chosen[left[: total - chosen.sum()]] = True
    return np.split(chosen, np.cumsum([s.size for s in scores])[:-1])


@pytest.mark.slow
def test_masks_with_floors_are_a_plain_sorts_on_a_thousand_trees():
    rng = np.random.default_rng(1)
    sizes = [20, 7, 12]
    scores = [rng.normal(size=(1000, n)).astype(np.float32) for n in sizes]
    scores[1] -= 3  # So that its floor binds.
    scores = [np.where(np.arange(1000)[:, None] % 2, s, np.round(s)) for s in scores]  # Ties.
    least = [rng.integers(0, n // 2, 1000).astype(np.int32) for n in sizes]
    total = np.array([rng.integers(low, sum(sizes) + 1) for low in sum(least)], np.int32)
    kept = selection.Floored(total, least)
    found = jax.jit(jax.vmap(selection.tree_topk_mask))(scores, kept)
    for lane in range(1000):
        ours = [np.asarray(mask[lane]) for mask in found]
        theirs = by_hand([s[lane] for s in scores], total[lane], [c[lane] for c in least])
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.slow
@pytest.mark.parametrize("name", pruners.PRUNERS)
def test_every_finder_keeps_its_count_and_the_floors(name):
    pruner = pruners.PRUNERS[name]("global")
    weights = {"large": jnp.ones((20, 10)) / 7, "small": jnp.full((5, 4), 1e-4)}
    scores = pruner.init(jax.random.key(0), weights)
    if name != "frozen":  # Its marks are of random places: what is said of scores is not of them.
        scores = scores | {"small": scores["small"] * 1e-4}
    kept = selection.with_floor(scores, lth_jax.kept_count(220, 0.9), 0.5)
    assert kept == selection.Floored(22, {"large": 10, "small": 1})

    @jax.jit
    def walk(scores, kept):
        state = pruner.init_state(jax.random.key(1), weights, scores, kept)
        network = pruner.subnetwork(jax.random.key(2), weights, scores, kept, state)
        _, scores, state = pruner.after_step(jax.random.key(3), 0, weights, scores, kept, state)
        return pruner.mask(scores, kept, state), pruner.mask(scores, kept), network

    carried, fresh, _ = walk(scores, kept)
    for mask in (carried, fresh):
        assert int(mask["small"].sum()) >= 1
        assert int(mask["small"].sum() + mask["large"].sum()) == 22


def test_a_falling_count_ends_with_its_floors():
    scores = {"a": np.zeros((3, 5)), "b": np.zeros(5)}
    kept = selection.Floored(6, {"a": 2, "b": 1})
    found = kept_counts.after("linear", scores, kept, 1, 2)
    assert int(found.total) == 13 and found.least == kept.least
    with pytest.raises(ValueError, match="kept must have no floor"):
        expected({"a": scores["a"]}, {"a": scores["a"]}, kept)


def study_of(out, floor=0.0, **asked):
    train = dataclasses.replace(tiny.CONFIG, floor=floor)
    return lth_jax.Study(tiny.own_model(), tiny.dataset(), train=train, out=out, **asked)


@pytest.mark.slow
def test_rows_of_runs_report_what_each_tensor_keeps(tmp_path):
    asked = {"methods": ["prune"], "seeds": [0], "sparsity": [0.9]}
    (erk,) = study_of(tmp_path / "erk", scope="erk").run(**asked).rows
    names = ["Dense_0/kernel", "Dense_1/kernel"]
    # 80 : 26 by dimensions, of 119 in all: 89.8 and 29.2.
    assert erk["kept_by_tensor"] == dict(zip(names, (90, 29), strict=True))
    (row,) = study_of(tmp_path / "floor", 0.5, scope="global").run(**asked).rows
    assert row["floor_by_tensor"] == dict(zip(names, (51, 8), strict=True))
    assert row["kept"] == 119 == sum(row["kept_by_tensor"].values())
    assert all(row["kept_by_tensor"][name] >= row["floor_by_tensor"][name] for name in names)


def test_what_is_excluded_by_name_has_no_scores(tmp_path):
    study = study_of(tmp_path / "run", exclude=["Dense_1/*"])
    pruned = [leaf.path for leaf in study.leaves if leaf.fan_in is not None]
    assert pruned == ["Dense_0/kernel"] and study.settings["exclude"] == ["Dense_1/*"]
    assert study.identity != study_of(tmp_path / "run").identity
    for wrong, said in ((["Dense_9/*"], "fits no name"), ("Dense_1/*", "must be a list")):
        with pytest.raises(lth_jax.InputError, match=f"^exclude.* {said}"):
            study_of(tmp_path / "run", exclude=wrong)
    with pytest.raises(lth_jax.InputError, match="exclude must be empty for a Pruner"):
        study_of(tmp_path / "run", pruner=pruners.edge_popup(), exclude=["Dense_1/*"])
