"""Adaptive assignment: each input takes columns of the stream until its errors are small enough.

The size is then the sum of what the inputs needed, not their number times the largest. An input
stops at the first n whose best subsets cost at most its threshold, at every output, above and below
(`sensitivity`). The threshold may use what is known of the inputs before, never the columns to
come: so the network is one that was drawn beforehand, and only its odd mask is a choice.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from lth_jax.theory.construction import sensitivity, stream

Floats = npt.NDArray[np.float64]
FLOOR = 0.5  # The part of an equal share that every input's threshold keeps, whatever came before.
_PRIOR = 4  # As if so many inputs before the first had used up their thresholds.
_SKIP = 0.8  # Columns passed over per halving that is still missing: about what each one brings.


class Assigned(NamedTuple):
    """One layer, assigned."""

    owners: stream.Owners
    answers: stream.Answers
    spent: Floats  # [outputs, 2]: its part of the certificate, before rounding
    tolerance: float  # An input whose weights are all within this has stopped.


def assign(
    columns: stream.Columns, weighing: sensitivity.Weighing, bounds: Floats, allowed: Floats
) -> Assigned:
    """Gives each input of a layer as many columns as it needs.

    An input's share of what is left is its bound's share of the bounds that are left; it may use g
    times that, where 1/g is the part of their thresholds that the inputs before used up (at the
    output that used most): where ε > 0 most errors are 0, and an input that stops at a part of its
    threshold leaves the rest to the others. Every later input keeps FLOOR times its share of
    `allowed`: so one whose weights are all within `tolerance` has stopped, whatever came before.

    Args:
        columns: Of the layer.
        weighing: Of the layer's errors.
        bounds: [in] upper bounds of its inputs.
        allowed: [outputs, 2] > 0: what it may cost.

    Returns:
        The columns of each input, subsets of them, and their cost, which is within `allowed`.

    Raises:
        ValueError: If an input has not stopped after `columns.limit` columns.
    """
    count, start = columns.inputs, 0
    left, used = allowed.copy(), np.zeros_like(allowed)
    units, starts = np.zeros(count, np.int64), np.zeros(count, np.int64)
    answers = stream.empty(columns.targets.ravel())
    ahead = np.append(np.cumsum(bounds[::-1])[::-1], 0.0)
    for index, bound in enumerate(bounds):
        found, n, starts[index] = stream.empty(columns.targets[index]), 1, start
        if bound > 0:  # A dead input has no errors: it takes a column as all do, and keeps none.
            gain = (index + _PRIOR) / (used.max() + _PRIOR)
            later = FLOOR * ahead[index + 1] / ahead[0] * allowed
            threshold = np.minimum(left * min(gain * bound / ahead[index], 1.0), left - later)
            found, n, cost = _until(columns, weighing, index, start, threshold / bound)
            left, used = left - cost * bound, used + cost * bound / threshold
        answers.put(slice(index * columns.outputs, (index + 1) * columns.outputs), found)
        units[index], start = n, start + n
    slopes = (weighing.same + weighing.turned).sum(axis=1) * ahead[0]
    with np.errstate(divide="ignore"):  # To infinity, where nothing counts.
        tolerance = float((FLOOR * allowed.min(axis=1) / slopes).min())
    return Assigned(stream.Owners(starts, 1, units), answers, allowed - left, tolerance)


def _until(
    columns: stream.Columns,
    weighing: sensitivity.Weighing,
    index: int,
    start: int,
    threshold: Floats,
) -> tuple[stream.Answers, int, Floats]:
    """The first n >= 1 at which an input's errors cost at most `threshold`, and their cost.

    Both per unit of the input's bound. That it is the first makes it a stopping time. Not every n
    is looked at: sizes of errors only fall with n, so where their cost above and below together is
    over both thresholds together, no smaller n can do.
    """
    targets, scaled = columns.targets[index], columns.scale * columns.eps

    def better(found: stream.Answers, n: int) -> tuple[stream.Answers, Floats]:
        found = found.copy()
        x, at = columns.of_input(start, n), np.flatnonzero(found.left)
        found.put(at, stream.best(x[at], targets[at], scaled))
        return found, weighing.cost(found.left)

    base, low, step = stream.empty(targets), 0, 1  # No n <= low does.
    while low < columns.limit:
        n = min(low + step, columns.limit)
        probed = better(base, n)
        ratio = float((probed[1].sum(axis=1) / threshold.sum(axis=1)).max())
        for m in range(low + 1, n + 1) if ratio <= 1 else ():
            found, cost = probed if m == n else better(base, m)
            if (cost <= threshold).all():
                return found, m, cost
        base, low = probed[0], n
        step = max(1, int(_SKIP * np.log2(max(ratio, 1.0))))
    raise ValueError(f"expected an input to be near enough with {low} candidates per weight.")
