"""What a folder promises: its name, its rows, and whose they are."""

import importlib
import math
import resource
import shutil

import pytest
import small_study

from experiments.cli import flags
from lth_jax import datasets, errors, runs
from lth_jax.runs import results
from lth_jax.sweep import plan, programs

CONFIG = {"study": "s", "eps_unit": "std", "git": "a"}


def row(seed=0, **changed):
    fields = {"method": "prune", "eps": None, "sparsity": 0.5, "seed": seed, "diverged": None}
    return fields | {"val_accuracy": 0.25, "test_accuracy": 0.5, "seconds": 1.0} | changed


def test_identities_are_pinned_and_a_new_defaulted_setting_renames_nothing():
    defaults = {"model": "lenet", "width": 1.0, "eps": math.inf}
    assert runs.identity(defaults, defaults) == "44136fa355"
    other = defaults | {"model": "conv2", "width": 0.5}
    assert runs.identity(other, defaults) == "171835195a"
    grown = {"novel": 3}
    assert runs.identity(other | grown, defaults | grown) == runs.identity(other, defaults)
    assert runs.identity(other | {"novel": 4}, defaults | grown) != runs.identity(other, defaults)


@pytest.mark.parametrize(
    "name, plain, changed",
    [
        ("digits", "d8db7eb4fc", "ae054cd4a8"),
        ("mnist", "0dc558e9de", "50d7077a58"),
        ("cifar", "474b6771e8", "22be16bddc"),
    ],
)
def test_the_folders_of_the_studies_are_pinned(name, plain, changed, monkeypatch):
    # A change of one of these means that nobody finds an old folder again: was it meant?
    config = importlib.import_module(f"experiments.{name}").CONFIG
    digits = datasets.load("digits")

    def any_data(name, data_dir, train_size, **_):
        return digits._replace(name=name, train_size=train_size or 0)

    monkeypatch.setattr(datasets, "load", any_data)
    monkeypatch.setattr(programs, "strategy_for", lambda *_: "map")

    def identity(**changed):
        return flags.replace(config, **changed).make_study("any", print).identity

    assert identity() == plain
    assert identity(width=0.5, prune_lr=0.2) == changed
    elsewhere = {"seeds": 77, "eps": (0.5,), "out": "x", "max_lanes": 3, "lock": "wait"}
    assert identity(**elsewhere) == plain


def test_a_folder_from_before_a_setting_existed_has_its_default(tmp_path):
    runs.Folder(tmp_path, CONFIG).append([row(0)])
    before = small_study.tree(tmp_path)
    defaults = {"eps_unit": "absolute", "novel": math.inf}
    again = runs.Folder(tmp_path, CONFIG | {"novel": math.inf}, defaults=defaults)
    assert len(again.rows) == 1 and small_study.tree(tmp_path) == before
    with pytest.raises(errors.InputError, match="novel: 'inf' there, 3 now"):
        runs.Folder(tmp_path, CONFIG | {"novel": 3}, defaults=defaults)
    with pytest.raises(errors.InputError, match="eps_unit: 'std' there, None now"):
        runs.check(tmp_path, {"study": "s"}, defaults)


def test_rows_come_back_as_they_were_and_none_is_ever_touched(tmp_path):
    folder = runs.Folder(tmp_path, CONFIG)
    folder.append([row(0), row(1, eps=math.inf, method="joint")])
    before = folder.results.read_bytes()
    again = runs.Folder(tmp_path, CONFIG)
    assert again.done == {plan.Lane("prune", None, 0.5, 0), plan.Lane("joint", math.inf, 0.5, 1)}
    again.append([row(2, val_accuracy=math.nan, test_accuracy=None, diverged=3)])
    assert again.results.read_bytes().startswith(before)
    assert runs.Folder(tmp_path, CONFIG).rows[2]["val_accuracy"] is None


def test_a_torn_last_row_is_run_again_and_the_others_stay(tmp_path):
    folder = runs.Folder(tmp_path, CONFIG)
    folder.append([row(0), row(1)])
    whole = folder.results.read_bytes()
    first = whole.index(b"\n") + 1
    for size in (len(whole) - 1, len(whole) - 9, first + 1):
        folder.results.write_bytes(whole[:size])
        again = runs.Folder(tmp_path, CONFIG)
        assert [r["seed"] for r in again.rows] == [0]
        again.append([row(1)])
        assert again.results.read_bytes() == whole


@pytest.mark.parametrize(
    "old, new, said",
    [
        (b'"test_accuracy": 0.5', b'"test_accuracy": 0.6', "not as it was written"),
        (b'"seed": 1', b'"seed": 0', "not as it was written"),
        (b'"method": "prune"', b'"method": "prone"', "expected a row"),
        (b'{"method"', b'"method"', "expected a row"),
        (b"0.25", b"0.2\xff", "expected a row"),
    ],
)
def test_an_edited_row_is_named_and_nothing_is_touched(tmp_path, old, new, said):
    folder = runs.Folder(tmp_path, CONFIG)
    folder.append([row(1)])
    folder.results.write_bytes(folder.results.read_bytes().replace(old, new))
    before = small_study.tree(tmp_path)
    with pytest.raises(errors.InputError, match=f"results.jsonl:1: .*{said}"):
        runs.Folder(tmp_path, CONFIG)
    assert small_study.tree(tmp_path) == before


