"""Tables of experiments/README.md, made again from the committed rows."""

import gzip
import json
import pathlib
import re

import pytest

from experiments import ablate
from experiments.finders import table as finders_table
from experiments.planted import table
from experiments.published import beside
from lth_jax.report import confirmatory, hypotheses, summary
from lth_jax.runs import archive

README = pathlib.Path(table.__file__).parents[1] / "README.md"
TASKS = ("circle", "digits", "helix", "relu")


def stored(name):
    found = json.loads(gzip.decompress((README.parent / "results" / name).read_bytes()))
    assert found["commands"] and found["config"]["git"]
    return found["rows"]


@pytest.mark.parametrize("odd", ["given", "searched"])
def test_every_line_of_the_planted_tables_stands_in_their_page(odd):
    rows = [row for task in TASKS for row in stored(f"planted_{task}.json.gz")]
    made = table.table([row for row in rows if row["odd"] == odd], None).split("\n")
    page, summary = (README.parent / "planted" / "README.md").read_text(), README.read_text()
    lines = [line.replace(f" | {odd} | ", " | ", 1) for line in made[2:] if line.startswith("|")]
    for line in lines:
        assert line in page, line
        if odd == "given" and re.match(r"\| \w+ \| constant \| 0.25 \| (0|0.1) \|", line):
            assert line in summary, line
    assert len(lines) == {"given": 49, "searched": 30}[odd]


@pytest.mark.parametrize(
    "share, first", [(0.01, "| published 784-500-10, 1 % |"), (0.1, "| the same, 10 % |")]
)
def test_the_numbers_of_the_published_target_stand_in_the_readme(share, first):
    rows = stored("construction_published.json.gz")
    lines = README.read_text().split("\n")
    first = next(i for i, line in enumerate(lines) if line.startswith(first))
    for line, eps in zip(lines[first:], (0, 0.001, 0.01, 0.03, 0.1, 0.3), strict=False):
        shown = []
        for field in ("candidates_per_weight", "kept_per_weight"):
            for assignment in ("uniform", "adaptive"):
                place = (eps, share, assignment)
                own = [
                    row[field]
                    for row in rows
                    if (row["eps"], row["certified_target"], row["assignment"]) == place
                ]
                assert len(own) == 5
                numbers = [f"{x:.2f}" for x in (sum(own) / 5, min(own), max(own))]
                if numbers[0].startswith("0"):
                    numbers = [number.removeprefix("0") for number in numbers]
                shown.append(f"{numbers[0]} ({numbers[1]}–{numbers[2]})")
        assert " | ".join(shown) in line, shown


DIFFERENCES = {  # H1 to H5, in percent points
    "Fashion-MNIST": (1.27, 0.53, 0.37, 1.09, -0.25),
    "MNIST": (1.54, 0.69, 0.68, 0.75, -0.18),
}


@pytest.mark.parametrize("title", DIFFERENCES)
def test_the_verdicts_on_the_hypotheses_stand_in_the_readme(title):
    name = title.lower().replace("-", "_")
    found = archive.load(README.parent / "results" / f"fair_{name}.jsonl.gz")
    assert {row["seed"] for row in found.rows} == {*range(100, 112)} and len(found.rows) == 972
    assert {row["dataset"] for row in found.rows} == {name}
    verdicts = confirmatory.decide(hypotheses.of_rows(found.rows))
    lines = beside.verdict_lines(verdicts)[2:]
    assert "\n".join([f"| | **{title}** | | | | | | |", *lines]) in README.read_text()
    for line, difference in zip(lines, DIFFERENCES[title], strict=True):
        assert f" | {difference:+.2f} ± " in line, line
    marks = ["supported"] * 4 + ["refuted"]
    assert [beside.verdict_record(verdict)["outcome"] for verdict in verdicts] == marks


