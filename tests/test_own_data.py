"""Arrays of any shape through a study: vectors, single channels, volumes, 16 bits and floats."""

import dataclasses
import json

import flax.linen as nn
import numpy as np
import pytest
import tiny

import lth_jax

TRAIN = dataclasses.replace(tiny.CONFIG, perturb_epochs=1, prune_epochs=1, batch_size=16)
GRID = {"methods": ["joint"], "eps": [0.03], "sparsity": [0.5], "seeds": [0, 1]}


class Net(nn.Module):
    classes: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.classes)(nn.relu(nn.Dense(8)(x.reshape(len(x), -1))))


def own(shape, dtype, classes=3, count=96, **given):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, count)
    noise = rng.uniform(0, 0.5, (count, *shape))
    images = (100 * (noise + np.reshape(labels, (-1, *(1,) * len(shape))) / classes)).astype(dtype)
    return lth_jax.Dataset.from_arrays(images, labels, validation=16, test=0.25, **given)


def study(dataset, out, **train):
    model = lth_jax.from_flax(Net(dataset.classes), np.float32(dataset.train.images[:1]))
    config = dataclasses.replace(TRAIN, **train)
    return lth_jax.Study(model, dataset, train=config, out=out, strategy="vmap")


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape, dtype",
    [((), np.float32), ((6,), np.uint16), ((4, 5), bool), ((2, 3, 4, 2), np.float16)],
    ids=str,
)
def test_a_study_takes_inputs_of_any_shape(tmp_path, shape, dtype):
    dataset = own(shape, dtype)
    result = study(dataset, tmp_path, microbatch=8).run(**GRID)
    assert [row["dataset"] for row in result.rows] == ["own"] * 2
    if dtype is not bool:  # A row of 20 bits says less.
        assert min(row["train_loss_curve"][-1] for row in result.rows) < 1.2
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["arrays_sha256"] == dataset.digest()
    again = study(own(shape, dtype), tmp_path, microbatch=8).run(**GRID)
    assert again.rows == result.rows
    with pytest.raises(lth_jax.InputError, match="arrays_sha256"):
        study(own(shape, dtype, split_seed=1), tmp_path, microbatch=8)


def test_what_does_not_fit_the_arrays_is_refused(tmp_path):
    with pytest.raises(lth_jax.InputError, match=r"^augment must be false for .* \(6,\)\.$"):
        study(own((6,), np.float32), tmp_path, augment=True)
    study(own((4, 4, 1), np.float32), tmp_path, augment=True)
    with pytest.raises(lth_jax.InputError, match=r"Conv-2 needs images \[h, w, c\], got \(6,\)"):
        lth_jax.Study("conv2", own((6,), np.float32), train=TRAIN, out=tmp_path)
    bad = own((6,), np.float32)
    bad.train.images[3] = np.nan
    with pytest.raises(lth_jax.InputError, match="train images must be finite"):
        study(bad, tmp_path)
    assert list(tmp_path.iterdir()) == []