def test_a_row_that_is_there_twice_is_refused(tmp_path):
    folder = runs.Folder(tmp_path, CONFIG)
    folder.append([row(1)])
    folder.results.write_bytes(2 * folder.results.read_bytes())
    with pytest.raises(errors.InputError, match=r"results.jsonl:2: repeats the lane of line 1"):
        runs.Folder(tmp_path, CONFIG)


def test_a_folder_of_other_settings_is_refused_with_the_difference(tmp_path):
    runs.Folder(tmp_path, CONFIG)
    runs.Folder(tmp_path, CONFIG | {"git": "b", "devices": 7})
    before = small_study.tree(tmp_path)
    with pytest.raises(errors.InputError, match="eps_unit: 'std' there, 'absolute' now"):
        runs.Folder(tmp_path, CONFIG | {"eps_unit": "absolute"})
    with pytest.raises(errors.InputError, match="more: None there, 1 now"):
        runs.check(tmp_path, CONFIG | {"more": 1})
    assert small_study.tree(tmp_path) == before
    (tmp_path / "config.json").unlink()
    (tmp_path / "results.jsonl").write_text("")
    with pytest.raises(errors.InputError, match="no config.json"):
        runs.check(tmp_path, CONFIG)


def test_a_folder_of_another_study_is_refused_by_name(tmp_path):
    runs.Folder(tmp_path, CONFIG)
    with pytest.raises(errors.InputError, match="holds the study 's', not 'other'"):
        runs.Folder(tmp_path, CONFIG | {"study": "other", "eps_unit": "absolute"})


def test_a_folder_in_place_of_the_rows_is_named(tmp_path):
    runs.Folder(tmp_path, CONFIG)
    (tmp_path / results.RESULTS).mkdir()
    with pytest.raises(errors.InputError, match="results.jsonl: expected a file"):
        runs.Folder(tmp_path, CONFIG)


def test_rows_of_another_folder_are_refused_wherever_they_came_from(tmp_path):
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    # What may differ between runs that share a folder makes no other folder of it.
    runs.Folder(ours, CONFIG | {"git": "b", "devices": 3}).append([row(0)])
    runs.Folder(theirs, CONFIG | {"prune_lr": 0.5}).append([row(1)])
    with open(ours / "results.jsonl", "ab") as file:
        file.write((theirs / "results.jsonl").read_bytes())
    with pytest.raises(errors.InputError, match="results.jsonl:2: .*made with other settings"):
        runs.Folder(ours, CONFIG)
    shutil.copy(theirs / "results.jsonl", ours / "results.part-0-of-2.jsonl")
    (ours / "results.jsonl").unlink()
    with pytest.raises(errors.InputError, match="part-0-of-2.jsonl:1: .*other settings"):
        runs.Folder(ours, CONFIG)
    (ours / "config.json").unlink()
    with pytest.raises(errors.InputError, match="holds results.part-0-of-2.jsonl but no config"):
        runs.Folder(ours, CONFIG)


@pytest.mark.parametrize("ending", [b"\r\n", b" \n"])
def test_an_editor_that_changed_the_line_ends_changed_no_row(tmp_path, ending):
    folder = runs.Folder(tmp_path, CONFIG)
    folder.append([row(0), row(1)])
    folder.results.write_bytes(folder.results.read_bytes().replace(b"\n", ending))
    again = runs.Folder(tmp_path, CONFIG)
    assert again.rows == folder.rows
    again.append([row(2)])
    assert len(runs.Folder(tmp_path, CONFIG).rows) == 3


def test_a_file_that_takes_nothing_back_is_one_line(tmp_path):
    folder = runs.Folder(tmp_path, CONFIG)
    folder.results.symlink_to("/dev/full")  # Refuses to be written and to be cut.
    with pytest.raises(errors.RunError, match="No space left on device; the rows that are there"):
        folder.append([row(0)])


def test_a_full_disk_leaves_the_rows_that_are_there(tmp_path):
    folder = runs.Folder(tmp_path, CONFIG)
    folder.append([row(0)])
    before = folder.results.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 50, limits[1]))
    try:
        with pytest.raises(errors.RunError, match="File too large; the rows that are there"):
            folder.append([row(1)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert folder.results.read_bytes() == before
    assert [r["seed"] for r in folder.rows] == [0]
    folder.append([row(1)])
    assert len(runs.Folder(tmp_path, CONFIG).rows) == 2


def test_results_are_sealed_without_their_seconds():
    sealed = results.seal(row(0))
    assert sealed["check"] == results.seal(row(0, seconds=9.0))["check"]
    assert sealed["check"] != results.seal(row(0, test_accuracy=0.51))["check"]
