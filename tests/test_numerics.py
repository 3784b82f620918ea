"""What changes numbers beside settings: one kind of keys, and switches of jax on record."""

import json

import jax
import numpy as np
import pytest
import small_study
import test_study

from lth_jax import errors, numerics, runs

SWITCHES = {
    "threefry_partitionable": lambda: jax.threefry_partitionable(False),
    "matmul_precision": lambda: jax.default_matmul_precision("highest"),
    "x64": lambda: jax.enable_x64(True),
}


@pytest.mark.parametrize("default", ["rbg", "unsafe_rbg"])
def test_a_seed_is_the_same_key_whatever_the_default_implementation(default):
    expected = jax.random.normal(jax.random.key(3), (4,))
    with jax.default_prng_impl(default):
        assert not np.array_equal(jax.random.normal(jax.random.key(3), (4,)), expected)
        assert np.array_equal(jax.random.normal(numerics.key(3), (4,)), expected)


@pytest.mark.slow
def test_rows_do_not_depend_on_the_default_implementation(tmp_path):
    def rows(out):
        result = test_study.own_study(out).run(["joint"], [0], [0.03], [0.5])
        return [{n: v for n, v in row.items() if n not in small_study.ASIDE} for row in result.rows]

    with jax.default_prng_impl("rbg"):
        other = rows(tmp_path / "other")
    assert other == rows(tmp_path / "usual")


@pytest.mark.parametrize("name", SWITCHES)
@pytest.mark.parametrize("said", [True, False])
def test_a_folder_refuses_other_switches_of_jax(tmp_path, name, said):
    runs.Folder(tmp_path, runs.environment())
    if not said:  # As folders were made that say nothing: with jax's defaults.
        config = json.loads((tmp_path / "config.json").read_text())
        for entry in numerics.UNSAID:
            del config[entry]
        (tmp_path / "config.json").write_text(json.dumps(config))
    runs.Folder(tmp_path, runs.environment())
    with SWITCHES[name](), pytest.raises(errors.InputError, match=f"{name}: "):
        runs.Folder(tmp_path, runs.environment())


def test_options_of_xla_are_on_record_unless_they_change_no_number(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=4")
    runs.Folder(tmp_path, runs.environment())
    assert json.loads((tmp_path / "config.json").read_text())["xla_flags"] == []
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    with pytest.raises(errors.InputError, match="xla_flags: .*fast_math"):
        runs.Folder(tmp_path, runs.environment())


@pytest.mark.parametrize("name", SWITCHES)
def test_a_study_runs_under_the_switches_it_was_made_with(tmp_path, name):
    study = test_study.own_study(tmp_path / "out")
    with SWITCHES[name](), pytest.raises(errors.InputError, match=f"^{name} of jax is"):
        study.run(["prune"], [0], [], [0.5])
    assert not (tmp_path / "out" / "results.jsonl").exists()
