"""The networks that have names, as flax.linen modules: dense, convolutional, residual."""
