"""What a row says of a lane that diverged or has a NaN."""

import types

import numpy as np
import pytest

from lth_jax.sweep import rows
from lth_jax.training import methods


def state_of(curve, diverged, losses=(8.0, 4.0, np.nan)):
    losses = np.array(losses, np.float32)
    curve, diverged = np.array(curve), np.int32(diverged)
    fields = {"curve": curve, "losses": losses, "diverged": diverged}
    return types.SimpleNamespace(**fields, recorded=(), radii=())


def test_a_curve_ends_where_the_lane_diverged():
    """Two epochs of 4 steps, then one more stage: diverged in step 5, the second epoch's."""
    first = rows.extend(
        rows.History(), methods.PERTURB, 8, state_of([30, 5, -1], 5), validation=50, seconds=0
    )
    assert first.curve == (0.6, None) and first.diverged == 5 and first.dense is None
    assert first.losses == (2.0, None)
    after = rows.extend(first, methods.PRUNE, 4, state_of([5, -1, -1], -1), 50, 0)
    assert after.curve == (0.6, None, None) and after.diverged == 5
    assert after.losses == (2.0, None, None)
    sound = rows.extend(rows.History(), methods.PRUNE, 8, state_of([30, 40, -1], -1), 50, 0)
    assert sound.curve == (0.6, 0.8) and sound.losses == (2.0, 1.0)


def test_a_loss_that_was_not_kept_is_unknown_and_not_a_number():
    state = state_of([30, 40, -1], -1, losses=(np.nan, 4.0, np.nan))
    found = rows.extend(rows.History(), methods.PRUNE, 8, state, 50, 0)
    assert found.losses == (None, 1.0) and found.curve == (0.6, 0.8)


@pytest.mark.parametrize("norm", ["linf", "l2", "l2_global"])
@pytest.mark.parametrize("place", ["a", "b"])
def test_a_certificate_keeps_the_nan_of_any_leaf(place, norm):
    center = {"a": np.zeros(3, np.float32), "b": np.zeros(2, np.float32)}
    weights = {name: leaf.copy() for name, leaf in center.items()}
    weights[place][1] = np.nan
    found = rows.ball_certificate(center, weights, {"a": 1.0, "b": 1.0}, norm)
    assert np.isnan(found["ball_fraction"]) and np.isnan(found["max_displacement"])
