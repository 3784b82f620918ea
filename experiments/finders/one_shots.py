"""SNIP, GraSP and SynFlow by name: they need the network, two of them a batch of the data."""

from collections.abc import Callable
from typing import Any

from experiments.cli import image_flags
from lth_jax import datasets, models, pruners
from lth_jax.pruners import one_shot

NAMES = ("snip", "grasp", "synflow")
BATCH = 256  # images, the first of the training split


def register(config: image_flags.Config) -> None:
    """Makes the three known by name for the data and the network of a study.

    Args:
        config: Of the study; SynFlow's rounds lead to its largest sparsity.

    Raises:
        InputError: If the data cannot be read.
    """
    data = datasets.load(
        config.dataset, config.data_dir, config.train_size or None, offline=config.offline
    )
    shape = data.train.images.shape[1:]
    model = models.build_model(config.model, shape, data.classes, config.init, config.width)
    count = min(BATCH, len(data.train.labels))
    images = datasets.normalize(data.train.images[:count], data.mean, data.std)
    batch = one_shot.Batch(images, data.train.labels[:count])
    sparsity = max(each for each in config.sparsity if 0 < each < 1)
    made: dict[str, Callable[..., pruners.Pruner]] = {
        "snip": lambda **given: one_shot.snip(model, batch, **given),
        "grasp": lambda **given: one_shot.grasp(model, batch, **given),
        "synflow": lambda **given: one_shot.synflow(model, shape, sparsity, **given),
    }
    for name, make in made.items():
        if name in pruners.PRUNERS:
            pruners.PRUNERS.remove(name)
        pruners.register(name, _taking(make))


def _taking(make: Callable[..., pruners.Pruner]) -> Callable[..., Any]:
    """A builder with the arguments that a one-shot pruner has."""

    def build(scope: Any, prunable: Any, kernel_axes: Any) -> pruners.Pruner:
        return make(scope=scope, prunable=prunable, kernel_axes=kernel_axes)

    return build
