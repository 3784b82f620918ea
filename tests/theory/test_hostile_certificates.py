"""Certificates under attack: generated networks, sums and subsets against the truth in fractions.

Entries go from 1e-308 to 1e308 and are zeros of both signs and subnormals, too; masks are all zero
and all one; perturbations lie at the very edge. A certificate may be loose, infinite if float64
cannot hold it, but never below the truth, and NaN never. Each suite prints how many it tried.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest

from lth_jax.theory import subset_sum
from lth_jax.theory.construction import half_layer, network_certificate, random_network
from lth_jax.theory.subset_sum import certificate

# Those of many inputs make a sum of many terms, each with a rounding of its own.
SHAPES = [
    (90, 1),
    (1, 90, 1),
    (1, 1),
    (1, 6),
    (6, 1),
    (3, 4),
    (2, 3, 2),
    (1, 5, 1),
    (4, 1, 4),
    (2, 2, 2, 2),
    (1,) * 7,
]
KINDS = ["plain", "root", "wild", "wide", "tiny", "subnormal", "zero", "huge", "mixed", "equal"]
NEAR = ["same", "close", "other", "zero", "negated"]
ERRORS = ["none", "relative", "large", "subnormal"]


def entries(rng, kind, shape):
    """Numbers of a kind, of both signs, with a zero of each sign now and then."""
    sign = rng.choice([-1.0, 1.0], shape)
    if kind == "mixed":
        parts = [entries(rng, other, shape) for other in ("plain", "wild", "subnormal", "huge")]
        return np.choose(rng.integers(0, len(parts), shape), parts)
    values = {
        "plain": lambda: np.abs(rng.normal(0, 0.5, shape)),
        "wild": lambda: 10.0 ** rng.uniform(-308, 308, shape),
        "wide": lambda: 10.0 ** rng.uniform(-30, 30, shape),
        "tiny": lambda: 10.0 ** rng.uniform(-308, -290, shape),
        "root": lambda: rng.uniform(0.5, 1, shape) * 2.0**-537,  # of the least number
        "subnormal": lambda: rng.integers(1, 1 << 20, shape) * 2.0**-1074,
        "zero": lambda: np.zeros(shape),
        "huge": lambda: 10.0 ** rng.uniform(300, 308.2, shape),
        "equal": lambda: np.full(shape, 10.0 ** rng.uniform(-5, 5)),
    }[kind]()
    return np.where(rng.random(shape) < 0.1, 0.0, values) * sign


def near(rng, how, w):
    """A matrix that has to do with another one."""
    with np.errstate(over="ignore"):
        found = {
            "same": lambda: w.copy(),
            "close": lambda: w * (1 + 1e-9 * rng.normal(size=w.shape)),
            "other": lambda: entries(rng, rng.choice(KINDS), w.shape),
            "zero": lambda: np.zeros_like(w),
            "negated": lambda: -w,
        }[how]()
    return np.where(np.isfinite(found), found, 0.0)


def error_of(rng, how, w):
    return {
        "none": lambda: np.zeros_like(w),
        "relative": lambda: np.abs(w) * 2.0**-50,
        "large": lambda: np.abs(rng.normal(0, 0.1, w.shape)),
        "subnormal": lambda: np.full_like(w, 2.0**-1074),
    }[how]()


def fractions(array):
    """[...] floats -> nested lists of Fractions, exactly."""
    return [fractions(part) for part in array] if np.ndim(array) else Fraction(float(array))


def product(matrix, vector):
    return [sum((a * b for a, b in zip(row, vector, strict=True)), Fraction(0)) for row in matrix]


def part(values, sign=1):
    """The positive part, or the negative one, of a vector or a matrix."""
    if isinstance(values, list):
        return [part(value, sign) for value in values]
    return max(sign * values, Fraction(0))


def minus(a, b):
    if isinstance(a, list):
        return [minus(*pair) for pair in zip(a, b, strict=True)]
    return a - b


def add(*vectors):
    return [sum(values) for values in zip(*vectors, strict=True)]


def within(rng, matrix, error):
    """An exact matrix no farther from another one than its error: at the edge, mostly."""
    pairs = zip(fractions(matrix), fractions(error), strict=True)
    return [
        [p + e * int(rng.integers(-1, 2)) for p, e in zip(*rows, strict=True)] for rows in pairs
    ]


def exact_recursion(target, exact):
    """The entrywise bound on the cube as the docstring has it, in fractions."""
    size = len(target[0][0])
    u = v = [Fraction(0)] * size
    a = c = [Fraction(1)] * size
    for index, (w, p) in enumerate(zip(target, exact, strict=True)):
        d, up, down = minus(w, p), part(p), part(p, -1)
        u, v = (
            add(product(part(d), a), product(up, u), product(down, v)),
            add(product(part(d, -1), a), product(up, v), product(down, u)),
        )
        a, c = product(part(w), a), product(up, c)
        if index < len(target) - 1:
            u, v = [list(map(min, *pair)) for pair in ((u, a), (v, c))]
    return max(*u, *v, Fraction(0))


def run(pairs, x):
    """f(x) of (P, M): P x⁺ + M x⁻ in the first layer and P x⁺ in the others, in fractions."""
    below = part(x, -1)
    for plus, other in pairs:
        x = add(product(plus, part(x)), product(other, below))
        below = [Fraction(0)] * len(x)
    return x


def points(rng, size, domain):
    low = 0 if domain == "cube" else -1
    corners = rng.integers(low, 2, (5, size))
    return [*corners.astype(float), rng.uniform(low, 1, size), np.zeros(size), np.ones(size)]


def float_output(pairs, x):
    with np.errstate(all="ignore"):
        below = np.maximum(-x, 0)
        for plus, other in pairs:
            x = plus @ np.maximum(x, 0) + other @ below
            below = np.zeros_like(x)
    return x


def at_least(bound, truth):
    """Whether a float is a number or infinity not below a fraction."""
    return not math.isnan(bound) and (math.isinf(bound) or Fraction(bound) >= truth)


def network(rng, shape):
    """A target, a network near it as the certificate knows it, and one that it may be."""
    target, layers, exact = [], [], []
    halves, kind = rng.random() < 0.6, rng.choice([None, None, "root", "plain"])  # None is any
    for inputs, outputs in itertools.pairwise(shape):
        w = entries(rng, kind or rng.choice(KINDS), (outputs, inputs))
        plus = near(rng, rng.choice(NEAR), w)
        if kind and rng.random() < 0.5:
            w = np.abs(w)
        other = near(rng, rng.choice(NEAR), -w)
        errors = [error_of(rng, rng.choice(ERRORS), p) for p in (plus, other)]
        target.append(w)
        layers.append(
            network_certificate.Layer(plus, other, *errors)
            if halves
            else network_certificate.Layer(plus, None, errors[0], None)
        )
        exact.append((within(rng, plus, errors[0]), within(rng, other, errors[1])))
    return target, layers, exact, halves


def wrong_of(rng, shape):
    """What is wrong with the certificates of one generated network, on each domain."""
    target, layers, exact, halves = network(rng, shape)
    truth = [(fractions(w), fractions(-w)) for w in target]
    for domain in network_certificate.DOMAINS if halves else ["cube"]:
        found = network_certificate.bound(target, layers, domain)
        if domain == "cube":
            recursion = exact_recursion([w for w, _ in truth], [p for p, _ in exact])
            if not at_least(found.entrywise, recursion):
                yield "entrywise", found, shape
        for x in points(rng, shape[0], domain):
            pairs = [(run(truth, fractions(x)), run(exact, fractions(x)))]
            apart = max(abs(a - b) for f, g in pairs for a, b in zip(f, g, strict=True))
            if not all(
                at_least(b, apart) for b in (found.entrywise, found.l2, found.relaxed, found.value)
            ):
                yield "a point", found, shape
            f = float_output([(w, -w) for w in target], x)
            zero = [np.zeros_like(w) for w in target]
            known = [
                (layer.plus, z if layer.minus is None else layer.minus)
                for layer, z in zip(layers, zero, strict=True)
            ]
            with np.errstate(all="ignore"):
                seen = np.abs(f - float_output(known, x)).max()
            if not seen <= found.value and math.isfinite(found.value):
                yield "an evaluation", found, shape


def small(bad=0.5, at="target"):
    """A target of two layers and a network, one number of which is another one."""
    target = [np.full((2, 3), 0.5), np.full((1, 2), 0.5)]
    parts = {"plus": 0.4, "minus": -0.4, "plus_error": 0.0, "minus_error": 0.0}
    layers = [{name: np.full(w.shape, value) for name, value in parts.items()} for w in target]
    (target[1] if at == "target" else layers[1][at])[0, 0] = bad
    return target, [network_certificate.Layer(**layer) for layer in layers]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", ["target", "plus", "minus", "plus_error", "minus_error"])
def test_what_is_not_finite_is_refused(bad, at):
    with pytest.raises(ValueError, match="expected finite weights and errors"):
        network_certificate.bound(*small(bad, at))
    for domain in network_certificate.DOMAINS:
        assert math.isfinite(network_certificate.bound(*small(), domain).value)


def test_a_negative_error_is_refused():
    with pytest.raises(ValueError, match="errors of at least 0"):
        network_certificate.bound(*small(-1e-9, "plus_error"))


@pytest.mark.parametrize("domain", network_certificate.DOMAINS)
def test_what_overflows_is_an_infinite_bound(domain):
    for at in ("target", "plus", "plus_error"):
        found = network_certificate.bound(*small(1.7e308, at), domain)
        assert found.value >= 1e308 and not any(map(math.isnan, found))
    target, layers = small()
    target, layers = (
        [np.full_like(w, 1.7e308) for w in target],
        [layers[0]._replace(plus=0 * target[0])] * 2,
    )
    layers[1] = network_certificate.Layer(*[0 * target[1]] * 4)
    found = network_certificate.bound(target, layers, domain)
    assert found.value == found.entrywise == found.l2 == math.inf


@pytest.mark.parametrize("name", ["x", "z", "eps", "tolerance"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e100])
def test_numbers_of_which_sums_overflow_are_refused_of_a_subset(name, bad):
    given = {"x": [0.5, 0.5], "z": [1.0], "eps": 0.1, "tolerance": 0.1}
    answer = Given(np.ones((1, 2), bool), np.zeros((1, 2)))
    assert subset_sum.verify(**given, subset=answer).holds.all()
    given[name] = [bad, *given[name][1:]] if name in "xz" else bad
    with pytest.raises(ValueError, match="expected finite"):
        subset_sum.verify(**given, subset=answer)


@pytest.mark.parametrize("y", [np.nan, np.inf, -np.inf, 1.7e308])
def test_a_perturbation_that_is_no_number_does_not_hold(y):
    answer = Given(np.ones((1, 2), bool), np.array([[y, -y]]))
    found = subset_sum.verify([0.5, 0.5], [1.0], 0.1, 0.1, answer)
    assert found.reaches.all() and not found.bounded.any() and not found.holds.any()


@pytest.mark.slow
def test_no_certificate_of_a_network_is_below_the_truth(say):
    wrong, tried, finite = [], 0, 0
    for seed, shape in itertools.product(range(100), SHAPES):
        rng = np.random.default_rng([seed, *shape])
        wrong += [(seed, *what) for what in wrong_of(rng, shape)]
        tried += 1
        target, layers, *_ = network(np.random.default_rng([seed, *shape]), shape)
        finite += math.isfinite(network_certificate.bound(target, layers).value)
    say(f"{tried} networks, {finite} of them with a finite bound, {len(wrong)} wrong")
    assert not wrong, wrong[:3]
    assert finite > tried / 4


def positive_definite(matrix):
    """Whether a symmetric matrix of fractions is positive semidefinite, by elimination."""
    rows = [list(row) for row in matrix]
    for k in range(len(rows)):
        if rows[k][k] < 0 or (rows[k][k] == 0 and any(rows[k][j] for j in range(k, len(rows)))):
            return False
        for i in range(k + 1, len(rows)):
            if rows[k][k]:
                factor = rows[i][k] / rows[k][k]
                rows[i] = [a - factor * b for a, b in zip(rows[i], rows[k], strict=True)]
    return True


@pytest.mark.slow
def test_no_bound_of_a_norm_is_below_the_norm(say):
    wrong, tried = [], 0
    for seed, kind, how in itertools.product(range(25), KINDS, ERRORS):
        rng = np.random.default_rng([seed, KINDS.index(kind), ERRORS.index(how)])
        shape = tuple(rng.integers(1, 5, 2))
        matrix = entries(rng, kind, shape)
        error = error_of(rng, how, matrix)
        exact = within(rng, matrix, error)
        with np.errstate(over="ignore", invalid="ignore"):  # As `bound` calls it.
            bound = network_certificate.norm_bound(matrix, error)
        tried += 1
        if math.isinf(bound):
            continue
        columns = list(zip(*exact, strict=True))
        gram = [[-sum(map(Fraction.__mul__, a, b)) for b in columns] for a in columns]
        for k in range(len(columns)):
            gram[k][k] += Fraction(bound) ** 2
        if math.isnan(bound) or not positive_definite(gram):
            wrong.append((seed, kind, how, shape, bound))
    say(f"{tried} norms, {len(wrong)} wrong")
    assert not wrong, wrong[:5]


def stored_layer(rng, kind, kept, units_given):
    """A layer's weights, any mask, and the inputs that its rows belong to."""
    inputs, outputs, halves = int(rng.integers(1, 5)), int(rng.integers(1, 4)), rng.integers(1, 3)
    units = tuple(map(int, rng.integers(0, 4, inputs))) if units_given else ()
    copies = halves * int(rng.integers(1, 9))
    shape = (sum(units) if units else copies * inputs, outputs)
    second = {
        "plain": lambda: rng.uniform(-1, 1, shape),
        "float32": lambda: 10.0 ** rng.uniform(-38, 38, shape),
        "subnormal": lambda: rng.integers(0, 99, shape) * 2.0**-149,
        "cancel": lambda: rng.choice([-1, 1], shape) * 2.0 ** rng.integers(-149, 127),
    }[kind]()
    signs = np.where(np.arange(copies) < copies / halves, 1, -1).astype(np.float32)
    first = np.ones(shape[0], np.float32) if units else np.repeat(signs[:, None], inputs, 1)
    weights = {"weight1": first, "weight2": second.astype(np.float32)}
    mask = {
        "weight1": rng.random(first.shape) < max(kept, 0.7),
        "weight2": rng.random(shape) < kept,
    }
    owner = np.repeat(np.arange(inputs), units) if units else np.arange(shape[0]) % inputs
    return weights, mask, owner, inputs, (units,) if units else ()