def test_the_tables_of_the_paper_stand_beside_ours_in_the_readme():
    rows = archive.load(README.parent / "results" / "paper_tables_reduced.jsonl.gz").rows
    assert len(rows) == 18 and {(row["seed"], row["diverged"]) for row in rows} == {(1, None)}
    for number in (1, 3):
        cells = beside.compare(rows, number)
        assert len(cells) == 9
        assert "\n".join(beside.lines(cells, number)) in README.read_text()


def test_the_table_of_conv2_stands_in_the_readme():
    rows = archive.load(README.parent / "results" / "conv2_cifar10.jsonl.gz").rows
    assert len(rows) == 30 and {row["seed"] for row in rows} == {*range(6)}
    found = summary.cells(rows)
    assert len(found) == 5
    for cell in found:
        mean, half = (100 * x for x in cell.accuracy["test_accuracy"][:2])
        radius = "" if cell.eps is None else f" {cell.eps:g}"
        line = f"| `{cell.method}` |{radius} | {mean:.2f} ± {half:.2f} |"
        if pair := cell.against.get("prune_longer"):
            line += f" {100 * pair.difference:+.2f} ± {100 * pair.half:.2f} (p {pair.p:.2g}) |"
        assert line in README.read_text(), line


CURVES = {"conv2": 3, "conv4": 4}  # seeds


@pytest.mark.parametrize("net", CURVES)
def test_the_learning_curves_stand_in_the_readme(net):
    rows = archive.load(README.parent / "results" / f"curves_{net}.jsonl.gz").rows
    assert len(rows) == 2 * CURVES[net] and {row["model"] for row in rows} == {net}
    found = summary.cells(rows)
    for cell, curve in zip(found, summary.curves(rows, "val_curve"), strict=True):
        epochs = [f"{100 * x.mean:.1f} ± {100 * x.half:.1f}" for x in curve.epochs]
        mean, half = (100 * x for x in cell.accuracy["test_accuracy"][:2])
        line = f"| `{net}` | `{cell.method}` | {CURVES[net]} | {' | '.join(epochs)} "
        line += "| " * (6 - len(epochs)) + f"| {mean:.1f} ± {half:.1f} |"
        if pair := cell.against.get("prune_longer"):
            line += f" {100 * pair.difference:+.1f} ± {100 * pair.half:.1f} |"
        assert line in README.read_text(), line


def test_the_table_of_finders_stands_in_the_readme():
    archives = sorted((README.parent / "results").glob("finders_*.jsonl.gz"))
    rows = finders_table.stored(archives)
    assert {row["seed"] for row in rows} == {*range(200, 210)}
    entries = finders_table.entries(rows)
    assert len(entries) == len(archives) * 2 * 2 == 13 * 2 * 2
    text = README.read_text()
    for line in finders_table.lines(entries)[2:]:
        assert line in text, line


def test_the_table_of_ablations_stands_in_the_readme():
    rows = stored("ablations_edge_popup.json.gz")
    assert len(rows) == 80 and not any(row["collapsed"] for row in rows)
    text, lines = README.read_text(), ablate.table(rows)[2:]
    assert len(lines) == 8
    for line in lines:
        assert line in text, line
    for row in rows:
        every = row["accuracy"]
        ticket, *others = (max(every[name]) for name in every)
        assert ticket > 0.8 and max(others) < 0.35, row["ticket"]


def test_the_ablations_of_the_other_finders_stand_in_the_readme():
    by_finder = {}
    for row in stored("ablations_others.json.gz"):
        assert not row["collapsed"]
        by_finder.setdefault(row["pruner"], []).append(row["accuracy"])
    assert len(by_finder) == 7
    for finder, tickets in by_finder.items():
        assert len(tickets) == 80
        least = min(every["ticket"][0] for every in tickets)
        most = [
            max(max(every[name]) for every in tickets)
            for name in ("shuffled", "redrawn", "inverted", "random")
        ]
        shown = " | ".join(f"{100 * x:.1f}" for x in (least, *most))
        assert f"| `{finder}` | {shown} |" in README.read_text()
        for every in tickets:
            ticket, *others = (max(every[name]) for name in every)
            assert ticket > max(others) + 0.4
