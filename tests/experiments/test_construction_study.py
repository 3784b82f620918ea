"""The construction study: what it writes, adds and refuses."""

import json
import shutil

import numpy as np
import pytest
import safetensors.numpy

from experiments import cli, construction
from lth_jax import datasets, tickets
from lth_jax.runs import locks
from lth_jax.theory.construction import network_certificate

SMALL = ("--steps=300", "--eta=0.05")
FIELDS = {"eps", "eta", "n", "weights", "candidates", "kept", "certificate", "largest_error_found"}
FIELDS |= {"target_accuracy", "ticket_accuracy", "ticket_bytes", "seconds"}


def run(out, *flags):
    argv = [*SMALL, f"--out={out}", *flags]
    return cli.main(construction.run, construction.Config(), construction.__doc__, argv)


def certify(out, *flags):
    """The study by a certificate, without a tolerance per weight."""
    argv = ["--steps=300", f"--out={out}", *flags]
    return cli.main(construction.run, construction.Config(), construction.__doc__, argv)


def rows_of(out):
    return json.loads((out / "construction.json").read_text())


def ticket_of(out, row):
    return out / f"eps-{row['eps']}_seed-{row['seed']}.ticket"


def pixels():
    test = datasets.load("digits").test
    return test.images.reshape(300, -1).astype(np.float32) / np.float32(16), test.labels


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """A folder with ε = 0 and 0.1."""
    folder = tmp_path_factory.mktemp("study") / "run"
    assert run(folder, "--eps=0,0.1") == 0
    return folder


def test_program_builds_certifies_and_stores(out):
    rows = rows_of(out)
    assert [row["eps"] for row in rows] == [0, 0.1] and rows[0]["n"] > rows[1]["n"]
    for row in rows:
        assert set(row) >= FIELDS
        assert row["not_found"] == 0 and row["kept"] < row["candidates"]
        assert row["certificate"] >= row["largest_error_found"] + row["rounding"] > 0
        assert row["largest_error_on_data"] <= row["largest_error_found"]
        assert row["target_accuracy"] > 0.9
        assert abs(row["ticket_accuracy"] - row["target_accuracy"]) <= 0.02
        assert ticket_of(out, row).stat().st_size == row["ticket_bytes"] < row["float32_bytes"] / 4
        # Beside the least width stand what suffices and what is necessary for the same event.
        assert all(a <= b for a, b in zip(row["widths"], row["proved_widths"], strict=True))
        assert 0 < row["necessary_for_all"] <= row["proved_over_parameterization"]
    assert (out / "construction.png").stat().st_size > 0


def test_a_stored_ticket_and_its_export_have_the_rows_accuracy(out, tmp_path):
    images, labels = pixels()
    for row in rows_of(out):
        loaded = tickets.load(ticket_of(out, row))
        model = tickets.model_of(loaded.origin)
        logits = np.asarray(model.apply(loaded.weights, {}, images)[0])
        assert np.mean(logits.argmax(-1) == labels) == row["ticket_accuracy"]
        tickets.export(tmp_path / "plain", loaded.weights)
        weights = safetensors.numpy.load_file(tmp_path / "plain")
        x = images
        for layer in range(len(row["widths"])):
            first, second = (weights[f"RedundantBlock_{layer}/weight{i}"] for i in (1, 2))
            hidden = np.maximum(np.maximum(x, 0)[:, None] * first, 0).reshape(300, -1)
            x = hidden @ second
        np.testing.assert_allclose(x * np.prod(row["scales"]), logits, rtol=1e-4, atol=1e-4)
        assert np.mean(x.argmax(-1) == labels) == row["ticket_accuracy"]


