"""A small transformer in flax.linen: attention kernels are pruned, biases and embeddings not."""

import flax.linen as nn
import jax.numpy as jnp

import lth_jax


class Reader(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(16)(x.reshape(len(x), 8, 8))  # A row of pixels is a token.
        x = x + nn.Embed(8, 16)(jnp.arange(8))
        x = x + nn.MultiHeadDotProductAttention(num_heads=2)(nn.LayerNorm()(x))
        return nn.Dense(10)(nn.gelu(nn.Dense(32)(nn.LayerNorm()(x))).mean(1))


digits = lth_jax.datasets.load("digits", train_size=256)
model = lth_jax.from_flax(Reader(), digits.train.images[:1])
train = lth_jax.TrainConfig(perturb_epochs=1, prune_epochs=2, batch_size=64)
study = lth_jax.Study(model, digits, train=train, out="runs/transformer", keep_tickets=True)
assert "key/kernel" in study.pruned() and "embedding" in study.pruned()
result = study.run(["prune", "joint"], seeds=range(2), eps=[0.02], sparsity=[0.5])
print(result.table())