@pytest.mark.slow
def test_no_sum_of_masked_weights_is_off_by_more_than_it_says(say):
    """Weights as stored: float32, any mask, a scale of 8 bits, one half, two, or units."""
    wrong, tried = 0, 0
    for seed, kind, kept in itertools.product(
        range(40), ["plain", "float32", "subnormal", "cancel"], [0.0, 1.0, 0.5]
    ):
        rng = np.random.default_rng([seed, len(kind), int(2 * kept)])
        weights, mask, owner, inputs, units = stored_layer(rng, kind, kept, seed % 4 == 2)
        scale = math.ldexp(int(rng.integers(128, 257)) / 256, int(rng.integers(-60, 60)))
        (layer,) = random_network.effective(
            {"RedundantBlock_0": weights}, {"RedundantBlock_0": mask}, [scale], units
        )
        signs = np.where(mask["weight1"], weights["weight1"], 0).ravel()
        for sign, found, error in (
            (1, layer.plus, layer.plus_error),
            (-1, layer.minus, layer.minus_error),
        ):
            if found is None:
                assert not (weights["weight1"] < 0).any()
                continue
            exact = np.full(found.shape, Fraction(0), object)
            assert exact.shape == (weights["weight2"].shape[1], inputs)
            for row, out in zip(*np.nonzero(mask["weight2"]), strict=True):
                if sign * signs[row] > 0:
                    value = Fraction(float(weights["weight2"][row, out]))
                    exact[out, owner[row]] += value * Fraction(scale)
            for at in np.ndindex(found.shape):
                tried += 1
                wrong += not abs(Fraction(found[at]) - exact[at]) <= Fraction(error[at])
    say(f"{tried} sums, {wrong} wrong")
    assert tried > 3000 and not wrong


