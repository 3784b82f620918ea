"""Programs for devices that this machine has not: what they hold is settled by the platform."""

import re

import jax
import pytest
import tiny

from lth_jax import pruners, training
from lth_jax.models import conv, linen
from lth_jax.sweep import lowering, programs
from lth_jax.training import methods

DATA = lowering.data_shapes(64, 32, (8, 8, 1))


def convolutional():
    model = linen.from_flax(conv.ConvNet(2, width=1 / 4), jax.ShapeDtypeStruct((1, 8, 8, 1), "f4"))
    return training.Problem(model, pruners.edge_popup(), tiny.CONFIG)


def exported(made, kind, platform):
    arguments = lowering.advance_arguments(made, kind, 4, DATA)
    program = jax.export.export(made.advance_program(kind), platforms=[platform])(*arguments)
    return program.mlir_module()


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


def test_the_devices_decide_the_strategy_that_is_not_named():
    assert programs.strategy_for("auto", "cpu") == "map"
    assert programs.strategy_for("auto", "tpu") == programs.strategy_for("auto", "gpu") == "vmap"
    assert programs.strategy_for("map", "tpu") == "map"


def test_shapes_are_those_of_what_a_runner_passes():
    data, _ = training.lane_data(tiny.dataset())
    n, held_out = len(data.labels), len(tiny.dataset().validation.labels)
    found = lowering.data_shapes(n, held_out, data.images.shape[1:])
    same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), found, data)
    assert all(jax.tree.leaves(same))
    made = programs.Programs(tiny.problem(), "map")
    with pytest.raises(ValueError, match="multiple of"):
        lowering.advance_arguments(made, methods.PRUNE, made.devices + 1, found)
