"""A module of flax.nnx, with BatchNorm and Dropout."""

from flax import nnx

import lth_jax


class Net(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(1, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.2, rngs=rngs)
        self.dense = nnx.Linear(8 * 8 * 8, 10, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.norm(self.conv(x))).reshape(len(x), -1)
        return self.dense(self.dropout(x))


train = lth_jax.TrainConfig(perturb_epochs=1, prune_epochs=2, batch_size=128)
study = lth_jax.Study(lth_jax.from_nnx(Net), "digits", train=train, out="runs/nnx")
result = study.run(["prune", "joint"], seeds=range(2), eps=[0.02], sparsity=[0.5])
print(result.table())
