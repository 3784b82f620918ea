"""ResNet-20 and ResNet-18: hand counts, logits by NumPy, and a training step of each by name."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lth_jax
from lth_jax import datasets, models, training
from lth_jax.models.networks import resnet
from lth_jax.training import methods

NAMES = ("resnet20", "resnet18")
COUNTS = {"resnet20": 268_336, "resnet18": 11_164_352}


def shapes(name, width=1.0, shape=(32, 32, 3), classes=10):
    model = models.build_model(name, shape, classes, width=width)
    return jax.eval_shape(model.init, jax.random.key(0))


def by_hand(channels, blocks, projects, classes=10):
    """Parameters of the net: each convolution's places times channels in times channels out."""
    total, before = 9 * 3 * channels[0], channels[0]
    for width in channels:
        for _ in range(blocks):
            total += 9 * before * width + 9 * width * width
            total += before * width if projects and before != width else 0
            before = width
    return total + before * classes


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_those_of_a_hand_count(name):
    weights, state = shapes(name)
    assert sum(leaf.size for leaf in jax.tree.leaves(weights)) == COUNTS[name]
    known = {"resnet20": ((16, 32, 64), 3, False), "resnet18": ((64, 128, 256, 512), 2, True)}
    assert by_hand(*known[name]) == COUNTS[name]
    # With the published nets' scales and biases, two a channel and one a class, it is theirs.
    means = jax.tree.leaves(state)
    assert set(state) == {"batch_stats"} and all(leaf.ndim == 1 for leaf in means)
    published = {"resnet20": 269_722, "resnet18": 11_173_962}
    assert COUNTS[name] + sum(leaf.size for leaf in means) + 10 == published[name]
    kernels = {path[-1].key for path, _ in jax.tree_util.tree_leaves_with_path(weights)}
    assert kernels == {"kernel"}


def test_width_scales_every_layer_but_the_last():
    weights, _ = shapes("resnet18", width=0.1, classes=7)
    assert weights["Conv_0"]["kernel"].shape == (3, 3, 3, 6)
    assert weights["Block_2"]["Conv_0"]["kernel"].shape == (3, 3, 6, 13)
    assert weights["Block_2"]["Conv_2"]["kernel"].shape == (1, 1, 6, 13)
    assert weights["Dense_0"]["kernel"].shape == (51, 7)
    weights, _ = shapes("resnet20", width=1e-9)
    assert weights["Block_8"]["Conv_1"]["kernel"].shape == (3, 3, 1, 1)


@pytest.mark.parametrize(("shape", "width"), [((8, 8), 1.0), ((8, 8, 3), -1.0)])
def test_what_is_no_image_or_no_width_is_a_value_error(shape, width):
    module = resnet.resnet20(width)
    with pytest.raises(ValueError, match="must be positive|needs images"):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *shape)))


