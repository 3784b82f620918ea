"""Programs compiled for accelerators that nobody has here, and what is counted in them."""

import json
import os
import pathlib
import subprocess
import sys

import pytest
import tiny

from experiments import cli
from experiments.aot import command, counts, ideal

TEXT = """\
HloModule small

%fused_computation (p: f32[4]) -> f32[4] {
  %p = f32[4]{0} parameter(0)
  ROOT %twice = f32[4]{0} add(%p, %p)
}

%search (q: f32[4]) -> f32[4] {
  %q = f32[4]{0} parameter(0)
  ROOT %again = f32[4]{0} negate(%q), backend_config={"estimated_cycles":"7"}
}

%more (q.2: f32[4]) -> pred[] {
  %q.2 = f32[4]{0} parameter(0)
  ROOT %true = pred[] constant(true)
}

%cheap (c: f32[4]) -> f32[4] {
  ROOT %c = f32[4]{0} parameter(0)
}

%dear (d: f32[4]) -> f32[4] {
  %d = f32[4]{0} parameter(0)
  ROOT %whole = f32[4]{0} exponential(%d), backend_config={"estimated_cycles":"1000"}
}

%step (s: f32[4]) -> f32[4] {
  %s = f32[4]{0} parameter(0)
  %f = f32[4]{0} fusion(%s), kind=kLoop, calls=%fused_computation, backend_config={"estimated_cycles":"20"}
  %found = f32[4]{0} while(%f), condition=%more, body=%search
  %thrice = f32[4]{0} while(%found), condition=%more, body=%search, backend_config={"known_trip_count":{"n":"3"}}
  ROOT %end = f32[4]{0} conditional(%s, %thrice, %thrice), branch_computations={%dear, %cheap}
}

%lane (l: f32[4]) -> f32[4] {
  %l = f32[4]{0} parameter(0)
  ROOT %train = f32[4]{0} while(%l), condition=%more, body=%step
}

ENTRY %main (x: f32[4]) -> f32[4] {
  %x = f32[4]{0} parameter(0)
  %summed = f32[4]{0} all-reduce(%x), to_apply=%cheap
  ROOT %lanes = f32[4]{0} while(%summed), condition=%more, body=%lane, backend_config={"known_trip_count":{"n":"5"}}
}
"""  # noqa: E501


@pytest.mark.parametrize("said", [True, False])
def test_a_step_is_counted_with_its_loops_and_without_the_dear_branch(said):
    # Five lanes, one after the other: on a TPU the text does not say how many.
    text = TEXT if said else TEXT.replace(', backend_config={"known_trip_count":{"n":"5"}}', "")
    found = counts.of(text, mapped=5)
    # Each step is a fusion and three known passes; a fourth pass is of unknown number.
    assert found.collectives == 1
    assert found.cycles == 5 * (20 + 3 * 7) and found.search_cycles == 5 * 7
    assert found.kernels == 5 * 4 and found.dynamic_loops == 5
    assert found.bytes == 5 * 4 * 2 * 16  # each reads 16 bytes and writes 16
    assert counts.of(text.replace("estimated", "other"), 5).cycles is None


def test_a_loop_is_known_by_the_number_its_counter_is_compared_with():
    # As a TPU's text has it: nothing on the line of the loop.
    compared = """\
  %q.2 = f32[4]{0} parameter(0)
  %limit = s32[]{:T(128)} constant(6)
  ROOT %true = pred[] compare(%q.2, %limit), direction=LT
"""
    old = TEXT[TEXT.index("  %q.2 =") : TEXT.index("  ROOT %true")]
    text = TEXT.replace(old + "  ROOT %true = pred[] constant(true)\n", compared)
    assert counts.of(TEXT).dynamic_loops == 1 and counts.of(TEXT).cycles == 20 + 3 * 7
    found = counts.of(text)
    assert found.dynamic_loops == 0 and found.cycles == 20 + (3 + 6) * 7


