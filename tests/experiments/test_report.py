"""The command: pages of runs, their numbers computed another way, and what bad input gives."""

import gzip
import itertools
import json
import math
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

import jax
import numpy as np
import page_tree
import pytest
import small_study

from experiments import cli, digits, report
from experiments.cli import flags
from experiments.published import tables
from lth_jax import numerics, runs, tickets
from lth_jax.report.page import sources
from lth_jax.runs import archive, results

ROOT = pathlib.Path(__file__).parents[2]
ARCHIVE = ROOT / "experiments" / "results" / "paper_baseline_narrow_5e-4.jsonl.gz"
OLD = ROOT / "tests" / "runs" / "from_8ccaaaf" / "finished"  # With tickets.
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
GRID = {
    "method": "prune,perturb_then_prune,random_then_prune,joint",
    "eps": "0.003,0.03",
    "sparsity": "0.5,0.75",
    "seeds": "3",
}


def main(*argv):
    return cli.main(report.run, report.Config(), report.__doc__, list(map(str, argv)))


def page(*argv):
    """The page's tree and its text."""
    assert main(*argv) == 0
    given = [a for a in map(str, argv) if a.startswith("--out=")]
    folder = given[0].removeprefix("--out=") if given else argv[0]
    text = (pathlib.Path(folder) / report.NAME).read_text()
    return page_tree.parse(text), text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "run"
    assert small_study.main(out, keep_tickets="true", **GRID) == 0
    return out


@pytest.fixture(scope="module")
def made(run):
    return page(run)