@pytest.mark.slow
def test_more_eps_and_keys_are_added_and_what_is_there_stays(out):
    before = rows_of(out)
    files = {path: path.read_bytes() for path in out.glob("*.ticket")}
    assert run(out, "--eps=0,0.01,0.1") == 0
    assert run(out, "--eps=0.1", "--keys=2") == 0
    after = rows_of(out)
    assert after[:2] == before
    assert [(row["eps"], row["seed"]) for row in after[2:]] == [(0.01, 0), (0.1, 1)]
    assert len({row["target_sha256"] for row in after}) == 1
    assert all(path.read_bytes() == content for path, content in files.items())


def test_the_same_command_again_changes_no_byte(out):
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.name != ".lock"}
    assert run(out, "--eps=0,0.1") == 0
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.name != ".lock"} == before


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--full", "--candidates=kaiming", "--candidates=normal"])
def test_other_networks_are_built_certified_and_stored_too(tmp_path, flag):
    assert run(tmp_path, "--eps=0.05", flag) == 0
    (row,) = rows_of(tmp_path)
    assert row["domain"] == ("ball" if flag == "--full" else "cube") and row["not_found"] == 0
    assert row["halves"] == (2 if flag == "--full" else 1)
    assert row["certificate"] >= row["largest_error_found"] + row["rounding"]
    loaded = tickets.load(ticket_of(tmp_path, row))
    # Normal draws are no promise across versions of jax: those weights are in the file.
    assert loaded.header["embedded"] == (flag != "--full")
    images, labels = pixels()
    logits = tickets.model_of(loaded.origin).apply(loaded.weights, {}, images)[0]
    assert np.mean(np.argmax(logits, -1) == labels) == row["ticket_accuracy"]


def test_a_certificate_below_what_was_found_ends_the_study(tmp_path, capsys, monkeypatch):
    true = network_certificate.bound
    monkeypatch.setattr(
        network_certificate, "bound", lambda *args: true(*args)._replace(value=1e-9)
    )
    assert run(tmp_path, "--eps=0") == 1
    assert "certified 1e-09" in capsys.readouterr().err
    assert not (tmp_path / "construction.json").exists()


def test_a_folder_in_use_is_left_alone(tmp_path, capsys):
    with locks.hold(tmp_path / ".lock"):
        assert run(tmp_path, "--eps=0") == locks.BUSY_STATUS
    assert "in use" in capsys.readouterr().err
    assert not (tmp_path / "config.json").exists()


@pytest.mark.parametrize("flag", ["--eta=0.1", "--bits=8", "--full", "--hidden=16", "--width=20"])
def test_a_folder_of_other_settings_is_refused_untouched(out, capsys, flag):
    before = {p.name: p.read_bytes() for p in out.iterdir() if p.name != ".lock"}
    assert run(out, "--eps=0,0.1", flag) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "other settings" in error
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.name != ".lock"} == before


def test_a_damaged_record_is_named(out, tmp_path, capsys):
    for name, content in (("a", "[{]"), ("b", '[{"eps": 0}]'), ("c", "7")):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_bytes((out / "config.json").read_bytes())
        (folder / "construction.json").write_text(content)
        assert run(folder, "--eps=0,0.1") == 2
        assert "construction.json" in capsys.readouterr().err
        assert (folder / "construction.json").read_text() == content


CERTIFIED = ("--eps=0,0.1", "--certified=0.1")
ASKED = {"eps", "certified_target", "assignment", "key", "candidates_per_weight"}
ASKED |= {"kept_per_weight", "certificate", "largest_logit", "ticket_accuracy", "ticket_bytes"}
ASKED |= {"proved", "seconds"}


@pytest.fixture(scope="module")
def certified(tmp_path_factory):
    """A folder of networks by certificate."""
    folder = tmp_path_factory.mktemp("certified") / "run"
    assert certify(folder, *CERTIFIED) == 0
    return folder


def certified_ticket(out, row):
    axes = f"eps-{row['eps']}_certified-{row['certified_target']}_{row['assignment']}"
    return out / f"{axes}_key-{row['key']}.ticket"


