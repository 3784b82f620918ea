r"""Does a larger ε help edge-popup? (LeNet-300-100, MNIST or Fashion-MNIST)

    python -m experiments.mnist --dataset=fashion_mnist --data_dir=FOLDER --eps=0,0.02 --seeds=10
    python -m experiments.mnist --dataset=fashion_mnist --data_dir=FOLDER --eps=0,0.005,0.02 \
        --method=perturb_then_prune,random_then_prune
    perturb_then_prune 86.17 ± 0.22 % at ε = 0.02 vs 84.99 ± 0.17 % at 0 (n = 5, paired p = 1e-4),
    random_then_prune 85.11 ± 0.12 % (p = 0.10); 2.4 minutes on 2 CPU cores, commit 08fd98b
    With equal gradient steps the first is no better than pruning alone; joint is: see the README.

    python -m experiments.mnist --preset=fair         # every method and baseline, 12 seeds
    python -m experiments.mnist --preset=paper        # tables 1 to 3 of the paper, as its text says
    python -m experiments.mnist --preset=paper_code   # the same, as the published code does
    python -m experiments.mnist --preset=supsup       # beside other papers' numbers, see below

Presets:
  fair        LeNet, Kaiming normal; eps counts standard deviations of each tensor at init; weights
              are projected after every step; random_then_prune shifts every weight by itself;
              6,000 images are held out; beside the paper's two orders joint, the random mask, and
              pruning for P and for as many epochs as the others
  paper       the net of 4,496,420 weights, U[-1/2, 1/2], batch 64, absolute eps, one seed, both
              weight decays 5e-4; E = 100 epochs at .03, a tenth of it from the 50th on, and P = 50
              at .1 with a cosine; projected after every step, every weight shifted by itself.
              Nothing is held out: the test split is scored after every epoch and chooses nothing
  paper_code  like paper, but: projected once per epoch; one shift per tensor, within half of eps;
              an epoch has 938 steps, the last of 32 images; the cosine goes down per epoch;
              at eps 0 there is no stage 1; seed 1 (of our generator, not of torch's)
  supsup      edge-popup for one epoch on LeNet of signed constants, sparsity .5, 5 seeds, nothing
              held out; beside the 92.37 % (91.91 to 92.92, 5 permutations of the pixels, which to
              a dense net of random weights are all alike) of SupSup's notebook (Wortsman et al.
              2020): 784-300-300-100, weights whose score is above 0, RMSprop at 1e-4
  signed_supermask
              masks in {-1, 0, 1} for 100 epochs, LeNet of signed constants with 3.77 % kept,
              shared out by ERK, rate 1; beside the 97.48 % of Koster et al. (2022), who have ELUs
              and thresholds
Table 1 is --method=perturb_then_prune, table 2 random_then_prune, table 3 prune_then_perturb.
"""

import dataclasses
import sys

from experiments import cli
from experiments.cli import image_study
from experiments.published import presets

CONFIG = dataclasses.replace(
    image_study.Config(),
    dataset="mnist",
    method=("prune_longer", "perturb_then_prune", "joint"),
    eps=(0.0, 0.005, 0.02),
    seeds=5,
)


def run(config: image_study.Config) -> list[dict]:
    """Runs the study; see cli.image_study.run."""
    return image_study.run(config, "mnist")


if __name__ == "__main__":
    sys.exit(cli.main(run, CONFIG, __doc__, presets=presets.PRESETS | presets.ANCHORS))
