"""Crop and flip: every offset and orientation, nothing else."""

import jax
import jax.numpy as jnp
import numpy as np

from lth_jax.datasets import augment


def test_crop_and_flip_is_one_of_all_shifts_and_mirrors():
    images = np.random.default_rng(0).integers(1, 256, (200, 6, 5, 2), np.uint8)
    moved = np.asarray(
        jax.jit(augment.crop_and_flip, static_argnums=2)(jax.random.key(1), images, 1)
    )
    assert moved.dtype == np.uint8
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    seen = set()
    for index in range(len(images)):
        matches = [
            (top, left, flip)
            for top in range(3)
            for left in range(3)
            for flip in (False, True)
            if np.array_equal(
                moved[index],
                padded[index, top : top + 6, left : left + 5][:, :: -1 if flip else 1],
            )
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert (
        len(seen) == 18
    )  # All of them: missed with odds of 18 (17/18)^200 < 2e-4, for a fixed key.


def test_crop_and_flip_fills_with_the_value_it_is_given(key):
    images = jnp.ones((8, 4, 4, 2))
    fill = jnp.array([5.0, 6.0])
    moved = np.asarray(jax.jit(augment.crop_and_flip, static_argnums=2)(key, images, 4, fill))
    outside = moved[..., 0] != 1
    assert outside.any()
    np.testing.assert_array_equal(moved[..., 0][outside], 5.0)
    np.testing.assert_array_equal(moved[..., 1][outside], 6.0)
