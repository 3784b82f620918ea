"""Programs for devices that this machine has not: what they hold is settled by the platform."""

import collections
import dataclasses
import re
import types

import jax
import jax.numpy as jnp
import pytest
import tiny

from lth_jax import errors, models, numerics, pruners, training
from lth_jax.models import linen
from lth_jax.models.networks import conv
from lth_jax.sweep import lowering, programs
from lth_jax.training import methods, scoring

DATA = lowering.data_shapes(64, 32, (8, 8, 1))


def convolutional():
    model = linen.from_flax(conv.ConvNet(2, width=1 / 4), jax.ShapeDtypeStruct((1, 8, 8, 1), "f4"))
    return training.Problem(model, pruners.edge_popup(), tiny.CONFIG)


def exported(made, kind, platform):
    arguments = lowering.advance_arguments(made, kind, 4, DATA)
    program = jax.export.export(made.advance_program(kind), platforms=[platform])(*arguments)
    return program.mlir_module()


def exported_scoring(made, platform):
    arguments = lowering.finish_arguments(made, 4, DATA, scoring.chunk_shapes(32, (8, 8, 1)))
    return jax.export.export(made.finish_program, platforms=[platform])(*arguments).mlir_module()


def convolutions(text):
    return len(re.findall(r"stablehlo\.convolution", text))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["map", "vmap"])
def test_accelerators_get_their_own_convolutions_whoever_traces(strategy):
    made = programs.Programs(convolutional(), strategy)
    here = exported(made, methods.JOINT, "cpu")
    there = [exported(made, methods.JOINT, platform) for platform in ("cuda", "tpu")]
    # Two convolutions: each in the step (value and two gradients; XLA drops that of the first
    # layer's images) and in the validation. On a CPU the second goes by Winograd's products.
    assert [convolutions(text) for text in there] == [8, 8]
    assert convolutions(here) == 3
    assert there[0].count("stablehlo.case") == there[1].count("stablehlo.case")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [methods.PRUNE, methods.PERTURB, methods.JOINT])
def test_every_kind_of_stage_is_exported_for_accelerators(kind):
    made = programs.Programs(tiny.problem(), "vmap")
    for platform in ("cuda", "tpu"):
        assert "stablehlo.dot_general" in exported(made, kind, platform)


def of_two_functions(precision):
    """A model of the user's own that says nothing of precision, with and without flax."""

    def init(key):
        keys = jax.random.split(key)
        kernel = jax.random.normal(keys[0], (3, 3, 1, 4)) / 3
        return {"kernel": kernel, "dense": jax.random.normal(keys[1], (256, 10)) / 16}, {}

    def apply(weights, state, x, train=False):
        layout = ("NHWC", "HWIO", "NHWC")
        x = jax.lax.conv_general_dilated(
            x, weights["kernel"], (1, 1), "SAME", dimension_numbers=layout
        )
        return jnp.einsum("bi,io->bo", jax.nn.relu(x).reshape(len(x), -1), weights["dense"]), state

    config = dataclasses.replace(tiny.CONFIG, precision=precision)
    return training.Problem(models.Model(init, apply), pruners.edge_popup(), config)


def precisions(text):
    """How often a program multiplies or convolves at which precision, or by which algorithm."""
    found = collections.Counter()
    for line in text.splitlines():
        if operation := re.search(r"stablehlo\.(dot_general|convolution)", line):
            named = re.findall(r"\b(?:HIGH|HIGHEST)\b|(?<=lhs_precision_type = )\w+", line)
            found[operation[1], *(set(named) or {"DEFAULT"})] += 1
    return found


@pytest.mark.slow
@pytest.mark.parametrize("precision", numerics.PRECISIONS)
@pytest.mark.parametrize("strategy", ["hybrid", "vmap"])
def test_whatever_a_model_multiplies_has_the_precision_that_was_asked_for(strategy, precision):
    problem = of_two_functions(precision) if strategy == "vmap" else convolutional()
    problem = problem._replace(config=dataclasses.replace(problem.config, precision=precision))
    made = programs.Programs(problem, strategy)
    # XLA knows no algorithms of convolutions: its default is bfloat16 on a TPU, TF32 on a GPU.
    asked = {"highest": ("HIGHEST",) * 2, "tf32": ("HIGH",) * 2, "bf16": ("bf16", "DEFAULT")}
    dot, convolution = asked[precision]
    for platform in ("cuda", "tpu"):
        for text in (exported(made, methods.JOINT, platform), exported_scoring(made, platform)):
            assert set(precisions(text)) == {("dot_general", dot), ("convolution", convolution)}


