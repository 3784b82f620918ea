"""Accuracy on the page: against ε, at the sparsity that validation prefers, and by epoch."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lth_jax.report import plots, plots_accuracy, plots_curves, statistics, summary
from lth_jax.report.page import markup, pictures, plots_lines

_CURVES: dict[summary.CurveField, str] = {
    "val_curve": "validation accuracy by epoch",
    "test_curve": "test accuracy by epoch",
    "train_loss_curve": "training loss by epoch",
}


def against_eps(cells: Sequence[summary.Cell], album: pictures.Album, prefix: str) -> markup.Markup:
    """Test accuracy against ε, a figure per sparsity.

    Args:
        cells: From summary.cells.
        album: Takes the pictures.
        prefix: Of the section's id.
    """
    drawn = []
    for sparsity in _sparsities(cells):
        own = [cell for cell in cells if cell.sparsity in (sparsity, None)]
        if any(cell.accuracy["test_accuracy"].n for cell in own):
            drawing = plots_accuracy.accuracy_against_eps(own, "")
            drawn.append(album.add(drawing, f"Test accuracy{_at(sparsity)}"))
    lost = [cell for cell in cells if cell.diverged]
    gone = sum(cell.diverged for cell in lost)
    words = (
        "Each interval is of its own cell; methods without an ε stand at “no ε”, and a thin line "
        "carries their mean across. For differences see the intervals below."
    )
    if lost:
        words += f" {gone} run{' ' if gone == 1 else 's '}diverged: {_listed(lost)}."
    return markup.section(
        "Accuracy against ε",
        f"{prefix}-accuracy",
        markup.paragraph(words),
        markup.figures(drawn) if drawn else markup.paragraph("Every run diverged.", class_="note"),
    )


def best(cells: Sequence[summary.Cell], album: pictures.Album, prefix: str) -> markup.Markup:
    """The sparsity that validation prefers, against ε, and what it gives on the test split.

    Args:
        cells: See `against_eps`.
        album: See `against_eps`.
        prefix: See `against_eps`.
    """
    head, name = "Best sparsity against ε", f"{prefix}-best"
    chosen = summary.best_sparsity(cells)
    if not chosen:
        held = any(cell.validation for cell in cells)
        why = (
            "Every method has one sparsity only, so there is nothing to choose."
            if held
            else "Nothing was held out for validation, and the test split chooses nothing."
        )
        return markup.section(head, name, markup.paragraph(why, class_="note"))
    lines: dict[str, dict[float, statistics.Mean]] = {}
    rows = []
    for cell, shared in chosen:
        test, validation = cell.accuracy["test_accuracy"], cell.accuracy["val_accuracy"]
        rows.append(
            [
                *(plots.shown(cell.method), markup.number(cell.eps), markup.number(cell.sparsity)),
                *(shared, markup.interval(validation), markup.interval(test), test.n),
            ]
        )
        if cell.eps is not None and cell.sparsity is not None:
            only = statistics.Mean(cell.sparsity, float("nan"), shared)
            lines.setdefault(cell.method, {})[cell.eps] = only
    columns = ("method", "ε", "best sparsity", "chosen by seeds", "validation, %", "test, %", "n")
    shown = [markup.table(columns, rows, "What validation chose, with 95 % intervals")]
    if lines:
        ordered = {method: dict(sorted(line.items())) for method, line in lines.items()}
        drawing = plots_lines.against_eps(ordered, "best sparsity")
        ran = sorted({cell.sparsity for cell in cells if cell.sparsity is not None})
        plots_lines.mark(drawing, ran)
        shown.insert(0, album.add(drawing, "Sparsity of the best mean validation accuracy"))
    words = markup.paragraph(
        "Of the sparsities that were run, on the seeds that they share. No interval: it is a "
        "choice, not a mean."
    )
    return markup.section(head, name, words, markup.figures(shown))


def curves(rows: Iterable[Mapping[str, Any]], album: pictures.Album, prefix: str) -> markup.Markup:
    """Accuracy and loss by epoch, a figure per method and sparsity.

    Args:
        rows: As in results.jsonl.
        album: See `against_eps`.
        prefix: See `against_eps`.
    """
    rows = list(rows)
    parts: list[markup.Markup] = []
    for field, what in _CURVES.items():
        found = summary.curves(rows, field)
        drawn = []
        for method, sparsity in dict.fromkeys((c.method, c.sparsity) for c in found):
            own = [c for c in found if (c.method, c.sparsity) == (method, sparsity)]
            drawing = plots_curves.learning_curves(own, field, "")
            if field != "train_loss_curve":
                plots_lines.cut(drawing, -2, 102)  # The interval of two seeds may leave it by far.
            caption = f"{plots.shown(method)}{_at(sparsity)}: {what}"
            drawn.append(album.add(drawing, caption))
        if drawn:
            shown = markup.figures(drawn)
            head = f"{what[0].upper()}{what[1:]} ({len(drawn)} figures)"
            parts.append(markup.folded(head, shown) if parts else shown)
    nothing = markup.paragraph("The rows hold no curves.", class_="note")
    words = markup.paragraph(
        "A method that first moves the weights validates its unpruned network meanwhile, and falls "
        "when pruning begins."
    )
    known = [words, *parts] if parts else [nothing]
    return markup.section("Learning curves", f"{prefix}-curves", *known)


def _sparsities(cells: Sequence[summary.Cell]) -> list[float | None]:
    masked = sorted({c.sparsity for c in cells if c.sparsity is not None})
    return [*masked] if masked else [None]


def _at(sparsity: float | None) -> str:
    return "" if sparsity is None else f" at sparsity {sparsity:g}"


def _listed(cells: Sequence[summary.Cell]) -> str:
    """Which cells lost how many runs."""
    return "; ".join(
        f"{cell.diverged} of {plots.shown(cell.method)}"
        + ("" if cell.eps is None else f", ε = {markup.number(cell.eps)}")
        + _at(cell.sparsity)
        for cell in cells
    )
