"""The command line: what flags may be, one line for what is bad, and help in no time."""

import dataclasses
import os
import resource
import shutil
import subprocess
import sys
from typing import Literal

import pytest
import small_study

from experiments import cli
from experiments.cli import flags, image_flags, program
from lth_jax import errors, training


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
        ("--seeds=0,1", "--seeds=0,1: expected a whole number."),
        ("--batch_size=0", "batch_size"),
        ("--batch_size=1198", "1197 training images"),
        ("--train_size=1198", "train_size"),
        ("--microbatch=5", "microbatch must divide"),
        ("--perturb_epochs=-1", "perturb_epochs"),
        ("--prune_epochs=10000000", "prune_epochs"),
        ("--prune_epochs=1.5", "prune_epochs"),
        ("--momentum=1", "momentum"),
        ("--prune_lr=inf", "prune_lr"),
        ("--prune_optimizer=adagrad", "expected one of sgd, adam, adamw, lion"),
        ("--perturb_schedule=none", "expected one of cosine, linear, step, constant"),
        ("--width=0", "--width"),
        ("--width=inf", "--width"),
        ("--width=1e6", "one lane needs"),
        ("--width=1e299", "one lane needs"),
        ("--width=1e308", "--width must be positive and below 1e300"),
        ("--model=conv99", "--model must be one of"),
        ("--dataset=emnist", "--dataset must be one of"),
        ("--strategy=pmap", "--strategy must be one of"),
        ("--max_lanes=0", "--max_lanes"),
        ("--checkpoint_minutes=-1", "--checkpoint_minutes"),
        ("--checkpoint_minutes=nan", "--checkpoint_minutes"),
        ("--lock=break", "--lock"),
        ("--engine=spark", "--engine=spark: expected one of local, ray"),
        ("--ray_address=x", "--ray_address must be auto, local or HOST:PORT"),
        ("--ray_address=x:70000", "--ray_address must be auto, local or HOST:PORT"),
        ("--ray_cpus=0", "--ray_cpus must be at least 1"),
        ("--ray_gpus=0.5", "--ray_gpus"),
        ("--ray_tpus=-1", "--ray_tpus must be at least 0"),
        ("--noaugment=3", "augment"),
        ("--unknown=3", "unknown"),
        ("stray", "stray"),
        ("--cpu_devices=-1", "error: --cpu_devices must be"),
        ("--preset=nobody", "--preset"),
    ],
)
def test_bad_flags_are_one_line_and_touch_nothing(tmp_path, monkeypatch, capsys, flag, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(capsys, f"--out={tmp_path / 'run'}", *flag.split())
    assert list(tmp_path.iterdir()) == []


def test_flags_become_what_the_config_says():
    config, machine = flags.read(
        [
            *("--eps=0, 0.5,inf", "--augment", "--progress=quiet", "--out=none", "--cpu_devices=3"),
            *("--prune_optimizer=adam", "--prune_schedule=linear"),
        ],
        [image_flags.Config(), program.Machine()],
        {},
    )
    assert config.eps == (0.0, 0.5, float("inf"))
    assert config.train.augment is True and config.progress == "quiet" and config.out is None
    assert machine.cpu_devices == 3
    assert config.train == training.TrainConfig(
        augment=True, prune_optimizer="adam", prune_schedule="linear"
    )


def test_every_flag_has_a_help_text():
    for name, flag in flags.of([image_flags.Config(), program.Machine()]).items():
        assert flag.help.strip(), name


@dataclasses.dataclass(frozen=True)
class Inner:
    rate: float = dataclasses.field(default=0.5, metadata={"help": "How fast."})
    norm: Literal["l1", "l2"] = "l2"

    def __post_init__(self):
        if self.rate < 0:
            raise ValueError(f"rate must be at least 0, got {self.rate}.")


@dataclasses.dataclass(frozen=True)
class Outer:
    preset: str = flags.setting("", "A set of defaults.")
    seeds: int = flags.setting(1, "How many.")
    train: Inner = Inner(rate=0.25)  # noqa: RUF009

    def __post_init__(self):
        if self.seeds < 1 or self.train.rate > 10 * self.seeds:
            raise ValueError("seeds and rate do not fit, norm is fine.")


def test_the_fields_of_a_nested_config_are_flags():
    assert flags.values(Outer()) == {"preset": "", "seeds": 1, "rate": 0.25, "norm": "l2"}
    presets = {"fast": {"rate": 7.0, "seeds": 3}}
    argv = ["--preset=fast", "--seeds=2", "--norm=l1"]
    config, machine = flags.read(argv, [Outer(), program.Machine()], presets)
    assert config == Outer("fast", 2, Inner(7.0, "l1")) and machine == program.Machine()
    assert flags.read([], [Outer()], {}) == [Outer()]
    text = flags.help_text("Study.", [Outer()])
    assert "--rate=0.25  How fast." in text and "--train" not in text
    assert flags.replace(Outer(), norm="l1", seeds=4) == Outer(seeds=4, train=Inner(0.25, "l1"))
    with pytest.raises(TypeError, match="no field lr"):
        flags.replace(Outer(), lr=1)
    with pytest.raises(TypeError, match="two fields are named rate"):
        flags.of([Outer(), Inner()])


@pytest.mark.parametrize(
    "argv, said",
    [
        ("--rate=-1", "--rate must be at least 0, got -1.0."),
        ("--rate=11", "--seeds and --rate do not fit, norm is fine."),
        ("--norm=l3", "--norm=l3: expected one of l1, l2."),
        ("--train=1", "Unknown command line flag 'train'. --help lists all flags."),
        ("--rats=1", "Unknown command line flag 'rats'. Did you mean: rate? --help lists"),
        ("--rate=fast", "--rate=fast: expected a number."),
    ],
)
def test_what_a_check_refuses_is_told_with_the_names_of_flags(argv, said):
    with pytest.raises(errors.InputError) as caught:
        flags.read([argv], [Outer()], {})
    assert str(caught.value).startswith(said)


@pytest.mark.parametrize(
    "message, shown",
    [
        ("eps must be", "--eps must be"),
        ("n, eta and eps go together", "--n, --eta and --eps go together"),
        ("eps_unit is no flag here", "eps_unit is no flag here"),
        ("expected eps", "expected eps"),
        ("--eps must be", "--eps must be"),
        ("no file; pass eta=FOLDER", "no file; pass --eta=FOLDER"),
        ("a/n=3: no, and peps=4 neither", "a/n=3: no, and peps=4 neither"),
        ("n/run1: belongs to other settings", "n/run1: belongs to other settings"),
        ("n 1 of 2 could not start", "n 1 of 2 could not start"),
    ],
)
def test_dashes_go_before_names_that_a_message_starts_with(message, shown):
    assert flags.with_dashes(message, ["n", "eps", "eta"]) == shown


def test_an_error_about_the_runs_folder_is_told_with_the_flags(capsys):
    def ending(error, out):
        def run(config):
            raise error

        status = cli.main(run, image_flags.Config(), "", ["--nocompile_cache", f"--out={out}"])
        return status, capsys.readouterr().err

    named = errors.InputError("model: belongs to other settings.")
    assert ending(named, "model") == (2, "error: --out=model: belongs to other settings.\n")
    no_folder = errors.InputError("a/b: Permission denied.")
    assert ending(no_folder, "a//b/") == (2, "error: --out=a/b: Permission denied.\n")
    assert ending(no_folder, "none") == (2, "error: a/b: Permission denied.\n")
    assert ending(no_folder, "a") == (2, "error: a/b: Permission denied.\n")
    busy = errors.RunError("a: in use.", 3)
    assert ending(busy, "a") == (3, "error: --out=a: in use. --lock=wait waits for it.\n")


def test_the_table_fits_80_columns_or_is_what_was_asked_for(plain, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    shutil.copytree(plain, tmp_path / "run")

    def table(form):
        """The lines from the head of the table to the names of the files."""
        assert small_study.main(tmp_path / "run", table=form) == 0
        lines = capsys.readouterr().out.splitlines()
        (start,) = [number for number, line in enumerate(lines) if "ε  sparsity" in line]
        return [line for line in lines[start:] if str(tmp_path) not in line]

    narrow, wide = table("narrow"), table("wide")
    assert max(map(len, narrow)) <= 80 < max(map(len, wide))
    assert table("auto") == narrow
    monkeypatch.setenv("COLUMNS", "200")
    assert table("auto") == wide and table("narrow") == narrow
    assert small_study.main(tmp_path / "run", table="csv") == 0
    said = capsys.readouterr()
    assert said.out == (tmp_path / "run" / "summary.csv").read_text()
    assert "6 lanes, 0 to run" in said.err and "results.jsonl" in said.err


def test_a_quiet_study_prints_its_table_alone(tmp_path, capsys):
    assert small_study.main(tmp_path, progress="quiet", **small_study.SHORT) == 0
    said = capsys.readouterr()
    assert said.err == "" and said.out.startswith("lenet on digits: accuracy in %")


def test_a_table_of_another_form_is_refused(tmp_path, capsys):
    assert small_study.main(tmp_path / "run", table="tall") == 2
    wanted = "error: --table=tall: expected one of auto, wide, narrow, csv.\n"
    assert capsys.readouterr().err == wanted and not (tmp_path / "run").exists()


def test_settings_that_are_no_places_are_in_a_folders_identity():
    # A new flag that changes numbers must not be filed under places by accident: this is the list.
    axes = {"method", "eps", "sparsity", "seeds", "seed"}
    places = {"preset", "data_dir", "mirror", "offline", "out", "keep_tickets", "ticket_bits"}
    places |= {
        "max_lanes",
        "checkpoint_minutes",
        "lock",
        "progress",
        "table",
        "show_pruned",
        "tensorboard",
    }
    places |= {"engine", "ray_address", "ray_cpus", "ray_gpus", "ray_tpus"}
    settings = set(image_flags.Config().make_study("any", print).settings)
    assert not settings & (axes | places)
    assert settings | axes | places == set(flags.of([image_flags.Config()]))


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
    done = subprocess.run(command, capture_output=True, text=True, cwd=small_study.ROOT, check=True)
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
    environment = os.environ | {"PYTHONPATH": str(small_study.ROOT)}
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, cwd=small_study.ROOT, env=environment
    )
    assert "Traceback" not in done.stderr


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    for place, fine in (("new", True), ("file", False), ("file/below", False)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / place))
        program.start_backend(program.Machine())
        assert ("MPLCONFIGDIR" in os.environ) == fine
        monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    assert (tmp_path / "file").read_text() == ""


def test_what_is_pruned_is_shown_and_nothing_is_run(tmp_path, capsys):
    assert small_study.main(tmp_path / "out", show_pruned="true") == 0
    shown = capsys.readouterr().out
    assert "pruned: 1,085 of 1,085 weights; lenet on digits" in shown
    assert "64 × 15" in shown and not (tmp_path / "out").exists()
