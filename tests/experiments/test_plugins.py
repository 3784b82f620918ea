"""--plugin: names of another package on the command line, and one line for one that is broken."""

import json
import sys
import textwrap

import pytest
import registered
import small_study

from experiments import cli, construction, digits
from experiments.cli import flags, image_flags, plugins
from lth_jax import errors

PLUGIN = """
    import jax
    import lth_jax
    from lth_jax import datasets, models, pruners, training
    from lth_jax.training import methods

    SLOPE = 1.0

    def linear(shape, classes):
        def init(key):
            return {"kernel": jax.random.normal(key, (64, classes)) / 8}, {}

        def apply(weights, state, x, train=False):
            return SLOPE * x.reshape(len(x), -1) @ weights["kernel"], state

        return lth_jax.Model(init, apply)

    def faint():
        full = datasets.load("digits", train_size=128)
        return full._replace(mean=full.mean / 2)

    def popup(scope, kernel_axes):
        return lth_jax.edge_popup(scope, kernel_axes=kernel_axes)

    datasets.register("faint", faint)
    models.register("linear", linear)
    pruners.register("popup", popup)
    training.register(lth_jax.Method("late", (lth_jax.Stage(methods.JOINT, True, False),)))
"""
OWN = {"dataset": "faint", "model": "linear", "pruner": "popup", "method": "late", "width": "1"}
OWN |= {"cpu_devices": "2"}
OWN |= {
    "plugin": "of_another",
    "seeds": "1",
    "perturb_epochs": "1",
    "eps": "0.03",
    "train_size": "0",
}


