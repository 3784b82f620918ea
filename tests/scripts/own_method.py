"""A method of one's own: perturb, prune, then move what is left in the same ball once more."""

import lth_jax
from lth_jax.training import methods

if __name__ == "__main__":
    thrice = lth_jax.Method(
        "perturb_prune_perturb",
        (
            lth_jax.Stage(methods.PERTURB, perturb_epochs=True, prune_epochs=False),
            lth_jax.Stage(methods.PRUNE, perturb_epochs=False, prune_epochs=True),
            lth_jax.Stage(methods.PERTURB_MASKED, perturb_epochs=True, prune_epochs=False),
        ),
    )
    train = lth_jax.TrainConfig(perturb_epochs=1, prune_epochs=2)
    study = lth_jax.Study("lenet", "digits", train=train, out="runs/own_method")
    grid = {"eps": [0, 0.02], "sparsity": [0.5], "seeds": [0, 1]}
    result = study.run(["perturb_then_prune", thrice], **grid)
    assert all(row["ball_fraction"] <= 1 for row in result.rows)
    print(result.table())