@pytest.mark.slow
def test_no_stored_move_is_longer_than_eps(say):
    """Moves at ±ε and a little beyond it in rounding, as float32 and in bits."""
    wrong, tried = 0, 0
    sizes = [0.0, 1e-45, 1e-38, 1e-20, 1e-3, 0.05, 1 / 3, 1.0, 1e10, 3e38]
    for eps, bits, seed in itertools.product(sizes, [None, 2, 3, 8, 16], range(4)):
        rng = np.random.default_rng(seed)
        center = np.concatenate(
            [rng.uniform(-1, 1, (4, 6)), rng.normal(0, 1e-30, (2, 6)), np.zeros((1, 6))]
        ).astype(np.float32)
        center[0, 0], center[1, 0] = 3.4e38, 1e-45
        mask = rng.random(center.shape) < (0.0, 0.5, 1.0, 0.9)[seed]
        moves = rng.choice([-eps, eps, np.nextafter(eps, 0), 0.0, -0.0], 6)
        with np.errstate(over="ignore"):
            stored = half_layer.moved(center, mask, moves, eps, bits)
        for at in np.ndindex(center.shape):
            tried += 1
            if not np.isfinite(stored[at]):
                wrong += 1
                continue
            # In float64, as the law has it: a centre below 2^-53 of ε may be one rounding away.
            move = abs(float(stored[at]) - float(center[at]))
            exact = abs(Fraction(float(stored[at])) - Fraction(float(center[at])))
            wrong += move > (eps if mask[at] else 0)
            wrong += exact > (Fraction(eps) * (1 + Fraction(2) ** -53) if mask[at] else 0)
    say(f"{tried} moves, {wrong} wrong")
    assert tried > 5000 and not wrong


