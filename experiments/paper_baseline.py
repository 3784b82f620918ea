"""What is the paper's baseline made of, and does its gain of ε survive another weight decay?

    python -m experiments.paper_baseline      # from the committed rows: no data, no training

Prints two tables in markdown, a line per cell and what ε adds by decay, and draws the picture of
README. The rows are those of `experiments.mnist --preset=paper_code --curves`, with --prune_decay
of 5e-4 (the published code's), 1e-4 (edge-popup's own) and 0, on the paper's net and on one of a
fifth of its width; each file under experiments/results/ names its commands and commit.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from experiments import cli
from experiments.published import tables
from lth_jax import errors
from lth_jax.report import confirmatory, plots, plots_baseline, statistics
from lth_jax.runs import archive

HERE = pathlib.Path(__file__).parent
_TABLES = {table.method: table.cells for table in tables.paper().tables.values()}
# Test accuracy at ε = 0, by sparsity, which all the paper's tables share.
PUBLISHED = {s: _TABLES["perturb_then_prune"][0.0, s] for s in (0.1, 0.5, 0.8)}
_MARKED = {f"published, s = {s:g}": value for s, value in PUBLISHED.items()}
_COLORS = dict(zip((0.0, 5e-4, 1e-4), plots.COLOURS, strict=False))  # by decay
_NARROW, _FULL = "a fifth as wide", "the paper's net"


@dataclasses.dataclass(frozen=True)
class Config:
    """Where rows and picture are."""

    results: str = cli.setting(str(HERE / "results"), "Folder with paper_baseline_*.jsonl.gz.")
    picture: str = cli.setting("runs/paper_baseline.png", "The file to draw, with an .svg.")


def load(folder: str | pathlib.Path) -> list[dict[str, Any]]:
    """All rows of the archives, each with its run's `width`, `decay` and `perturb_epochs`.

    Raises:
        InputError: If there is no archive, or one is damaged.
    """
    found = []
    for file in sorted(pathlib.Path(folder).glob(f"paper_baseline_*{archive.SUFFIX}")):
        kept = archive.load(file)
        config = kept.config
        more = {"decay": config["prune_decay"], **{n: config[n] for n in ("width", "project_per")}}
        found += [row | more for row in kept.rows]
    if not found:
        raise errors.InputError(f"results: no archives in {folder}.")
    return found


def cells(rows: Iterable[Mapping[str, Any]]) -> dict[tuple[Any, ...], list[Mapping[str, Any]]]:
    """Rows by width, decay, method, eps and sparsity, widest nets and largest decays first."""
    found: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in rows:
        key = (row["width"], row["decay"], row["method"], row["eps"], row["sparsity"])
        found.setdefault(key, []).append(row)
    return dict(sorted(found.items(), key=_order))


def _order(item: tuple[tuple[Any, ...], Any]) -> tuple[Any, ...]:
    width, decay, method, eps, sparsity = item[0]
    return (-width, method != "prune", -decay, method, eps or 0.0, sparsity)


def table(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The cells as lines of a table in markdown; of three seeds or more the mean with its interval.

    Of the epochs of pruning: the test accuracy after the third, the lowest one, and the one after
    the last but one; the largest share of the mask that the last step of one changes; and the
    median size of scores after the last one over that after the first.
    """
    lines = [
        "| net | decay | method | ε | s | n | test, % | after 3 epochs | lowest | "
        "before the last epoch | last steps change | scores shrink to | published, wide net |",
        "|" + "---|" * 13,
    ]
    for (width, decay, method, eps, sparsity), mine in cells(rows).items():
        fine = [row for row in mine if row["diverged"] is None]
        net = _FULL if width == 1 else _NARROW
        n = f"{len(fine)}" + (
            f" (+{len(mine) - len(fine)} diverged)" if len(mine) > len(fine) else ""
        )
        at_zero = PUBLISHED.get(sparsity) if method == "prune" else None
        shown = [
            net,
            f"{decay:g}",
            f"`{method}`",
            "" if eps is None else f"{eps:g}",
            f"{sparsity:g}",
        ]
        shown += [n, *_numbers(fine), "" if at_zero is None else f"{100 * at_zero:.0f}"]
        lines.append("| " + " | ".join(shown) + " |")
    return lines


