"""The certificate is never below the truth, is the truth for one layer, and sees a broken bit."""

from fractions import Fraction

import jax
import networks
import numpy as np
import pytest

from lth_jax.theory import construction
from lth_jax.theory.construction import error_search, network_certificate, random_network
from lth_jax.theory.construction.network_certificate import by_norms

GRID = {
    domain: np.stack(np.meshgrid(*[np.linspace(low, 1, 101)] * 2), -1).reshape(-1, 2)
    for domain, low in (("cube", 0.0), ("ball", -1.0))
}


def nets(sizes, seed, n, half=False):
    """A target and a coarse network of n candidates: large errors of both signs."""
    rng = np.random.default_rng(seed)
    target = [rng.normal(0, 0.4, (b, a)) for a, b in zip(sizes, sizes[1:], strict=False)]
    built = construction.approximate(
        target, jax.random.key(seed), 0.0, 0.0, n, nonnegative_input=half
    )
    return target, built


def layers_of(built, masks=None):
    return random_network.effective(built.weights, masks or built.masks, built.layout.scales)


def layer_of(w, error):
    """A layer that is W for inputs of either sign."""
    return network_certificate.Layer(w, -w, error, error)


def true_error(target, layers, domain):
    x = GRID[domain]
    difference = error_search.target_output(target, x) - networks.output(layers, x)
    return np.abs(difference).max()


@pytest.mark.parametrize("domain", network_certificate.DOMAINS)
@pytest.mark.parametrize("sizes", [(2, 3), (2, 4, 2), (2, 5, 4, 3), (2, 3, 3, 3, 2)], ids=len)
def test_it_is_never_below_a_dense_search(domain, sizes):
    for seed in range(9):
        target, built = nets(sizes, seed, n=(2, 4, 7)[seed % 3])
        layers = layers_of(built)
        bound = network_certificate.bound(target, layers, domain)
        truth = true_error(target, layers, domain)
        assert min(bound.entrywise, bound.l2, bound.relaxed) >= truth - bound.rounding
        found = error_search.search(target, layers, [], np.random.default_rng(seed), domain)
        assert bound.value >= max(truth, found.value) + bound.rounding
        if len(sizes) == 2:
            # Corners of the domain and 0 are on the grid, where the maximum of one layer lies.
            assert abs(bound.entrywise - truth) <= 1e-12 * truth
            assert abs(bound.relaxed - truth) <= 1e-12 * truth


@pytest.mark.parametrize("domain", network_certificate.DOMAINS)
def test_a_broken_mask_bit_is_seen_in_one_layer(domain):
    target, built = nets((2, 3), 1, n=8)
    before = network_certificate.bound(target, layers_of(built), domain).entrywise
    block = built.masks["RedundantBlock_0"]
    changed = 0
    for index in np.ndindex(block["weight2"].shape):
        flipped = block["weight2"].copy()
        flipped[index] ^= True
        masks = {"RedundantBlock_0": {**block, "weight2": flipped}}
        layers = layers_of(built, masks)
        bound = network_certificate.bound(target, layers, domain).entrywise
        assert abs(bound - true_error(target, layers, domain)) <= 1e-12 * bound
        # The second half is dead on the cube.
        if domain == "ball" or index[0] < 16:
            changed += bound != before
    assert changed >= 12


def test_a_broken_structural_bit_is_seen(key):
    target, built = nets((2, 3), 1, n=8)
    masks = jax.tree.map(np.copy, built.masks)
    used = int(np.argmax(masks["RedundantBlock_0"]["weight2"][:16].any(axis=1)))
    masks["RedundantBlock_0"]["weight1"][used // 2, used % 2] = False
    broken = network_certificate.bound(target, layers_of(built, masks)).entrywise
    assert broken == pytest.approx(true_error(target, layers_of(built, masks), "cube"), rel=1e-12)
    assert broken != network_certificate.bound(target, layers_of(built)).entrywise


def test_half_width_refuses_the_ball():
    target, built = nets((2, 3, 2), 0, n=6, half=True)
    layers = layers_of(built)
    assert network_certificate.bound(target, layers, "cube").value > 0
    with pytest.raises(ValueError, match="negative inputs"):
        network_certificate.bound(target, layers, "ball")


def test_equal_networks_are_certified_equal_but_for_rounding():
    rng = np.random.default_rng(0)
    target = [rng.normal(0, 0.4, (5, 4)), rng.normal(0, 0.4, (3, 5))]
    zero = [np.zeros_like(w) for w in target]
    layers = [layer_of(w, z) for w, z in zip(target, zero, strict=True)]
    for domain in network_certificate.DOMAINS:
        assert network_certificate.bound(target, layers, domain).value < 1e-12


@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (40, 20)])
def test_the_norm_bound_is_above_and_near_the_norm(shape):
    for seed in range(5):
        matrix = np.random.default_rng(seed).normal(0, 1, shape)
        exact = np.sqrt(np.linalg.eigvalsh(matrix.T @ matrix).max())
        bound = network_certificate.norm_bound(matrix)
        assert exact * (1 - 1e-13) <= bound <= exact * (1 + 1e-9)
        error = np.full(shape, 1e-3)
        assert network_certificate.norm_bound(matrix, error) >= np.linalg.norm(
            matrix + error, 2) * (1 - 1e-13)  # fmt: skip