class Given:
    """An answer of nobody: what the subset-sum certificate is to judge."""

    def __init__(self, mask, y):
        self.mask, self.y = mask, y


def subset_case(rng):
    """Candidates, a target, a subset and a perturbation, as near to the edge as floats come."""
    n = int(rng.integers(0, 9))
    kind = rng.choice(["plain", "tiny", "subnormal", "zero", "wide", "equal", "hundred"])
    if kind == "hundred":
        x = rng.choice([-1, 1], n) * 10.0 ** rng.uniform(-300, 99.9, n)
    else:
        x = entries(rng, kind, (n,))
    mask = rng.random(n) < rng.choice([0.0, 1.0, 0.5])
    eps = float(rng.choice([0.0, 5e-324, 1e-310, 1e-20, 1e-3, 0.1, 1.0, 1e90]))
    y = np.where(mask, rng.choice([-eps, eps, 0.0, eps / 3], n), rng.choice([0.0, -0.0], n))
    spoil = rng.random()
    if n and spoil < 0.1:
        y[rng.integers(n)] = np.nextafter(eps, np.inf)
    elif n and spoil < 0.2:
        y[rng.integers(n)] = -eps
    total = sum((Fraction(float(v)) for v in x[mask]), Fraction(0))
    moved = total + sum((Fraction(float(v)) for v in y[mask]), Fraction(0))
    z = float(rng.choice([float(total), float(moved), 0.0, 1.0, np.nextafter(float(total), 9)]))
    rest = abs(Fraction(z) - total) - int(mask.sum()) * Fraction(eps)
    edge = max(float(rest), 0.0)  # The tolerance that just reaches it, but for one rounding.
    tolerance = float(rng.choice([edge, np.nextafter(edge, 0), np.nextafter(edge, 1e99), 0.0, 0.1]))
    return x, z, eps, tolerance, mask, y


