"""Does ε help a pruned convolutional net? (Conv-2 to Conv-8, ResNet-20 and -18, CIFAR-10)

    python -m experiments.cifar --eps=0.01
    python -m experiments.cifar --preset=edge_popup --model=conv4   # 100 epochs: for an accelerator
    python -m experiments.cifar --preset=edge_popup_resnet18        # the same, ResNet-18

The defaults (Conv-2, 10,000 training images, 2 seeds, 2 + 2 epochs, joint against pruning alone for
as many steps) are for a first result on a CPU: about 10 minutes, reckoned from the run below. The
data set is downloaded, or read from --data_dir. On a CPU gradients are of 16 images at a time, as
is faster there; a ResNet then also normalizes 16 at a time, so give it --microbatch=0, or a number
of images that you mean.

    python -m experiments.cifar --data_dir=FOLDER --method=prune,joint --eps=0,0.01
    joint 52.29 ± 6.42 % at ε = 0.01 vs 47.71 ± 5.08 % at 0 (n = 2, paired p = 0.015), prune
    41.56 ± 2.92 %; JPEG copies of CIFAR-10; 9.4 minutes on 2 CPU cores, commit a06a0ed

Presets, the recipes of Ramanujan et al. (2020) with 5,000 images held out, 2 seeds, sparsity .5,
and `prune` alone (--method and --eps add others, --perturb_epochs what they need):
  edge_popup           Conv-2 to Conv-8: scores for 100 epochs, batch 128, rate .1 with a cosine,
                       momentum .9, decay 1e-4, crops and flips, signed constants
  edge_popup_resnet18  the same, but batch 256 and decay 5e-4
Neither was run to its end; on a CPU --microbatch=16 is faster for the first.
"""

import dataclasses
import sys
from typing import Any

from experiments import cli
from experiments.cli import image_study
from lth_jax import training

CONFIG = dataclasses.replace(
    image_study.Config(),
    dataset="cifar10",
    model="conv2",
    method=("prune_longer", "joint"),
    eps=(0.0, 0.01),
    sparsity=(0.5,),
    seeds=2,
    train_size=10_000,
    train=training.TrainConfig(perturb_epochs=2, prune_epochs=2, microbatch=-1),
)
_EDGE_POPUP: dict[str, Any] = {
    "method": ("prune",),
    "train_size": 0,
    "perturb_epochs": 0,
    "prune_epochs": 100,
    "microbatch": 0,
    "augment": True,
    "init": "signed_constant",
}
PRESETS = {
    "edge_popup": _EDGE_POPUP,
    "edge_popup_resnet18": {
        **_EDGE_POPUP,
        "model": "resnet18",
        "batch_size": 256,
        "prune_decay": 5e-4,
    },
}


def run(config: image_study.Config) -> list[dict]:
    """Runs the study; see cli.image_study.run."""
    return image_study.run(config, "cifar")


if __name__ == "__main__":
    sys.exit(cli.main(run, CONFIG, __doc__, presets=PRESETS))
