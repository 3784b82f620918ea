"""The command line: what flags may be, one line for what is bad, and help in no time."""

import dataclasses
import os
import resource
import subprocess
import sys

import pytest
import study

from experiments import cli
from experiments.cli import image_flags
from lth_jax import errors


def refused(capsys, *argv):
    from experiments import digits

    assert cli.main(digits.run, digits.CONFIG, digits.__doc__, argv) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("error: ")
    return captured.err


@pytest.mark.parametrize(
    "flag, said",
    [
        ("--eps=-0.1", "--eps must be at least 0"),
        ("--eps=nan", "--eps must be at least 0"),
        ("--eps=", "comma-separated"),
        ("--eps=1,,2", "comma-separated"),
        ("--eps=0.1x", "--eps=0.1x"),
        ("--sparsity=1", "[0, 1)"),
        ("--sparsity=-0.5", "[0, 1)"),
        ("--sparsity=nan", "[0, 1)"),
        ("--method=prone", "--method must be one of"),
        ("--method=prune,", "comma-separated"),
        ("--seeds=0", "--seeds must be at least 1"),
        ("--seeds=4294967297", "2^32"),
        ("--seeds=2000000", "36000000 lanes"),
        ("--seed=-1", "--seed"),
        ("--batch_size=0", "batch_size"),
        ("--batch_size=1198", "1197 training images"),
        ("--train_size=1198", "train_size"),
        ("--microbatch=5", "microbatch must divide"),
        ("--perturb_epochs=-1", "perturb_epochs"),
        ("--prune_epochs=10000000", "prune_epochs"),
        ("--prune_epochs=1.5", "prune_epochs"),
        ("--momentum=1", "momentum"),
        ("--prune_lr=inf", "prune_lr"),
        ("--width=0", "--width"),
        ("--width=inf", "--width"),
        ("--width=1e6", "one lane needs"),
        ("--width=1e300", "one lane needs"),
        ("--model=conv99", "--model must be one of"),
        ("--dataset=emnist", "--dataset must be one of"),
        ("--strategy=pmap", "--strategy must be one of"),
        ("--max_lanes=0", "--max_lanes"),
        ("--checkpoint_minutes=-1", "--checkpoint_minutes"),
        ("--checkpoint_minutes=nan", "--checkpoint_minutes"),
        ("--lock=break", "--lock"),
        ("--process=0", "--distributed"),
        ("--distributed --process=0", "go together"),
        ("--distributed --coordinator=x --processes=2 --process=0", "HOST:PORT"),
        ("--distributed --coordinator=x:1 --processes=2 --process=2", "--process"),
        ("--distributed --coordinator=x:1 --processes=0 --process=0", "--processes"),
        ("--noaugment=3", "augment"),
        ("--unknown=3", "unknown"),
        ("stray", "stray"),
        ("--cpu_devices=-1", "cpu_devices"),
        ("--preset=nobody", "--preset"),
    ],
)
def test_bad_flags_are_one_line_and_touch_nothing(tmp_path, monkeypatch, capsys, flag, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, f"--out={tmp_path / 'run'}", *flag.split())
    assert list(tmp_path.iterdir()) == []


def test_flags_become_what_the_config_says():
    config, machine = cli.read_flags(
        ["--eps=0, 0.5,inf", "--augment", "--noprogress", "--out=none", "--cpu_devices=3"],
        [image_flags.Config(), cli.Machine()],
        {},
    )
    assert config.eps == (0.0, 0.5, float("inf"))
    assert config.augment is True and config.progress is False and config.out is None
    assert machine.cpu_devices == 3


def test_every_flag_has_a_help_text():
    for field in dataclasses.fields(image_flags.Config):
        assert field.metadata["help"].strip(), field.name


def test_settings_that_are_no_places_are_in_a_folders_identity():
    # A new flag that changes numbers must not be filed under places by accident: this is the list.
    names = {f.name for f in dataclasses.fields(image_flags.Config)}
    assert set(image_flags.AXES + image_flags.PLACES) <= names
    assert not set(image_flags.PLACES) & {"dataset", "train_size", "model", "width", "strategy"}


@pytest.mark.parametrize(
    "error, status",
    [
        (errors.InputError("no"), 2),
        (errors.RunError("no"), 1),
        (errors.RunError("no", 3), 3),
        (MemoryError(), 1),
        (OSError(28, "No space left on device", "x"), 1),
        (OSError("odd"), 1),
    ],
)
def test_trouble_is_one_line_and_a_status(capsys, error, status):
    def run(config):
        raise error

    assert cli.main(run, image_flags.Config(), "", ["--nocompile_cache"]) == status
    assert capsys.readouterr().err.count("\n") == 1


def test_names_with_odd_characters_stay_on_one_line(capsys):
    def run(config):
        raise errors.InputError("a\nb\udcff\x1b[31mc")

    assert cli.main(run, image_flags.Config(), "", ["--nocompile_cache"]) == 2
    assert capsys.readouterr().err == "error: a\\nb\\udcff\\x1b[31mc\n"


@pytest.mark.slow
def test_help_is_readable_and_costs_less_than_3_seconds(say):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "experiments.digits", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=study.ROOT, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    say(f"--help: {seconds:.2f} s of CPU time")
    assert seconds < 3 and done.stderr == ""
    for name in ("--eps=0.0,0.02,0.05", "--checkpoint_minutes", "Exit status"):
        assert name in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.slow
def test_an_output_that_nobody_reads_ends_without_a_traceback():
    command = f"{sys.executable} -m experiments.digits --help | true"
    environment = os.environ | {"PYTHONPATH": str(study.ROOT)}
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=study.ROOT, env=environment
    )
    assert "Traceback" not in done.stderr


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    for place, fine in (("new", True), ("file", False), ("file/below", False)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
        cli.start_backend(cli.Machine())
        assert ("MPLCONFIGDIR" in os.environ) == fine
        monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    assert (tmp_path / "file").read_text() == ""