def rows_of(run):
    lines = (run / "results.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def cells_of(run):
    """Rows by (method, ε, sparsity), texts as the page has them."""
    found = {}
    for row in rows_of(run):
        eps = "" if row["eps"] is None else f"{row['eps']:g}"
        cell = (row["method"].replace("_", " "), eps, f"{row['sparsity']:g}")
        found.setdefault(cell, []).append(row)
    return found


def ticket_of(run, row):
    axes = [f"{n}-{row[n]}" for n in ("eps", "sparsity", "seed") if row[n] is not None]
    return tickets.load(run / "tickets" / ("_".join([row["method"], *axes]) + ".ticket"))


def kept_set(ticket):
    """The kept weights as a Python set of (layer, index)."""
    return {
        (layer, int(i))
        for layer, mask in ticket.masks.items()
        for i in np.flatnonzero(mask["kernel"])
    }


def check_alone(root, text):
    """Nothing from elsewhere, nothing that runs; every link within the page has its end."""
    names = {node.name for node in root.all()}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
    assert "foreignobject" not in names
    ids = [node.attributes["id"] for node in root.all() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in root.all():
        for name, value in node.attributes.items():
            assert name != "src" and not name.startswith("on"), (node.name, name)
            if name == "href":
                assert value.startswith("#") and value[1:] in ids, value
            if name == "style":
                assert set(re.findall(r"url\((.)", value)) <= {"#"}
    (style,) = root.all("style")
    assert "url(" not in style.text and "@import" not in style.text
    assert "http:" not in text and "https:" not in text
    assert text.startswith('<!DOCTYPE html>\n<html lang="en">')
    heads = [node.name for node in root.all() if re.fullmatch("h[1-6]", node.name)]
    assert heads[0] == "h1" and heads.count("h1") == 1
    steps = itertools.pairwise(int(head[1]) for head in heads)
    assert all(after <= before + 1 for before, after in steps)


@pytest.mark.slow
def test_the_page_is_whole_and_stands_alone(made):
    root, text = made
    check_alone(root, text)
    assert len(list(root.all("svg"))) >= 2 + 1 + 2 + 6 + 8 + 8
    for svg in root.all("svg"):
        assert svg.attributes["role"] == "img" and next(svg.all("title")).text
    assert all(
        node.parent.attributes.get("class") == "scroll"
        for name in ("table", "svg")
        for node in root.all(name)
    )


@pytest.mark.slow
def test_accuracies_and_their_maps_are_those_of_the_rows(run, made):
    root, _ = made
    stats = pytest.importorskip("scipy.stats")
    lines = {tuple(line[:3]): line for line in page_tree.table(root, "Test accuracy and paired")}
    cells = cells_of(run)
    assert set(lines) == set(cells)
    for cell, rows in cells.items():
        values = [100 * row["test_accuracy"] for row in rows]
        half = stats.t.ppf(0.975, 2) * stats.sem(values)
        assert lines[cell][5] == f"{np.mean(values):.2f} ± {half:.2f}"
        assert lines[cell][3] == "3"
    joint = page_tree.table(root, "joint, ours")
    for line, sparsity in zip(joint, ("0.5", "0.75"), strict=True):
        means = [
            np.mean([100 * r["test_accuracy"] for r in cells["joint", eps, sparsity]])
            for eps in ("0.003", "0.03")
        ]
        assert line == [sparsity, *(f"{mean:.1f}" for mean in means)]
    first = page_tree.table(root, "perturb then prune, published: table 1")
    assert [float(x) for x in first[5]] == [0.5, 85, 88, 86, 89, 87, 88, 89, 89, 90, 89, 76]


@pytest.mark.slow
def test_the_best_sparsity_is_the_one_of_the_best_mean_validation(run, made):
    root, _ = made
    lines = {tuple(line[:2]): line[2] for line in page_tree.table(root, "What validation chose")}
    means = {}
    for (method, eps, sparsity), rows in cells_of(run).items():
        means.setdefault((method, eps), {})[sparsity] = sum(r["val_accuracy"] for r in rows)
    assert lines == {place: max(by, key=by.get) for place, by in means.items()}


@pytest.mark.slow
def test_the_share_on_the_boundary_is_that_of_float64_numpy(run, made):
    root, _ = made
    lines = {tuple(line[:3]): line for line in page_tree.table(root, "The farthest weight")}
    cells = {cell: rows for cell, rows in cells_of(run).items() if cell[1]}
    assert set(lines) == set(cells)
    seen = 0
    for (method, eps, sparsity), rows in cells.items():
        radius, shares = float(np.nextafter(np.float32(eps), np.float32(0))), []
        if np.float64(np.float32(eps)) <= float(eps):
            radius = float(np.float32(eps))
        for row in rows:
            ticket = ticket_of(run, row)
            model = tickets.model_of(ticket.origin)
            start = jax.jit(lambda key, model=model: model.init(jax.random.fold_in(key, 0))[0])
            center = start(numerics.key(row["seed"]))
            moved = np.concatenate(
                [
                    np.abs(
                        np.float64(ticket.weights[layer]["kernel"])
                        - np.float64(center[layer]["kernel"])
                    )[mask["kernel"]]
                    for layer, mask in ticket.masks.items()
                ]
            )
            assert moved.max() <= radius
            shares.append(100 * np.mean(moved >= 0.999 * radius))
        seen += sum(shares) > 0
        assert lines[method, eps, sparsity][5].split(" ± ")[0] == f"{np.mean(shares):.2f}"
        farthest = max(row["ball_fraction"] for row in rows)
        assert lines[method, eps, sparsity][4] == f"{farthest:.6f}"
    assert seen >= 4  # Else nothing was compared but zeros.


@pytest.mark.slow
def test_overlap_and_density_are_those_of_python_sets(run, made):
    root, _ = made
    cells = cells_of(run)
    sets = {
        (cell, row["seed"]): kept_set(ticket_of(run, row))
        for cell, rows in cells.items()
        for row in rows
    }
    lines = {tuple(line[:3]): line for line in page_tree.table(root, "Two seeds of one cell")}
    assert set(lines) == set(cells)
    for cell in cells:
        pairs = itertools.combinations([sets[cell, seed] for seed in range(3)], 2)
        found = [len(a & b) / len(a | b) for a, b in pairs]
        expected = (np.mean(found), min(found), max(found))
        assert lines[cell][3:7] == ["3", *(f"{value:.3f}" for value in expected)]
    maps = 0
    for method, sparsity in itertools.product(("perturb then prune", "joint"), ("0.5", "0.75")):
        both = [
            [sets[(method, eps, sparsity), seed] for eps in ("0.003", "0.03")] for seed in range(3)
        ]
        value = np.mean([len(a & b) / len(a | b) for a, b in both])
        if value == 1:
            assert (
                f"{method}, sparsity {sparsity}" in root.text.partition("same mask at every ε")[2]
            )
            continue
        table = page_tree.table(root, f"{method}, sparsity {sparsity}:")
        assert table[1][1] == f"{value:.2f}" and table[0][1] == "1.00"
        maps += 1
    assert maps
    density = page_tree.table(page_tree.section(root, "run-1-density"), "Kept weights by layer")
    ticket = ticket_of(run, rows_of(run)[0])
    exact = [f"{100 * np.mean(mask['kernel']):.2f}" for mask in ticket.masks.values()]
    assert [line[2:] for line in density if line[1] == "0.5"] == [exact]


@pytest.mark.slow
def test_the_command_on_the_page_gives_the_same_settings_and_lanes(run, made):
    root, text = made
    (pre,) = root.all("pre")
    argv = shlex.split(pre.text)
    assert argv[:3] == ["python", "-m", "experiments.digits"]
    (config,) = flags.read(argv[3:], [digits.CONFIG], {})
    stored = json.loads((run / "config.json").read_text())
    values = flags.values(config)
    values = json.loads(json.dumps(values))  # Where a tuple is a list.
    shared = values.keys() & stored.keys()
    assert {name: values[name] for name in shared} == {name: stored[name] for name in shared}
    assert {*map(runs.lane_of, rows_of(run))} == set(config.lanes())
    assert stored["git"] in text and f"jax {jax.__version__}" in text
    settings = dict(page_tree.table(root, "config.json"))
    assert settings["batch_size"] == "32" and settings["model"] == "lenet"


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes_and_touches_nothing_else(run, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    (copy / report.NAME).unlink(missing_ok=True)
    before = small_study.tree(copy)
    command = [sys.executable, "-m", "experiments.report", str(copy)]
    texts = []
    for seed in ("1", "2"):
        (copy / report.NAME).unlink(missing_ok=True)
        environment = {"PYTHONHASHSEED": seed, "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        subprocess.run(command, check=True, cwd=ROOT, env=environment)
        after = small_study.tree(copy)
        texts.append(after.pop(report.NAME))
        assert after == before
    assert texts[0] == texts[1]


@pytest.mark.slow
def test_what_is_missing_is_said_in_words(run, tmp_path, capsys):
    bare = tmp_path / "bare"
    shutil.copytree(run, bare, ignore=shutil.ignore_patterns("tickets", report.NAME))
    root, text = page(bare, ARCHIVE, f"--out={tmp_path / 'both'}")
    check_alone(root, text)
    first, second = (page_tree.section(root, f"run-{i}").text for i in (1, 2))
    assert first.count("This run kept no tickets") == 3  # Moves, overlap and density.
    assert second.count("An archive keeps rows, not the networks themselves.") == 3
    for part in (first, second):
        assert "Rows hold the farthest weight only (ball_fraction)" in part
    assert "Nothing was held out for validation" in second
    assert text.count("no seed from 100 on") == 2
    kept = archive.load(ARCHIVE)
    pres = [node.text for node in root.all("pre")]
    assert pres[1].splitlines() == kept.commands
    # One ticket fewer.
    (run / "tickets" / "prune_sparsity-0.5_seed-0.ticket").rename(tmp_path / "aside")
    try:
        assert "1 of 42 lanes have no ticket" in page(run)[0].text
    finally:
        (tmp_path / "aside").rename(run / "tickets" / "prune_sparsity-0.5_seed-0.ticket")


@pytest.mark.slow
def test_text_from_files_stays_text(tmp_path):
    kept = archive.load(ARCHIVE)
    bad = "<script>alert(1)</script>\"'&"
    config = kept.config | {"model": bad, "dataset": bad, bad: bad}
    rows = [{k: v for k, v in row.items() if k not in ("check", "run")} for row in kept.rows]
    lines = [{"commands": [bad], "config": config}]
    lines += [results.seal(row | {"git": bad, "model": bad}) for row in rows]
    file = tmp_path / f"<b>&amp;{archive.SUFFIX}"
    file.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    root, text = page(file, f"--out={tmp_path}")
    check_alone(root, text)
    assert root.text.count(bad) >= 6 and next(root.all("pre")).text == bad + "\n"
    assert any("<b>&amp;" in node.text for node in root.all("h2"))


@pytest.mark.slow
def test_parts_of_a_run_kept_apart_are_one_run(run, tmp_path):
    parts = []
    for place, seeds in enumerate(([0], [1, 2])):
        part = tmp_path / f"part{place}"
        part.mkdir()
        shutil.copy(run / "config.json", part)
        results.append(part / "results.jsonl", [r for r in rows_of(run) if r["seed"] in seeds])
        parts.append(part)
    whole, apart = sources.read(run), [sources.read(part) for part in parts]
    (together,) = sources.together(apart)
    assert sorted(map(json.dumps, together.rows)) == sorted(map(json.dumps, whole.rows))
    with pytest.raises(ValueError, match="holds lanes that .* has, too"):
        sources.together([whole, *apart])


def lane(method, eps, sparsity, seed):
    row = {"method": method, "eps": eps, "sparsity": sparsity, "seed": seed}
    return row | {"val_accuracy": 0.5, "test_accuracy": 0.5, "diverged": None}


@pytest.mark.parametrize("gap", [False, True])
def test_commands_give_just_the_lanes_that_are_there(gap):
    rows = [lane("prune", None, s, seed) for s in (0.5, 0.9) for seed in (3, 4)]
    rows += [lane("joint", e, s, seed) for e in (0, "inf") for s in (0.5, 0.9) for seed in (3, 4)]
    rows += [lane("dense", None, None, seed) for seed in (3, 4)]
    if gap:  # No longer a grid: another seed for one cell, and one with a gap before it.
        rows += [lane("joint", 0.1, 0.5, seed) for seed in (3, 5, 6)]
    found = report.commands(sources.Source("x", {"study": "digits"}, rows, [], None))
    lanes = []
    for command in found:
        (config,) = flags.read(shlex.split(command)[3:], [digits.CONFIG], {})
        lanes += config.lanes()
    assert sorted(lanes, key=str) == sorted(map(runs.lane_of, rows), key=str)
    assert (len(found) == 1) is not gap
    assert report.commands(sources.Source("x", {"study": "own"}, rows, [], None)) == []


def theory(path):
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"study": "construction", "seed": 0}))
    (path / "construction.json").write_text("[]")


def damaged(path):
    shutil.copytree(OLD, path)
    text = (path / "results.jsonl").read_text()
    (path / "results.jsonl").write_text(
        text.replace('"test_accuracy": 0.15', '"test_accuracy": 0.95')
    )


def of_other_settings(path):
    shutil.copytree(OLD, path)
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | {"width": 1}))