@pytest.mark.slow
def test_networks_by_certificate_are_as_near_as_asked(certified):
    rows = rows_of(certified)
    assert [(r["eps"], r["assignment"]) for r in rows] == [
        (0, "uniform"), (0, "adaptive"), (0.1, "uniform"), (0.1, "adaptive")]  # fmt: skip
    images, labels = pixels()
    for row in rows:
        assert set(row) >= ASKED
        assert row["largest_error_found"] < row["certificate"] <= 0.1 * row["largest_logit"]
        assert row["kept_per_weight"] <= row["kept_per_weight_best"]
        assert row["kept_per_weight"] * row["weights"] == pytest.approx(row["kept"])
        assert row["candidates_per_weight"] < row["proved"]
        path = certified_ticket(certified, row)
        assert path.stat().st_size == row["ticket_bytes"]
        loaded = tickets.load(path)
        assert sum(m["weight2"].size for m in loaded.masks.values()) == row["candidates"]
        logits = tickets.model_of(loaded.origin).apply(loaded.weights, {}, images)[0]
        assert np.mean(np.argmax(logits, -1) == labels) == row["ticket_accuracy"]
    sizes = [row["candidates_per_weight"] for row in rows]
    assert sizes[3] < min(sizes[:3]) and rows[2]["kept"] < rows[0]["kept"] / 2
    assert (certified / "construction.png").stat().st_size > 0


@pytest.mark.slow
def test_certificates_and_keys_are_added_and_what_is_there_stays(certified, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(certified, folder)
    before = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"}
    assert certify(folder, *CERTIFIED) == 0
    assert {p.name: p.read_bytes() for p in folder.iterdir() if p.name != ".lock"} == before
    capsys.readouterr()
    more = ("--eps=0.1", "--certified=0.1,0.03", "--assignment=adaptive", "--keys=2")
    assert certify(folder, *more) == 0
    rows = rows_of(folder)
    assert rows[:4] == rows_of(certified)
    added = [(r["certified_target"], r["assignment"], r["key"]) for r in rows[4:]]
    assert added == [(0.1, "adaptive", 1), (0.03, "adaptive", 0), (0.03, "adaptive", 1)]
    shown = capsys.readouterr().out
    two = [row["candidates_per_weight"] for row in (rows[3], rows[4])]
    cell = f"{np.mean(two):.2f} ({min(two):.2f}–{max(two):.2f})"
    assert f"| 10 % | 0.1 | adaptive | {cell} |" in shown and "n = 2" in shown
    # By a tolerance per weight it is another study.
    assert run(folder, "--eps=0,0.1") == 2
    assert "other settings" in capsys.readouterr().err


@pytest.mark.slow
def test_a_given_width_gets_the_sparsest_ticket_only(tmp_path):
    flags = ("--eps=0.1", "--certified=0.5,0.05", "--assignment=uniform", "--width=12")
    assert certify(tmp_path, *flags) == 0
    loose, tight = rows_of(tmp_path)
    assert loose["widths"] == tight["widths"] == [12, 12]
    assert loose["kept"] < tight["kept"] < tight["kept_per_weight_best"] * tight["weights"]


def test_what_no_network_can_have_ends_the_study(tmp_path, capsys):
    assert certify(tmp_path, "--eps=0", "--certified=1e-9", "--assignment=adaptive") == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "no network is certified" in error
    assert not (tmp_path / "construction.json").exists()


def test_a_folder_of_the_study_as_it_was_is_refused_with_its_reason(out, tmp_path, capsys):
    """Before, `objective` was "auto": another one at ε = 0, whose rows must not stand beside."""
    folder = tmp_path / "run"
    shutil.copytree(out, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"objective": "auto"}))
    assert run(folder, "--eps=0,0.1") == 2
    assert "objective: 'auto' there, 'best' now" in capsys.readouterr().err
    # One that had named an objective goes on, though it knows nothing of certificates.
    before = (folder / "construction.json").read_bytes()
    older = {n: v for n, v in config.items() if n not in ("certified", "assignment")}
    (folder / "config.json").write_text(json.dumps(older))
    assert run(folder, "--eps=0,0.1") == 0
    assert (folder / "construction.json").read_bytes() == before