def test_the_l2_bound_wins_where_signs_cancel():
    """Wide layers of mixed signs: the ℓ2 recursion is tested on its own, not only as the loser."""
    rng = np.random.default_rng(0)
    target = [rng.normal(0, 0.1, (60, 2)), *(rng.normal(0, 0.1, (60, 60)) for _ in range(4))]
    zeros = [np.zeros_like(w) for w in target]
    moved = [w + rng.normal(0, 1e-3, w.shape) for w in target]
    layers = [layer_of(w, z) for w, z in zip(moved, zeros, strict=True)]
    bound = network_certificate.bound(target, layers, "ball")
    assert true_error(target, layers, "ball") < bound.l2 < bound.entrywise


def exact_sums(built, layer, sign):
    """What one half of a layer sums to, over the rationals: [in][out]."""
    block, mask = (t[f"RedundantBlock_{layer}"] for t in (built.weights, built.masks))
    copies, inputs = block["weight1"].shape
    scale = Fraction(built.layout.scales[layer])
    return [
        [
            scale
            * sum(
                Fraction(float(block["weight2"][c * inputs + i, out]))
                for c in range(copies)
                if mask["weight2"][c * inputs + i, out] and block["weight1"][c, i] == sign
            )
            for out in range(block["weight2"].shape[1])
        ]
        for i in range(inputs)
    ]


def test_effective_sums_are_exact_to_their_bound():
    _, built = nets((2, 3), 5, n=9)
    (plus, minus, plus_error, minus_error), *_ = layers_of(built)
    for sign, found, error in ((1, plus, plus_error), (-1, minus, minus_error)):
        exact = exact_sums(built, 0, sign)
        for out, inp in np.ndindex(found.shape):
            assert abs(Fraction(found[out, inp]) - exact[inp][out]) <= Fraction(error[out, inp])


def times(matrix, vector):
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def part(matrix, sign=1):
    return [[max(sign * x, Fraction(0)) for x in row] for row in matrix]


@pytest.mark.parametrize("sizes", [(2, 3), (3, 4, 2), (2, 3, 3, 2)], ids=len)
def test_rounding_never_takes_it_below_the_same_bound_over_the_rationals(sizes):
    """The recursion of the docstring in fractions, on the cube, from the stored weights."""
    for seed in range(20):
        target, built = nets(sizes, seed, n=5, half=True)
        u = v = [Fraction(0)] * sizes[0]
        a = c = [Fraction(1)] * sizes[0]
        for layer, w in enumerate(target):
            w = [[Fraction(float(x)) for x in row] for row in w]
            p = [list(row) for row in zip(*exact_sums(built, layer, 1), strict=True)]
            d = [[x - y for x, y in zip(*rows, strict=True)] for rows in zip(w, p, strict=True)]
            up, down = part(p), part(p, -1)
            terms = [(part(d), a), (up, u), (down, v)], [(part(d, -1), a), (up, v), (down, u)]
            u, v = ([sum(x) for x in zip(*(times(*t) for t in ts), strict=True)] for ts in terms)
            a, c = times(part(w), a), times(up, c)
            if layer < len(target) - 1:
                u = [min(x, y) for x, y in zip(u, a, strict=True)]
                v = [min(x, y) for x, y in zip(v, c, strict=True)]
        exact = max(*u, *v)
        bound = network_certificate.bound(target, layers_of(built), "cube").entrywise
        # Above 0, too, where a dead layer leaves nothing to bound.
        assert exact <= Fraction(bound) <= exact * (1 + Fraction(1, 10**12)) + Fraction(1, 10**300)


def test_norms_are_rounded_up_over_the_rationals():
    rng = np.random.default_rng(0)
    for k in (1, 2, 3, 10, 100):
        for _ in range(20):
            row = rng.random((1, k))
            square = sum(Fraction(float(x)) ** 2 for x in row[0])
            assert Fraction(float(by_norms.row_norm(row))) ** 2 >= square
            assert Fraction(network_certificate.norm_bound(row)) ** 2 >= square