def test_the_switch_of_jax_may_not_contradict_the_precision(monkeypatch):
    with jax.default_matmul_precision("bfloat16"):
        numerics.check_precision("highest")  # A CPU multiplies in 32 bits in any case.
        monkeypatch.setattr(jax, "local_devices", lambda: [types.SimpleNamespace(platform="gpu")])
        with pytest.raises(ValueError, match=r"^precision is 'highest', and .* is 'bfloat16'"):
            numerics.check_precision("highest")
        numerics.check_precision("bf16")
    for said, precision in (("float32", "highest"), ("tensorfloat32", "tf32"), (None, "tf32")):
        with jax.default_matmul_precision(said):
            numerics.check_precision(precision)


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision must be one of highest, tf32, bf16"):
        dataclasses.replace(tiny.CONFIG, precision="float32")


def test_the_devices_decide_the_strategy_that_is_not_named():
    assert programs.strategy_for("auto", "cpu") == "map"
    assert programs.strategy_for("auto", "tpu") == programs.strategy_for("auto", "gpu") == "hybrid"
    assert programs.strategy_for("map", "tpu") == "map"


@pytest.mark.slow
def test_an_accelerator_is_given_the_weights_that_the_host_draws(monkeypatch):
    made = programs.Programs(tiny.problem(), "map")
    sizes = training.lane_shapes(made.problem)
    seeds = [training.lane_task(made.problem, sizes, seed, 0.0, 0.5) for seed in range(3)]
    task = made.tasks(seeds, seeds[0], 2 * made.devices)
    mapped = made.initial(task)
    drawn = made.draw_on_host(task)
    tiny.assert_same_bits(drawn, mapped)
    monkeypatch.setattr(made, "platform", "tpu")
    marked = drawn._replace(scores=drawn.weights)  # To see where they come from.
    monkeypatch.setattr(made, "draw_on_host", lambda task: marked)
    tiny.assert_same_bits(made.initial(task), marked)


def test_a_host_without_its_cpu_is_told(monkeypatch):
    def local_devices(backend=None):
        raise RuntimeError(f"Unknown backend {backend}")

    monkeypatch.setattr(jax, "local_devices", local_devices)
    with pytest.raises(errors.RunError, match="JAX_PLATFORMS"):
        numerics.host()


def test_shapes_are_those_of_what_a_runner_passes():
    data, _ = training.lane_data(tiny.dataset())
    n, held_out = len(data.labels), len(tiny.dataset().validation.labels)
    found = lowering.data_shapes(n, held_out, data.images.shape[1:])
    same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), found, data)
    assert all(jax.tree.leaves(same))
    made = programs.Programs(tiny.problem(), "map")
    with pytest.raises(ValueError, match="multiple of"):
        lowering.advance_arguments(made, methods.PRUNE, made.devices + 1, found)


def test_a_microbatch_may_be_left_to_the_platform():
    chosen = dataclasses.replace(tiny.CONFIG, microbatch=-1)
    assert chosen.on("cpu") == dataclasses.replace(tiny.CONFIG, microbatch=16)
    assert chosen.on("gpu") == chosen.on("tpu") == tiny.CONFIG
    odd = dataclasses.replace(chosen, batch_size=20)
    assert odd.on("cpu").microbatch == 0  # 16 does not divide it.
    last = dataclasses.replace(chosen, last_batch=True)
    assert last.on("cpu").microbatch == 0
    own = dataclasses.replace(tiny.CONFIG, microbatch=8)
    assert own.on("gpu") is own.on("cpu") is own
    assert programs.Programs(tiny.problem(chosen), "map").problem.config.microbatch == 16