@pytest.mark.slow
def test_a_target_of_four_layers_is_hidden_and_certified(tmp_path):
    assert run(tmp_path, "--hidden=12,10,8", "--eps=0,0.05") == 0
    loose, tight = rows_of(tmp_path)
    for row in (loose, tight):
        assert len(row["widths"]) == 4 and row["not_found"] == 0
        assert np.isfinite(row["certificate"]) and row["certificate"] > row["largest_error_found"]
    assert tight["certificate"] < 0.01 * tight["largest_logit"] < loose["certificate"]


@pytest.mark.parametrize(
    "flag",
    [
        "--eps=-1",
        "--eps=nan",
        "--bits=1",
        "--keys=0",
        "--candidates=x",
        "--eta=0",
        "--hidden=0",
        "--hidden=",
        "--steps=0",
        "--seed=-1",
        "--seed=4294967296",
        "--target_seed=-1",
        "--dataset=x",
        "--lock=x",
        "--width=0",
        "--delta=1",
        "--target=absent.npz",
        "--data_dir=absent",
    ],
)
def test_bad_flags_are_one_line_and_touch_nothing(tmp_path, capsys, flag):
    assert run(tmp_path / "run", flag) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.out == ""
    assert list(tmp_path.iterdir()) == []


def matrices(*shapes):
    return [np.full(shape, 0.1, np.float32) for shape in shapes]


@pytest.mark.parametrize(
    "flag",
    ["--certified=0", "--certified=nan", "--certified=0.1,-1", "--assignment=x", "--full"]
    + ["--width=5", "--objective=auto"],
)
def test_bad_flags_of_a_certificate_are_one_line_and_touch_nothing(tmp_path, capsys, flag):
    assert certify(tmp_path / "run", flag) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "weights, said",
    [
        (matrices((10, 5)), "64 pixels"),
        (matrices((5, 64), (10, 6)), "outputs"),
        (matrices((5, 64), (9, 5)), "10 classes"),
        ([np.full((10, 64), 1e35)], "below 1e30"),
        ([np.full((10, 64), np.nan)], "NaN"),
        ([np.ones(3)], "2-D"),
    ],
)
def test_a_target_that_does_not_fit_is_refused_before_any_work(tmp_path, capsys, weights, said):
    np.savez(tmp_path / "net.npz", *weights)
    flags = (f"--target={tmp_path}/net.npz", "--dataset=digits")
    assert run(tmp_path / "run", *flags) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "run").exists()


def test_every_cut_of_a_target_file_is_refused(tmp_path, capsys):
    np.savez_compressed(tmp_path / "net.npz", *matrices((10, 64)))
    content = (tmp_path / "net.npz").read_bytes()
    for end in range(0, len(content), 7):
        (tmp_path / "cut.npz").write_bytes(content[:end])
        flags = (f"--target={tmp_path}/cut.npz", "--dataset=digits")
        assert run(tmp_path / "run", *flags) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert run(tmp_path / "file" / "run") == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.out == ""
    assert (tmp_path / "file").read_text() == "mine"


def test_networks_that_are_not_certified_are_named_and_the_others_are_made(tmp_path, capsys):
    out = tmp_path / "run"
    # Three candidates a weight are too few at ε = 0; more are not asked for.
    assert certify(out, "--width=3", "--assignment=uniform", "--eps=0,1", "--certified=0.2") == 1
    error = capsys.readouterr().err
    assert error.startswith("error: eps-0.0_certified-0.2_uniform_key-0: no network is certified")
    assert [row["eps"] for row in rows_of(out)] == [1]
