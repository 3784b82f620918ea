"""Does ε help a pruned net, and does it still when compute is equal? (LeNet-300-100, digits)

    python -m experiments.digits
    joint at ε = 0.05 against prune_longer, both 20 epochs, 300 test images, n = 5:
    sparsity 0.5: 96.00 ± 0.83 vs 94.33 ± 1.24 % (paired p = 0.005)
    sparsity 0.9: 87.20 ± 3.41 vs 82.40 ± 2.29 % (paired p = 0.014); 15 s on 2 CPU cores, 08fd98b

Three methods, three radii, two sparsities and five seeds; no data is needed.
"""

import dataclasses
import sys

from experiments import cli
from experiments.cli import image_study
from lth_jax import training

CONFIG = dataclasses.replace(
    image_study.Config(),
    dataset="digits",
    method=("prune_longer", "perturb_then_prune", "joint"),
    eps=(0.0, 0.02, 0.05),
    sparsity=(0.5, 0.9),
    seeds=5,
    train=training.TrainConfig(perturb_epochs=8, prune_epochs=12),
)


def run(config: image_study.Config) -> list[dict]:
    """Runs the study; see cli.image_study.run."""
    return image_study.run(config, "digits")


if __name__ == "__main__":
    sys.exit(cli.main(run, CONFIG, __doc__))