ROWS = """\
HloModule rows

%taken (p: f32[100,4], n: s32[]) -> f32[4] {
  %p = f32[100,4]{1,0} parameter(0)
  %n = s32[] parameter(1)
  %row = f32[1,4]{1,0} dynamic-slice(%p, %n, %n), dynamic_slice_sizes={1,4}
  ROOT %flat = f32[4]{0} bitcast(%row)
}

%replaced (p.2: f32[100,4], row.2: f32[4], n.2: s32[]) -> f32[100,4] {
  %p.2 = f32[100,4]{1,0} parameter(0)
  %row.2 = f32[4]{0} parameter(1)
  %n.2 = s32[] parameter(2)
  %one = f32[1,4]{1,0} bitcast(%row.2)
  ROOT %all = f32[100,4]{1,0} dynamic-update-slice(%p.2, %one, %n.2, %n.2)
}

ENTRY %main (x: f32[100,4], k: s32[]) -> f32[100,4] {
  %x = f32[100,4]{1,0} parameter(0)
  %k = s32[] parameter(1)
  %y = f32[4]{0} fusion(%x, %k), kind=kLoop, calls=%taken
  ROOT %z = f32[100,4]{1,0} fusion(%x, %y, %k), kind=kLoop, calls=%replaced
}
"""


def test_of_an_array_whose_rows_are_taken_or_replaced_only_those_are_counted():
    # A row of 16 bytes and its number are read and a row written, twice; the array has 1,600 bytes.
    assert counts.of(ROWS).bytes == 2 * (16 + 4 + 16)


def test_of_two_loops_the_longer_one_is_the_training():
    assert counts.of(TEXT).kernels == 4
    with pytest.raises(ValueError, match="ENTRY"):
        counts.of("HloModule nothing")


def test_the_ideal_is_that_of_products_by_hand():
    # Batches of 32, 64 to 16 to 10, forward and twice backward, a product and a sum each; beside
    # them a ReLU of 32 × 16 entries.
    products, relu = 2 * 32 * (64 * 16 + 16 * 10), 32 * 16
    assert ideal.step_flops(tiny.problem(), (8, 8, 1)) == 3 * (products + relu)


@pytest.mark.parametrize(
    "flag, said",
    [
        ("--target=gpu", "--target=gpu"),
        ("--model=vgg", "--model must be of"),
        ("--kind=dense", "--kind must be of prune, perturb, joint"),
        ("--strategy=auto", "--strategy must be of map, vmap, hybrid"),
        ("--lanes=0", "--lanes and --batch_size must be at least 1"),
        ("--width=nan", "--width must be positive"),
        ("--out=/nowhere/at/all/aot.json", "no such folder"),
    ],
)
def test_bad_input_is_one_line(flag, said, capsys):
    assert cli.main(command.run, command.Config(), "", [flag, "--nocompile_cache"]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("target", ["tpu-v5e-4", "h100"])
def test_small_programs_are_compiled_where_the_compiler_is(target, tmp_path):
    argv = ["-m", "experiments.aot", f"--target={target}", "--width=0.05", "--lanes=4"]
    argv += ["--kind=prune", "--strategy=vmap", f"--out={tmp_path / 'aot.json'}"]
    root = pathlib.Path(command.__file__).parents[2]
    quiet = {k: v for k, v in os.environ.items() if not k.startswith(("JAX", "XLA"))}
    done = subprocess.run(
        [sys.executable, *argv], cwd=root, env=quiet, capture_output=True, text=True
    )
    if done.returncode == 2 and "no compiler for" in done.stderr:
        pytest.skip(f"no compiler for {target} is installed")
    assert done.returncode == 0, done.stderr
    (made,) = json.loads((tmp_path / "aot.json").read_text())
    assert made["collectives"] == 0 and made["donated"] > 0.99
    assert made["kernels"] > 0 and made["dynamic_loops"] == 0 and made["bytes"] > 0
