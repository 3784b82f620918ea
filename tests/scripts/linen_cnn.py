"""A convolutional net in flax.linen, with BatchNorm and Dropout."""

import flax.linen as nn

import lth_jax


class Net(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Conv(8, (3, 3))(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        x = nn.avg_pool(x, (2, 2), (2, 2)).reshape(len(x), -1)
        return nn.Dense(10)(nn.Dropout(0.2, deterministic=not train)(x))


digits = lth_jax.datasets.load("digits", train_size=256)
model = lth_jax.from_flax(Net(), digits.train.images[:1])
train = lth_jax.TrainConfig(perturb_epochs=1, prune_epochs=2, batch_size=64)
study = lth_jax.Study(model, digits, train=train, out="runs/linen_cnn")
result = study.run(["prune", "joint"], seeds=range(2), eps=[0.02], sparsity=[0.5])
print(result.table())
