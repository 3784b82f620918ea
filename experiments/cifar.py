"""Does ε help a pruned convolutional net? (Conv-2 to Conv-8, CIFAR-10)

    python -m experiments.cifar --eps=0.01
    python -m experiments.cifar --preset=edge_popup --model=conv4   # 100 epochs: for an accelerator

The defaults (Conv-2, 10,000 training images, 2 seeds, 2 + 2 epochs, joint against pruning alone for
as many steps) are for a first result on a CPU: about 10 minutes, reckoned from the run below. The
data set is downloaded, or read from --data_dir.

    python -m experiments.cifar --data_dir=FOLDER --method=prune,joint --eps=0,0.01
    joint 52.29 ± 6.42 % at ε = 0.01 vs 47.71 ± 5.08 % at 0 (n = 2, paired p = 0.015), prune
    41.56 ± 2.92 %; JPEG copies of CIFAR-10; 9.4 minutes on 2 CPU cores, commit a06a0ed
"""

import dataclasses
import sys

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
    train=training.TrainConfig(perturb_epochs=2, prune_epochs=2, microbatch=16),
)
# Ramanujan et al. 2020, their CIFAR recipe for Conv-k: batch 128, cosine, 100 epochs, augmented.
PRESETS = {
    "edge_popup": {
        "method": ("prune",),
        "train_size": 0,
        "perturb_epochs": 0,
        "prune_epochs": 100,
        "augment": True,
        "init": "signed_constant",
    }
}


def run(config: image_study.Config) -> list[dict]:
    """Runs the study; see cli.image_study.run."""
    return image_study.run(config, "cifar")


if __name__ == "__main__":
    sys.exit(cli.main(run, CONFIG, __doc__, presets=PRESETS))
