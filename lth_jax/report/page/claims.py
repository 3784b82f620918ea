"""What was claimed before the runs, after Holm's correction, and all other differences."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lth_jax import runs
from lth_jax.report import confirmatory, hypotheses, plots, statistics, summary
from lth_jax.report.page import markup, sources

# H1 to H5 were thought of on seeds 0 to 4: what confirms them has to be fresh.
FIRST_SEED = 100
_CLASSES = {"supported": "good", "refuted": "bad", "undecided": None}


def family(source: sources.Source) -> list[confirmatory.Hypothesis]:
    """The hypotheses, tested on a run's fresh seeds: a family for each data set and net.

    Args:
        source: The run.

    Raises:
        ValueError: If it cannot test them; it says why.
    """
    fresh = [row for row in source.rows if row["seed"] >= FIRST_SEED]
    if not fresh:
        raise ValueError(f"it has no seed from {FIRST_SEED} on.")
    if any(row["diverged"] is None and row["val_accuracy"] is None for row in fresh):
        raise ValueError("it held nothing out, so no ε or sparsity can be chosen.")
    return hypotheses.of_rows(fresh)


def confirmed(some: Sequence[sources.Source]) -> markup.Markup:
    """The table of the confirmatory tests of all runs, each corrected within its own family.

    Args:
        some: The runs.
    """
    lines, left_out, most = [], [], 0
    for source in some:
        try:
            verdicts = confirmatory.decide(family(source))
        except ValueError as error:
            left_out.append(markup.paragraph(f"{source.name}: {error}", class_="note"))
            continue
        most = max(most, len(verdicts))
        lines += [_line(verdict, f"{source.title} ({source.name})") for verdict in verdicts]
    words = (
        f"H1 to H5 were written down before any run on seeds from {FIRST_SEED} on, and only such "
        "seeds count here; sparsity and ε are chosen on the validation split. "
    )
    if not lines:
        told = markup.paragraph(words, "No run on this page can test them:")
        return markup.section("Confirmatory tests", "confirmatory", told, *left_out, level=2)
    words += (
        f"Each run is a family of {most}, corrected by Holm at 5 %; p is of exact sign flips, and "
        "with n pairs never below 2/2ⁿ. A claim of several parts shows its weakest."
    )
    named = [markup.element("th", name, scope="col") for name in ("weakest part", "run")]
    head = (
        *("", "claim", "outcome", "difference, points", "n", "p (Holm)", "p", "p (t, Holm)"),
        *("effect d_z", *named),
    )
    shown = markup.table(head, lines, "Differences with 95 % intervals, each for itself", names=3)
    if left_out:
        left_out.insert(0, markup.paragraph("Not tested on:", class_="note"))
    told = markup.paragraph(words)
    return markup.section("Confirmatory tests", "confirmatory", told, shown, *left_out, level=2)


def _line(verdict: confirmatory.Verdict, run: str) -> list[object]:
    effect = verdict.effect
    size = markup.signed(effect.d)
    if math.isfinite(effect.d):
        size += f" [{markup.signed(effect.low)}, {markup.signed(effect.high)}]"
    return [
        markup.element("td", markup.element("b", verdict.name)),
        markup.element("td", verdict.claim.replace("_", " "), class_="long"),
        markup.element("td", verdict.outcome, class_=_CLASSES[verdict.outcome]),
        markup.interval(verdict.difference, plus=True),
        verdict.difference.n,
        *map(markup.p_value, (verdict.p_holm, verdict.p, verdict.t_p_holm)),
        size,
        markup.element("td", verdict.weakest.replace("_", " "), class_="long"),
        markup.element("td", run, class_="long"),
    ]


_Cell = tuple[str, float | None, float | None]


def against(
    rows: Sequence[Mapping[str, Any]],
) -> dict[_Cell, dict[str, statistics.Mean]]:
    """Paired differences of every cell to its baselines, by the names of summary.BASELINES.

    Args:
        rows: As in results.jsonl.

    Returns:
        In the order of the rows; of a method at one sparsity, the intervals of all ε hold at once
        at 95 % (Bonferroni). Runs that diverged are left out with their pairs.
    """
    cells: dict[_Cell, dict[int, float]] = {}
    for row in rows:
        if row["diverged"] is None:
            lane = runs.lane_of(row)
            cells.setdefault(lane[:3], {})[lane.seed] = row["test_accuracy"]
    found: dict[_Cell, dict[str, statistics.Mean]] = {cell: {} for cell in cells}
    for method, sparsity in dict.fromkeys((method, sparsity) for method, _, sparsity in cells):
        radii = [eps for m, eps, s in cells if (m, s) == (method, sparsity)]
        for name in summary.BASELINES:
            base = (method, 0.0, sparsity) if name == "eps=0" else (name, None, sparsity)
            pairs = {
                (method, eps, sparsity): _pairs(cells[method, eps, sparsity], cells[base])
                for eps in radii
                if base in cells and base != (method, eps, sparsity)
            }
            groups = {str(cell): values for cell, values in pairs.items() if values}
            intervals = confirmatory.simultaneous(groups)
            for cell in pairs:
                if str(cell) in intervals:
                    found[cell][name] = intervals[str(cell)]
    return found


def _order(cells: Sequence[summary.Cell]) -> Callable[[summary.Cell], tuple[float, ...]]:
    """Methods as they come, below each the sparsities, below each ε."""
    methods = list(dict.fromkeys(cell.method for cell in cells))
    return lambda c: (methods.index(c.method), c.sparsity or 0.0, -1 if c.eps is None else c.eps)


def _pairs(some: Mapping[int, float], other: Mapping[int, float]) -> list[float]:
    return [some[seed] - other[seed] for seed in some if seed in other]


def intervals(
    cells: Sequence[summary.Cell], rows: Sequence[Mapping[str, Any]], prefix: str
) -> markup.Markup:
    """Accuracies and differences with intervals: no p, no stars.

    Args:
        cells: From summary.cells.
        rows: The rows that they are of.
        prefix: Of the section's id.
    """
    found = against(rows)
    used = [name for name in summary.BASELINES if any(name in each for each in found.values())]
    lines = []
    for cell in sorted(cells, key=_order(cells)):
        test, validation = cell.accuracy["test_accuracy"], cell.accuracy["val_accuracy"]
        own = found.get(cell[:3], {})
        lost = f" (+{cell.diverged} diverged)" if cell.diverged else ""
        lines.append(
            [
                *(plots.shown(cell.method), markup.number(cell.eps), markup.number(cell.sparsity)),
                *(f"{test.n}{lost}", markup.interval(validation), markup.interval(test)),
                *(markup.interval(own[name], plus=True) if name in own else "" for name in used),
            ]
        )
    baselines = (f"− {'ε = 0' if name == 'eps=0' else plots.shown(name)}" for name in used)
    head = ("method", "ε", "sparsity", "n", "validation, %", "test, %", *baselines)
    words = (
        "Accuracies with 95 % intervals (Student’s t), each for itself. Differences are on the "
        "test split, in points, paired by seed; of one method at one sparsity the intervals of all "
        "ε hold at once at 95 % (Bonferroni). These comparisons were not claimed beforehand: "
        "nothing here is called significant."
    )
    shown = markup.table(head, lines, "Test accuracy and paired differences")
    name = f"{prefix}-intervals"
    return markup.section("Differences, with intervals", name, markup.paragraph(words), shown)
