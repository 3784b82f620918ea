"""Float images of 100 classes, each a noisy copy of its class's picture; 100 for testing."""

import flax.linen as nn
import numpy as np

import lth_jax


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(8, (3, 3))(x))
        return nn.Dense(100)(nn.relu(nn.Dense(64)(x.reshape(len(x), -1))))


if __name__ == "__main__":
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 100, 2000)
    images = np.float32(rng.random((100, 8, 8, 3))[labels] + 0.1 * rng.random((2000, 8, 8, 3)))
    dataset = lth_jax.Dataset.from_arrays(images, labels, validation=0.1, test=100)
    train = lth_jax.TrainConfig(perturb_epochs=2, prune_epochs=2, batch_size=50, perturb_lr=0.05)
    model = lth_jax.from_flax(Net(), images[:1])
    study = lth_jax.Study(model, dataset, train=train, out="runs/float_images")
    print(study.run(["joint"], seeds=[0, 1], eps=[0, 0.05], sparsity=[0.5]).table())