@pytest.mark.slow
def test_no_certificate_of_a_subset_says_what_is_not_so(say):
    wrong, held, tried = [], 0, 6000
    for seed in range(tried):
        x, z, eps, tolerance, mask, y = subset_case(np.random.default_rng(seed))
        found = subset_sum.verify(x, [z], eps, tolerance, Given(mask[None], y[None]))
        exact = [[Fraction(float(v)) for v in values] for values in (x, y)]
        rest = Fraction(z) - sum((v for v, m in zip(exact[0], mask, strict=True) if m), Fraction(0))
        reaches = abs(rest) <= Fraction(tolerance) + int(mask.sum()) * Fraction(eps)
        bounded = all(
            abs(v) <= (Fraction(eps) if m else 0) for v, m in zip(exact[1], mask, strict=True)
        )
        realized = rest - sum((v for v, m in zip(exact[1], mask, strict=True) if m), Fraction(0))
        bound = Fraction(float(found.bound[0]))
        good = found.reaches[0] == reaches and found.bounded[0] == bounded
        good &= abs(Fraction(float(found.realized[0])) - abs(realized)) <= bound
        if found.holds[0]:
            held += 1
            good &= reaches and bounded and abs(realized) <= Fraction(tolerance) + 2 * bound
        if not good:
            wrong.append(seed)
    say(f"{tried} subsets, {held} of which hold, {len(wrong)} wrong")
    assert not wrong, wrong[:9]
    assert tried / 20 < held < tried


@pytest.mark.slow
def test_no_answer_found_is_refused_by_the_certificate(say):
    """What `solve` finds in hostile candidates holds; what it calls impossible is so."""
    tried, wrong = 0, []
    for seed, objective in itertools.product(range(300), subset_sum.OBJECTIVES):
        x, z, eps, tolerance, *_ = subset_case(np.random.default_rng(seed))
        answer = subset_sum.solve(x, [z], eps, tolerance, objective)
        tried += 1
        if answer.found[0]:
            good = subset_sum.verify(x, [z], eps, tolerance, answer).holds[0]
        else:
            subsets = itertools.product([False, True], repeat=len(x))
            good = answer.status[0] == subset_sum.Status.IMPOSSIBLE and not any(
                certificate.within(x, np.array([z]), eps, tolerance, np.array([s], bool))[0]
                for s in (subsets if len(x) else [[]])
            )
        if not good:
            wrong.append((seed, objective))
    say(f"{tried} answers, {len(wrong)} wrong")
    assert not wrong, wrong[:9]
