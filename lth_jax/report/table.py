"""Cells as a table for people, as wide as there is room for, and what is best among them."""

import io
import math
import textwrap
import typing
from collections.abc import Sequence
from typing import Literal, NamedTuple

from lth_jax import pruners
from lth_jax.report import statistics, summary

Form = Literal["auto", "wide", "narrow"]
FORMS: tuple[str, ...] = typing.get_args(Form)
NARROW = 80  # columns
_STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
_SAME = "="  # instead of stars, where all seeds differ by the same


class _Layout(NamedTuple):
    """What a table spends its width on."""

    named: bool  # the method in every line, not once above its lines
    p: bool  # in columns of their own, not as stars
    validation: bool
    spaced: bool  # around ±, and twice between columns


# The first that fits is taken.
_LAYOUTS = (
    _Layout(named=True, p=True, validation=True, spaced=True),
    _Layout(named=True, p=False, validation=True, spaced=True),
    _Layout(named=False, p=False, validation=True, spaced=True),
    _Layout(named=False, p=False, validation=False, spaced=True),
    _Layout(named=False, p=False, validation=False, spaced=False),
)


class _Column(NamedTuple):
    head: str
    entries: list[str]  # by cell

    @property
    def width(self) -> int:
        return max(map(len, (self.head, *self.entries)))


def accuracy_table(
    cells: Sequence[summary.Cell], title: str, width: int = NARROW, form: Form = "auto"
) -> str:
    """Accuracies in percent with intervals and paired differences, a line per cell.

    Columns without an entry are left out.

    Args:
        cells: From summary.cells.
        title: What was trained on what.
        width: Columns of text that there are.
        form: "auto" shows as much as fits the width, "narrow" as much as fits 80 columns, "wide"
            everything, however long the lines are.

    Returns:
        Lines of text, each ending in a newline.

    Raises:
        ValueError: If the form is none of FORMS.
    """
    if form not in FORMS:
        raise ValueError(f"form must be one of {', '.join(FORMS)}, got {form!r}.")
    width = NARROW if form == "narrow" else width
    for layout in _LAYOUTS:
        columns = _columns(cells, layout)
        if form == "wide" or _width(columns, layout) <= width:
            break
    lines = [_joined([column.head for column in columns], columns, layout)]
    before = None
    for index, cell in enumerate(cells):
        if not layout.named and cell.method != before:
            lines.append(cell.method)
        before = cell.method
        lines.append(_joined([column.entries[index] for column in columns], columns, layout))
    room = max(width, _width(columns, layout))
    about = textwrap.wrap(_about(cells, title, layout), room)
    return "\n".join([*about, "", *lines, *_notes(cells, layout, room)]) + "\n"


def _columns(cells: Sequence[summary.Cell], layout: _Layout) -> list[_Column]:
    """The columns of a layout that have an entry."""
    tests = [cell.accuracy["test_accuracy"] for cell in cells]
    inset = "" if layout.named else "  "  # below the method's name
    columns = [
        _Column("method", [cell.method for cell in cells] if layout.named else []),
        _Column("ε", [inset + _number(c.eps) if c.eps is not None else "" for c in cells]),
        _Column("sparsity", [_number(cell.sparsity) for cell in cells]),
        _Column("n", [_count(cell, layout) for cell in cells] if _seeds(cells) is None else []),
    ]
    if layout.validation:
        values = [cell.accuracy["val_accuracy"][:2] for cell in cells]
        columns.append(_Column("validation", _intervals(values, layout.spaced)))
    columns.append(_Column("test", _intervals([t[:2] for t in tests], layout.spaced)))
    for name in summary.BASELINES:
        against = [cell.against.get(name) for cell in cells]
        pairs = [(p.difference, p.half) if p else (math.nan, math.nan) for p in against]
        shown = _intervals(pairs, layout.spaced, "+")
        if layout.p:
            columns.append(_Column(f"− {name}", shown))
            columns.append(_Column("p", [_p(p, t.n) for p, t in zip(against, tests, strict=True)]))
        else:
            marks = [_mark(p) for p in against]
            room = max(map(len, marks), default=0)
            shown = [f"{s}{m:<{room}}" if s else "" for s, m in zip(shown, marks, strict=True)]
            columns.append(_Column(f"− {name}", shown))
    return [column for column in columns if any(column.entries)]


def _count(cell: summary.Cell, layout: _Layout) -> str:
    n = cell.accuracy["test_accuracy"].n
    word = " diverged" if layout.spaced else ""
    return f"{n} (+{cell.diverged}{word})" if cell.diverged else str(n)


def _width(columns: Sequence[_Column], layout: _Layout) -> int:
    gaps = (len(columns) - 1) * (1 + layout.spaced)
    return sum(column.width for column in columns) + gaps


def _joined(entries: Sequence[str], columns: Sequence[_Column], layout: _Layout) -> str:
    """A line: names to the left, numbers to the right."""
    padded = [
        f"{entry:<{column.width}}" if column.head == "method" else f"{entry:>{column.width}}"
        for entry, column in zip(entries, columns, strict=True)
    ]
    return ("  " if layout.spaced else " ").join(padded).rstrip()


def _seeds(cells: Sequence[summary.Cell]) -> int | None:
    """How many seeds every cell has, if all have as many and no run diverged."""
    counts = {(cell.accuracy["test_accuracy"].n, cell.diverged) for cell in cells}
    n, diverged = counts.pop() if len(counts) == 1 else (0, 1)
    return None if diverged else n


