"""The tasks made in code: what they are, and that they are the same everywhere."""

import numpy as np
import pytest

from lth_jax.datasets import toys


@pytest.mark.parametrize("name", toys.TOYS)
def test_points_are_in_the_unit_cube_with_a_one_and_each_split_has_its_own(name):
    made = toys.make(name, 300, 100, 200)
    made.check()
    splits = (made.train, made.validation, made.test)
    assert [len(split.labels) for split in splits] == [300, 100, 200]
    points = np.concatenate([split.images for split in splits])
    assert points.dtype == np.float32 and points.min() >= 0 and (points[:, -1] == 1).all()
    assert points[:, 0].min() < 0.02 and 0.98 < points[:, 0].max() <= 1
    assert len(np.unique(points, axis=0)) == 600
    assert made.digest() == toys.make(name, 300, 100, 200).digest()


def test_the_circle_has_four_rings():
    made = toys.make("circle")
    x = 2 * np.float64(made.train.images[:, :2]) - 1
    radii = (x**2).sum(axis=1)
    for label, (low, high) in enumerate(((0, 0.2), (0.2, 0.5), (0.5, 0.7), (0.7, 2.0))):
        own = radii[made.train.labels == label]
        assert low - 1e-6 <= own.min() and own.max() <= high + 1e-6 and len(own) > 100


def test_relu_and_helix_are_their_formulas():
    made = toys.make("relu")
    x = 2 * np.float64(made.test.images[:, :1]) - 1
    np.testing.assert_allclose(made.test.labels, np.where(x > 0, x, 0), atol=1e-6)
    made = toys.make("helix")
    x = 2 * np.float64(made.test.images[:, 0]) - 1
    angle = np.pi * (5 + 3 * x)
    # On a cone: as far from its axis as it is high.
    np.testing.assert_allclose(made.test.labels[:, 2] * 8 * np.pi, angle, atol=1e-5)
    flat = np.hypot(made.test.labels[:, 0], made.test.labels[:, 1])
    np.testing.assert_allclose(flat, made.test.labels[:, 2], atol=1e-6)
    turned = np.arctan2(made.test.labels[:, 1], made.test.labels[:, 0])
    np.testing.assert_allclose(np.cos(turned - angle), 1, atol=1e-6)


def test_an_unknown_task_is_refused():
    with pytest.raises(ValueError, match="one of circle, relu, helix, got 'square'"):
        toys.make("square")