@pytest.fixture(autouse=True)
def _forgotten():
    """What a test imported is to be imported anew by the next."""
    before = set(sys.modules)
    with registered.meanwhile():
        yield
    for name in set(sys.modules) - before:
        if name.startswith(("of_another", "broken")):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a module where Python finds it."""
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "modules").mkdir()

    def write(name, text):
        (tmp_path / "modules" / f"{name}.py").write_text(textwrap.dedent(text))

    return write


def told(capsys, *argv):
    """The status of a command, and its standard error; the tests have two devices."""
    argv = ["--cpu_devices=2", *argv]
    status = cli.main(digits.run, digits.CONFIG, digits.__doc__, argv)
    return status, capsys.readouterr().err


def test_help_and_choices_know_the_names_of_a_plugin(write, capsys):
    write("of_another", PLUGIN)
    write("of_another_two", "from lth_jax import models\nmodels.register('second', lambda: None)")
    given = ["--eps", "0", "--help", "--plugin=of_another,of_another_two", "--nonsense=1"]
    assert cli.main(digits.run, digits.CONFIG, digits.__doc__, given) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in ("cifar10, faint.", "resnet18, linear, second.", ", popup.", "dense, late."):
        assert part in shown
    status, said = told(capsys, "--plugin=of_another", "--model=lin")
    assert (status, said.count("\n")) == (2, 1) and "resnet18, linear, second, got 'lin'" in said
    status, said = told(capsys, "--plugin=of_another", "--model=linear", "--width=2")
    assert (status, said) == (2, "error: --width: model 'linear' takes none.\n")
    status, said = told(capsys, "--plugin=of_another", "--dataset=faint", "--data_dir=here")
    assert (status, said) == (2, "error: --data_dir: data set 'faint' takes none.\n")


def test_what_is_shown_of_a_plugins_names(write, capsys, tmp_path):
    write("of_another", PLUGIN)
    # JAX runs in the tests, on two devices: as if the import had started it.
    flagged = [f"--{name}={value}" for name, value in OWN.items()]
    status, said = told(capsys, *flagged, "--show_pruned", "--cpu_devices=3", "--batch_size=32")
    assert (status, said) == (0, "--plugin: imports started JAX, on 2 devices, not 3\n")
    status, said = told(capsys, *flagged, "--show_pruned", "--cpu_devices=2", "--batch_size=32")
    assert (status, said) == (0, "")


@pytest.mark.parametrize(
    "text, said",
    [
        (None, "ModuleNotFoundError: No module named 'broken'.\n"),
        ("x = (", "SyntaxError: '(' was never closed (broken.py, line 1)"),
        ("x = 1\ny = z", "NameError: name 'z' is not defined ("),
        ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package' ("),
        ("import sys\nsys.exit('no')", "SystemExit: no ("),
        ("raise ValueError('one\\ntwo')", "ValueError: one two ("),
        (
            "from lth_jax import models\nmodels.register('lenet', lambda: None)",
            "InputError: model must have a name that is free, got 'lenet', which is built in (",
        ),
    ],
)
def test_a_plugin_that_fails_is_one_line_and_touches_nothing(
    write, capsys, tmp_path, monkeypatch, text, said
):
    if text is not None:
        write("broken", text)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for more in ([], ["--help"]):
        status, line = told(capsys, "--plugin=broken", "--out=run", *more)
        assert status == 2 and line.startswith(f"error: --plugin=broken: {said}")
        assert line.count("\n") == 1
        if said.endswith(" ("):
            assert f"broken.py, line {len(text.splitlines())})." in line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("file", ["mine.py", "./mine.py", "/there/mine.py", "there/mine"])
def test_a_file_in_place_of_a_module_is_told_the_modules_name(file):
    with pytest.raises(errors.InputError, match=r"a module's name.*: --plugin=mine\.$"):
        plugins.load([f"--plugin={file}"], digits.CONFIG)


def test_the_flag_is_read_before_the_others_wherever_it_stands():
    flag = flags.of([image_flags.Config()])["plugin"]
    assert flags.early([], "plugin", flag) == ()
    assert flags.early(["--x", "--plugin", "a, b.c", "y"], "plugin", flag) == ("a", "b.c")
    assert flags.early(["--eps", "0", "--noaugment", "-plugin=a"], "plugin", flag) == ("a",)
    assert flags.early(["--", "--plugin=a"], "plugin", flag) == ()
    for argv, said in ((["--plugin="], "no empty entry"), (["--plugin"], "Missing value")):
        with pytest.raises(errors.InputError, match=said):
            flags.early(argv, "plugin", flag)
    assert plugins.load(["--plugin=no_such"], construction.Config()) == ()  # It has no such flag.


@pytest.mark.slow
def test_a_folder_is_of_one_program_whatever_the_plugin_calls_it(write, capsys, tmp_path):
    write("of_another", PLUGIN)
    out = tmp_path / "out"
    assert small_study.main(out, **OWN) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["plugin"] == ["of_another"] and config["model"] == "linear"
    (row,) = small_study.rows(out)
    assert [row[name] for name in ("dataset", "model", "pruner", "method")] == [
        *("faint", "linear", "popup", "late")
    ]
    before = small_study.tree(out)
    assert small_study.main(out, **OWN) == 0 and small_study.tree(out) == before
    for old, new, said in (
        ("SLOPE = 1.0", "SLOPE = 2.0", "program"),
        ("full.mean / 2", "full.mean / 3", "arrays_sha256"),
        ("edge_popup(scope,", "edge_popup(scope, score_bound=lambda path, leaf: .5,", "program"),
        (
            "methods.JOINT, True, False",
            "methods.PERTURB_MASKED, True, False",
            "'late' was another one",
        ),
    ):
        assert old in PLUGIN
        for registry in registered.REGISTRIES:
            for name in [name for name in registry if not registry.is_built_in(name)]:
                registry.remove(name)
        del sys.modules["of_another"]
        write("of_another", PLUGIN.replace(old, new))
        capsys.readouterr()
        assert small_study.main(out, **OWN) == 2, new
        assert said in capsys.readouterr().err
        assert small_study.tree(out) == before
