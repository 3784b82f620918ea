"""Tables of experiments/README.md, made again from the committed rows."""

import gzip
import json
import pathlib

import pytest

from experiments.planted import table

README = pathlib.Path(table.__file__).parents[1] / "README.md"


def stored(name):
    found = json.loads(gzip.decompress((README.parent / "results" / name).read_bytes()))
    assert found["commands"] and found["config"]["git"]
    return found["rows"]


@pytest.mark.parametrize("odd, hidden", [("given", (1,)), ("searched", (1, 2))])
def test_every_line_of_the_planted_tables_stands_in_the_readme(odd, hidden):
    tasks = ("circle", "digits", "relu")
    rows = [row for task in tasks for row in stored(f"planted_{task}.json.gz")]
    made = table.table([row for row in rows if row["odd"] == odd], None).split("\n")
    lines = [line for line in made[2:] if line.startswith("|")]
    text = README.read_text()
    for line in lines:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        shown = [cell for place, cell in enumerate(cells) if place not in hidden]
        assert "| " + " | ".join(shown) + " |" in text, line
    assert len(lines) == {"given": 32, "searched": 12}[odd]


def test_the_numbers_of_the_published_target_at_ten_percent_stand_in_the_readme():
    rows = stored("construction_published.json.gz")
    lines = README.read_text().split("\n")
    first = next(i for i, line in enumerate(lines) if line.startswith("| the same, 10 % |"))
    for line, eps in zip(lines[first:], (0, 0.001, 0.01, 0.03, 0.1, 0.3), strict=False):
        shown = []
        for field in ("candidates_per_weight", "kept_per_weight"):
            for assignment in ("uniform", "adaptive"):
                place = (eps, 0.1, assignment)
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
