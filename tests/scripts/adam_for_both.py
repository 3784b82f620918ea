"""Adam moves weights in the ball and scores: by a function of one's own, and by name."""

import optax

import lth_jax

if __name__ == "__main__":
    train = lth_jax.TrainConfig(
        perturb_epochs=1,
        prune_epochs=2,
        perturb_optimizer=lambda rate: optax.adam(rate, b2=0.99),
        perturb_lr=0.001,
        prune_optimizer="adam",
        prune_lr=0.01,
        prune_schedule="linear",
    )
    digits = lth_jax.datasets.load("digits", train_size=512)
    study = lth_jax.Study("lenet", digits, train=train, out="runs/adam_for_both")
    result = study.run(["prune_longer", "joint"], seeds=[0, 1], eps=[0, 0.02], sparsity=[0.5])
    print(result.table())
