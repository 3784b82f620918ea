"""Stored constructions verified again: what agrees, what does not, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from experiments import cli, construction, verify


def run(*argv):
    return cli.main(verify.run, verify.Config(), verify.__doc__, argv)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A target's file and a folder with four tickets of it."""
    folder = tmp_path_factory.mktemp("verify")
    rng = np.random.default_rng(0)
    np.savez(folder / "target.npz", rng.normal(0, 0.3, (5, 64)), rng.normal(0, 0.6, (10, 5)))
    argv = [f"--target={folder / 'target.npz'}", "--dataset=digits", "--certified=0.1"]
    argv += ["--eps=0,0.1", f"--out={folder / 'run'}"]
    assert cli.main(construction.run, construction.Config(), construction.__doc__, argv) == 0
    return folder / "target.npz", folder / "run"


@pytest.mark.slow
def test_stored_tickets_are_what_their_rows_say_and_changed_rows_are_not(stored, tmp_path, capsys):
    target, folder = stored
    names = sorted(path.name for path in folder.glob("*.ticket"))
    assert run(f"--target={target}", *(str(folder / name) for name in names)) == 0
    said = capsys.readouterr().out.split("\n")
    assert [line.split(":")[0] for line in said[:4]] == names and said[4] == "4 of 4 agree"
    shutil.copytree(folder, tmp_path / "run")
    path = tmp_path / "run" / "construction.json"
    rows = json.loads(path.read_text())
    for factor in (1 - 1e-6, 1 + 1e-6):
        field = "certificate_entrywise"
        path.write_text(json.dumps([row | {field: row[field] * factor} for row in rows]))
        assert run(f"--target={target}", str(path.parent / names[0])) == 1
        seen = capsys.readouterr()
        assert "DIFFERS" in seen.out and "1 of 1 tickets are not" in seen.err


@pytest.mark.slow
def test_a_weight_that_moved_too_far_is_seen(stored, tmp_path, capsys):
    """The ticket of ε = 0.1 under the name of a smaller ε."""
    target, folder = stored
    rows = json.loads((folder / "construction.json").read_text())
    (row,) = [r for r in rows if (r["eps"], r["assignment"]) == (0.1, "uniform")]
    (tmp_path / "construction.json").write_text(json.dumps([row | {"eps": 0.09}]))
    name = "eps-{}_certified-0.1_uniform_key-0.ticket"
    shutil.copy(folder / name.format(0.1), tmp_path / name.format(0.09))
    assert run(f"--target={target}", str(tmp_path / name.format(0.09))) == 1
    assert "DIFFERS" in capsys.readouterr().out


@pytest.mark.slow
def test_what_cannot_be_verified_is_one_line_and_status_2(stored, tmp_path, capsys):
    target, folder = stored
    name = next(folder.glob("*.ticket"))
    shutil.copy(name, tmp_path / name.name)
    np.savez(tmp_path / "other.npz", np.ones((5, 64)), np.ones((10, 5)))
    for argv, said in (
        ((), "target and a ticket must be given"),
        ((f"--target={target}", str(tmp_path / name.name)), "no object of it"),
        ((f"--target={target}", str(folder / "none.ticket")), "no object of it"),
        ((f"--target={tmp_path / 'other.npz'}", str(name)), "hides another target"),
    ):
        assert run(*argv) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and said in error