def _numbers(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What `table` says of rows, the mean of several."""
    if not rows:
        return [""] * 6

    def pruning(row: Mapping[str, Any], name: str) -> list[float]:
        pairs = zip(row["score_median_curve"], row[name], strict=True)
        return [value for score, value in pairs if score is not None and value is not None]

    def mean(values: Iterable[float]) -> float:
        return statistics.mean(list(values)).mean

    accuracy = statistics.mean([row["test_accuracy"] for row in rows])
    shown = f"{100 * accuracy.mean:.1f} ± {100 * accuracy.half:.1f}"
    if accuracy.n < 3:  # An interval of two values says nothing.
        shown = ", ".join(f"{100 * row['test_accuracy']:.1f}" for row in rows)
    curves = [pruning(row, "test_curve") for row in rows]
    marks = (c[:3][-1] for c in curves), (min(c) for c in curves), (c[-2:][0] for c in curves)
    changed = mean(max(pruning(row, "step_change_curve")) for row in rows)
    medians = [pruning(row, "score_median_curve") for row in rows]
    return [
        shown,
        *(f"{100 * mean(values):.1f}" for values in marks),
        f"{100 * changed:.2f} %",
        f"{mean(m[-1] / m[0] for m in medians):.1e}",
    ]


def gains(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What ε adds to `prune` of the same seeds, in points, as lines of a table in markdown.

    Intervals are of paired differences, and those of a line hold all at once (Bonferroni); of
    fewer than three seeds every difference is given. A seed of which either lane diverged is left
    out. A line of its own has the published gains.
    """
    found = cells(rows)
    moved = sorted({key[2:4] for key in found if key[3]})
    lines = [
        "| net | decay | s | `prune`, % | "
        + " | ".join(f"`{method}`, ε = {eps:g}" for method, eps in moved)
        + " |",
        "|" + "---|" * (4 + len(moved)),
    ]
    for (width, decay, method, _, sparsity), baseline in found.items():
        theirs = [found.get((width, decay, *pair, sparsity), []) for pair in moved]
        if method == "prune" and any(theirs):
            pairs = [_paired(mine, baseline) for mine in theirs]
            fine = [row for row in baseline if row["diverged"] is None]
            shown = [_FULL if width == 1 else _NARROW, f"{decay:g}", f"{sparsity:g}"]
            shown += [_numbers(fine)[0], *_differences(pairs)]
            lines.append("| " + " | ".join(shown) + " |")
    for sparsity in sorted({key[4] for key in found if key[3]} & set(PUBLISHED)):
        shown = [
            f"published, {_FULL}",
            "0.0005",
            f"{sparsity:g}",
            f"{100 * PUBLISHED[sparsity]:.0f}",
        ]
        shown += [_published_gain(method, eps, sparsity) for method, eps in moved]
        lines.append("| " + " | ".join(shown) + " |")
    return lines


def _published_gain(method: str, eps: float, sparsity: float) -> str:
    """In points; empty if the paper has no such cell."""
    value = _TABLES.get(method, {}).get((eps, sparsity))
    return "" if value is None else f"{100 * (value - PUBLISHED[sparsity]):+.0f}"


def _paired(
    mine: Iterable[Mapping[str, Any]], baseline: Iterable[Mapping[str, Any]]
) -> list[float]:
    """Differences of test accuracy, seed by seed, of those of which neither lane diverged."""
    zero = {row["seed"]: row["test_accuracy"] for row in baseline if row["diverged"] is None}
    fine = [row for row in mine if row["diverged"] is None and row["seed"] in zero]
    return [row["test_accuracy"] - zero[row["seed"]] for row in fine]


def _differences(pairs: Sequence[Sequence[float]]) -> list[str]:
    """In points, with intervals that hold together where there are three seeds or more."""
    several = {str(place): values for place, values in enumerate(pairs) if len(values) > 2}
    intervals = confirmatory.simultaneous(several)
    shown = []
    for place, values in enumerate(pairs):
        told = ", ".join(f"{100 * value:+.1f}" for value in values)
        if of := intervals.get(str(place)):
            told = f"{100 * of.mean:+.1f} ± {100 * of.half:.1f}"
        shown.append(told)
    return shown


def picture(rows: Sequence[Mapping[str, Any]]) -> plots.Figure:
    """The figure of README: see plots_baseline."""
    pruned, gained = [], []
    by_net: dict[tuple[float, float], list[Mapping[str, Any]]] = {}
    for (width, decay, _, _, sparsity), mine in cells(rows).items():
        if sparsity == 0.5:
            fine = [row for row in mine if row["diverged"] is None]
            by_net.setdefault((width, decay), []).extend(fine)
    for (width, decay), mine in by_net.items():
        color, full = _COLORS.get(decay, plots.COLOURS[3]), width == 1
        label = f"decay {decay:g}, {_FULL if full else _NARROW}"
        only = [row for row in mine if row["method"] == "prune"]
        pruned.append(plots_baseline.Series(label, color, "-" if full else ":", only))
        if not full:
            gained.append(plots_baseline.Series(f"decay {decay:g}", color, "-", mine))
    return plots_baseline.baseline(pruned, gained, _MARKED)


def run(config: Config) -> None:
    """Prints the tables and draws the picture.

    Raises:
        InputError: If the rows cannot be read.
        RunError: If the picture cannot be written.
    """
    rows = load(config.results)
    print("\n".join([*table(rows), "", *gains(rows)]))
    try:
        pathlib.Path(config.picture).parent.mkdir(parents=True, exist_ok=True)
        plots.save(picture(rows), config.picture)
    except OSError as error:
        raise errors.RunError(f"picture: {config.picture}: {error.strerror or error}.") from None
    print(config.picture)


if __name__ == "__main__":
    sys.exit(cli.main(run, Config(), __doc__))
