"""Does a larger ε help edge-popup? (LeNet-300-100, MNIST or Fashion-MNIST)

python -m experiments.mnist --dataset=fashion_mnist --data_dir=FOLDER --eps=0,0.02 --seeds=10
"""

import dataclasses
import sys

from experiments import _cli, _sweep

CONFIG = dataclasses.replace(_sweep.Config(), dataset="mnist", eps=(0.0, 0.005, 0.02), seeds=5)


def run(config: _sweep.Config) -> list[dict]:
    """Runs the study; see _sweep.run."""
    return _sweep.run(config, "mnist")


if __name__ == "__main__":
    sys.exit(_cli.main(run, CONFIG, __doc__))