def torn_ticket(path):
    shutil.copytree(OLD, path)
    file = next((path / "tickets").glob("prune*"))
    file.write_bytes(file.read_bytes()[:-40])


def swapped_ticket(path):
    shutil.copytree(OLD, path)
    dense, prune = (next((path / "tickets").glob(f"{name}*")) for name in ("dense", "prune"))
    shutil.copy(dense, prune)


def not_settings(path):
    path.mkdir()
    (path / "config.json").write_text("[1]")


def no_rows(path):
    shutil.copytree(OLD, path)
    (path / "results.jsonl").unlink()


BAD = {
    "No such file": lambda path: None,
    "which trains no lanes": theory,
    "not as it was written": damaged,
    "made with other settings": of_other_settings,
    "damaged": torn_ticket,
    "its row says 543": swapped_ticket,
    "expected the JSON of a run's settings": not_settings,
    "has no config.json": lambda path: path.mkdir(),
    "has no rows": no_rows,
    "expected an archive of rows": lambda path: path.write_text("{}"),
}


@pytest.mark.parametrize("said", BAD)
def test_bad_input_is_one_line_and_nothing_is_written(tmp_path, capsys, said):
    path = tmp_path / "run"
    BAD[said](path)
    before = small_study.tree(tmp_path)
    assert main(path) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and said in err and str(path) in err and not out
    assert small_study.tree(tmp_path) == before


