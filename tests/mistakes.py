"""A user's script with nine mistakes, one on each marked line; test_types.py has mypy look."""

import jax

import lth_jax


def train(weights: dict[str, jax.Array], x: jax.Array, key: jax.Array) -> None:
    """Everything here runs into trouble."""
    model = lth_jax.build_model("lenet", (8, 8, 1), 10)
    pruner = lth_jax.edge_popup(scope="layer")  # mistake: scope
    lth_jax.keep_in_ball(0.1, norm="l3")  # mistake: norm
    lth_jax.datasets.load("cifar100")  # mistake: data set
    study = lth_jax.Study("lenet", "digits")
    study.run(["pruning"], seeds=[0])  # mistake: method
    model.apply(x, weights, {})  # mistake: swapped arguments
    pruner.subnetwork(key, weights, weights)  # mistake: missing argument
    lth_jax.TrainConfig(epochs=3)  # mistake: field
    lth_jax.keep_in_ball("0.1")  # mistake: a string for eps


def tell(event: lth_jax.Progress) -> float:
    """Reads what is not there."""
    return event.elapsed  # mistake: attribute