def _about(cells: Sequence[summary.Cell], title: str, layout: _Layout) -> str:
    n = _seeds(cells)
    over = "n" if n is None else n
    text = f"{title}: accuracy in %, mean ± 95 % interval over {over} seed{'' if n == 1 else 's'}"
    if any(cell.against for cell in cells):
        text += "; − is the difference on the test split, paired by seed"
    return text + ("" if layout.validation else "; validation is in summary.csv")


def _notes(cells: Sequence[summary.Cell], layout: _Layout, width: int) -> list[str]:
    """What stars and signs mean, as far as there are any."""
    pairs = [p for cell in cells for p in cell.against.values()]
    notes = []
    if layout.p and any(not math.isnan(p.p) for p in pairs):
        notes.append("p: two-sided paired t-test, not corrected for the number of comparisons")
    used = {_mark(pair) for pair in pairs}
    if not layout.p and used & {stars for _, stars in _STARS}:
        stars = ", ".join(f"{stars} p < {bound:g}" for bound, stars in reversed(_STARS))
        notes.append(f"{stars} (paired t-test, not corrected for the number of comparisons)")
    if _SAME in used:
        notes.append(f"{_SAME} all seeds differ by the same: there is no spread to test against")
    if not layout.spaced and any(cell.diverged for cell in cells):
        notes.append("(+1): one more run, which diverged")
    return [line for note in notes for line in textwrap.wrap(note, width)]


def pruned_table(leaves: Sequence[pruners.Leaf], title: str, width: int = NARROW) -> str:
    """What is pruned of a network, a line per leaf; without a fan-in what stays as it was drawn.

    Args:
        leaves: From pruners.leaves.
        title: Of the network.
        width: Columns to fill at most; longer lines are folded.

    Returns:
        Text that ends with a line break.
    """
    import rich.console  # Here, for only this table needs it.
    import rich.table

    pruned = sum(leaf.size for leaf in leaves if leaf.fan_in is not None)
    whole = sum(leaf.size for leaf in leaves)
    table = rich.table.Table(title=f"pruned: {pruned:,} of {whole:,} weights; {title}")
    table.add_column("weights", no_wrap=True)
    for head in ("shape", "fan-in", "count", "pruned"):
        table.add_column(head, justify="right")
    for leaf in leaves:
        shape = " × ".join(map(str, leaf.shape)) or "1"
        fan, is_pruned = ("", "no") if leaf.fan_in is None else (f"{leaf.fan_in:,}", "yes")
        table.add_row(leaf.path, shape, fan, f"{leaf.size:,}", is_pruned)
    out = io.StringIO()
    rich.console.Console(file=out, width=width).print(table)
    return out.getvalue()


def best_lines(cells: Sequence[summary.Cell]) -> list[str]:
    """For every method and eps with several sparsities, the one that validation prefers.

    It names the seeds that the choice was made by, and those of the test accuracy (all that did
    not diverge).

    Returns:
        A heading and a line for each; nothing if there is no choice.
    """
    best = summary.best_sparsity(cells)
    counts = {shared for _, shared in best}
    lines = []
    for cell, shared in best:
        eps = "" if cell.eps is None else f", ε {_number(cell.eps)}"
        seeds = "" if len(counts) == 1 else f" by {_shared(shared)}"
        (test,) = _intervals([cell.accuracy["test_accuracy"][:2]])
        n = f"n {cell.accuracy['test_accuracy'].n}"
        diverged = f", {cell.diverged} more diverged" if cell.diverged else ""
        lines.append(
            f"  {cell.method}{eps}: {_number(cell.sparsity)}{seeds}, test {test} ({n}{diverged})"
        )
    if not lines:
        return []
    seeds = f" by {_shared(counts.pop())}" if len(counts) == 1 else ""
    return [f"best sparsity on the validation split{seeds}:", *lines]


def _shared(n: int) -> str:
    return f"{n} shared seed{'' if n == 1 else 's'}"


def _number(value: float | None) -> str:
    return "" if value is None else "∞" if value == math.inf else f"{value:.12g}"


def _intervals(
    pairs: Sequence[tuple[float, float]], spaced: bool = True, sign: str = ""
) -> list[str]:
    """Fractions as "94.40 ± 1.22" in percent, the ± below each other; "" for NaN."""
    halves = ["" if math.isnan(half) else f"{100 * half:.2f}" for _, half in pairs]
    room = max(map(len, halves), default=0)
    between = " ± " if spaced else "±"
    shown = []
    for (middle, _), half in zip(pairs, halves, strict=True):
        tail = f"{between}{half:>{room}}" if half else " " * (room and room + len(between))
        # Without the sign of a zero that rounding left.
        shown.append(
            "" if math.isnan(middle) else f"{round(100 * middle, 2) + 0.0:{sign}.2f}{tail}"
        )
    return shown


def _mark(value: statistics.Paired | None) -> str:
    """Stars for a small p."""
    if value is None or math.isnan(value.p):
        return ""
    if _is_same(value):
        return _SAME
    return next((stars for bound, stars in _STARS if value.p < bound), "")


def _is_same(value: statistics.Paired) -> bool:
    """Whether all seeds differ by the same, and not by 0."""
    return value.half == 0 and value.p == 0


def _p(value: statistics.Paired | None, n: int) -> str:
    """The p value, and the number of pairs where it is not the cell's n."""
    if value is None or math.isnan(value.p):
        return ""
    p = _SAME if _is_same(value) else f"{value.p:.2g}"
    return p if value.n == n else f"{p} (n {value.n})"