def test_bad_flags_are_one_line(tmp_path, capsys):
    for argv, said in (
        ([], "expected a RUN"),
        ([ARCHIVE], "--out must be given"),
        ([OLD, "--out=page.html"], "--out must be a folder"),
        ([OLD, "--no_such_flag"], "no_such_flag"),
        ([OLD, f"--out={ARCHIVE}"], "File exists"),
        ([OLD, OLD, f"--out={tmp_path}"], "give one of them"),
    ):
        assert main(*argv) == 2
        out, err = capsys.readouterr()
        assert err.count("\n") == 1 and said in err and not out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_page_is_replaced_whole_or_left_as_it_was(tmp_path, capsys):
    (tmp_path / report.NAME).write_text("an older page")
    root, text = page(OLD, f"--out={tmp_path}")
    check_alone(root, text)
    assert [p.name for p in tmp_path.iterdir()] == [report.NAME]
    (tmp_path / "other" / report.NAME).mkdir(parents=True)
    assert main(OLD, f"--out={tmp_path / 'other'}") == 2
    assert [p.name for p in (tmp_path / "other").iterdir()] == [report.NAME]
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_shows_the_page_without_a_complaint(tmp_path):
    root, text = page(OLD, ARCHIVE, f"--out={tmp_path}")
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    done = subprocess.run(
        [*command, f"file://{tmp_path / report.NAME}"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "CONSOLE" not in done.stderr
    shown = page_tree.parse(done.stdout)
    for name in ("table", "tr", "svg", "figure", "section", "text", "a"):
        assert len(list(shown.all(name))) == len(list(root.all(name))), name
    assert tables.paper().source in shown.text
    assert not math.isnan(len(text))