def convolve(x, kernel, stride):
    """Padded by half the window; float64."""
    window = len(kernel)
    x = np.pad(x, ((0, 0), *2 * ((window // 2,) * 2,), (0, 0)))
    rows, columns = (-(-(size - window + 1) // stride) for size in x.shape[1:3])
    total = np.zeros((len(x), rows, columns, kernel.shape[3]))
    for i in range(window):
        for j in range(window):
            part = x[:, i : i + stride * rows : stride, j : j + stride * columns : stride]
            total += part[:, :rows, :columns] @ np.float64(kernel[i, j])
    return total


def normalize(x, state):
    if state is None:  # In training: by the batch itself.
        return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)
    return (x - np.float64(state["mean"])) / np.sqrt(np.float64(state["var"]) + 1e-5)


def by_numpy(weights, state, x, blocks):
    """Logits; `state` None normalizes by the batch."""

    def layer(x, number, stride, *path):
        kernel, own = weights, state
        for name in path:
            kernel, own = kernel[name], own and own[name]
        own = own and own[f"BatchNorm_{number}"]
        return normalize(convolve(x, kernel[f"Conv_{number}"]["kernel"], stride), own)

    x = np.maximum(layer(x, 0, 1), 0)
    for number in range(sum(name.startswith("Block") for name in weights)):
        name = f"Block_{number}"
        stride = 2 if number and number % blocks == 0 else 1
        y = layer(np.maximum(layer(x, 0, stride, name), 0), 1, 1, name)
        if "Conv_2" in weights[name]:
            x = layer(x, 2, stride, name)
        elif stride == 2:
            x, more = x[:, ::2, ::2], y.shape[3] - x.shape[3]
            x = np.pad(x, (*3 * ((0, 0),), (more // 2, more - more // 2)))
        x = np.maximum(x + y, 0)
    return x.mean((1, 2)) @ np.float64(weights["Dense_0"]["kernel"])


@functools.cache
def small(name, width):
    return models.build_model(name, (8, 8, 3), 10, width=width)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width", "blocks"), [("resnet20", 0.2, 3), ("resnet18", 0.05, 2)])
def test_logits_are_those_of_numpy_in_training_and_before_it(name, width, blocks, key):
    model = small(name, width)
    weights, state = jax.device_get(jax.jit(model.init)(key))
    draw = np.random.default_rng(0)
    # Means and variances of no training, so that none of them is used for another.
    state = jax.tree.map(lambda leaf: leaf + draw.uniform(0, 0.3, leaf.shape), state)
    x = draw.normal(size=(4, 8, 8, 3)).astype(np.float32)

    @jax.jit
    def both(weights, state, x):
        logits = [model.apply(weights, state, x, train=train)[0] for train in (False, True)]
        return logits, model.batch_state(weights, state, x)

    found, of_one = both(weights, state, x)
    for logits, own in zip(found, (state["batch_stats"], None), strict=True):
        expected = by_numpy(weights, own, np.float64(x), blocks)
        # Twenty layers in float32, each normalized, so that rounding is not multiplied.
        np.testing.assert_allclose(logits, expected, atol=2e-3 * np.abs(expected).max())
    first = convolve(np.float64(x), weights["Conv_0"]["kernel"], 1)
    own = of_one["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(own["mean"], first.mean((0, 1, 2)), atol=1e-4)
    np.testing.assert_allclose(own["var"], first.var((0, 1, 2)), rtol=1e-4)
    # Nor do the blocks' statistics have a past.
    other = jax.tree.map(lambda leaf: leaf + 7, state)
    again = both(weights, other, x)[1]
    jax.tree.map(np.testing.assert_array_equal, again, of_one)


@functools.cache
def pictures():
    """Sixteen images of noise to train with; the two classes differ in their mean."""
    draw = np.random.default_rng(0)
    labels = np.arange(24) % 2
    images = (draw.normal(size=(24, 16, 16, 3)) + labels[:, None, None, None]).astype(np.float32)
    return datasets.Dataset.from_arrays(images, labels, validation=4, test=4)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "width"), [("resnet20", 1 / 4), ("resnet18", 1 / 16)])
def test_a_training_step_of_each(name, width):
    # Four channels first: fewer may all be dead.
    model = models.build_model(name, (16, 16, 3), 2, "signed_constant", width)
    pruner = lth_jax.edge_popup(kernel_axes=model.kernel_axes)
    config = training.TrainConfig(perturb_epochs=1, prune_epochs=1, batch_size=8)
    problem = training.Problem(model, pruner, config)
    task = training.lane_task(problem, training.lane_shapes(problem), 0, 0.01, 0.5)
    task = task._replace(key=jax.random.key(task.key))
    arrays, _ = jax.device_put(training.lane_data(pictures()))

    @jax.jit
    def run(task):
        origin = training.initial(problem, task.key)
        begin = (origin.weights, origin.scores)
        start = training.start(problem, methods.JOINT, task, begin, origin)
        return origin, training.advance(problem, methods.JOINT, start, task, arrays, 0, 1, 2)

    origin, state = jax.device_get(run(task))
    assert np.isfinite(state.losses[0]) and state.diverged == -1
    mask = state.pruner_state.mask
    assert jax.tree.map(np.sum, mask) == jax.tree.map(int, task.kept)
    for moved, begun in ((state.weights, origin.weights), (state.scores, origin.scores)):
        differ = jax.tree.map(lambda a, b: bool(np.any(a != b)), moved, begun)
        assert all(jax.tree.leaves(differ)), differ
    assert lth_jax.displacement(origin.weights, state.weights) <= 0.01
    # A step leaves .9 of the variances there were, and adds a tenth of the batch's.
    left = [leaf for leaf in jax.tree.leaves(state.model_state) if leaf.min() > 0.5]
    assert left and all(np.all(leaf >= np.float32(0.9)) for leaf in left)
