"""HTML as text that cannot be mistaken: what is not marked as markup is escaped."""

import html
import math
from collections.abc import Iterable, Sequence

from lth_jax.report import statistics

_EMPTY = ("meta", "br")  # Elements without an end.
NOTHING = "–"  # where there is no number


class Markup(str):
    """Text that is markup already."""


def element(name: str, /, *content: object, **attributes: object) -> Markup:
    """An element; content that is no Markup is escaped, and so are attributes.

    Args:
        name: Of the element.
        *content: Markup, or anything else as text; None is left out.
        **attributes: By name, "class_" being class and "aria_label" aria-label; None is left out.
    """
    given = [
        f' {key.rstrip("_").replace("_", "-")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    ]
    start = f"<{name}{''.join(given)}>"
    return Markup(start if name in _EMPTY else f"{start}{joined(content)}</{name}>")


def joined(content: Iterable[object]) -> Markup:
    """Pieces one after the other, escaped where they are no Markup."""
    parts = (c if isinstance(c, Markup) else html.escape(str(c)) for c in content if c is not None)
    return Markup("".join(parts))


def paragraph(*content: object, class_: str | None = None) -> Markup:
    """A paragraph."""
    return element("p", *content, class_=class_)


def section(heading: str, identifier: str, *content: object, level: int = 3) -> Markup:
    """A part of the page with a heading that can be linked to."""
    head = element(f"h{level}", heading, id=identifier)
    return element("section", head, *content, aria_labelledby=identifier)


def folded(summary: str, *content: object) -> Markup:
    """What is shown when it is asked for."""
    return element("details", element("summary", summary), *content)


def table(
    head: Sequence[object],
    rows: Iterable[Sequence[object]],
    caption: str,
    names: int = 1,
    class_: str | None = None,
) -> Markup:
    """A table that scrolls by itself where it is wider than the screen.

    Args:
        head: A name for each column.
        rows: As many entries each; one that is a td or th already stays as it is.
        caption: What it shows.
        names: So many columns on the left hold names; numbers are set to the right.
        class_: Of the table.
    """
    heads = [_entry(entry, place < names, "th") for place, entry in enumerate(head)]
    lines = [element("tr", *(_entry(e, place < names) for place, e in enumerate(r))) for r in rows]
    body = (element("thead", element("tr", *heads)), element("tbody", *lines))
    shown = element("table", element("caption", caption), *body, class_=class_)
    # A box that scrolls can be reached, and moved, with the keyboard.
    return element("div", shown, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _entry(content: object, is_name: bool, kind: str = "td") -> Markup:
    if isinstance(content, Markup) and content.startswith(f"<{kind}"):
        return content
    scope = "col" if kind == "th" else None
    return element(kind, content, scope=scope, class_=None if is_name else "number")


def figures(drawn: Sequence[Markup]) -> Markup:
    """Figures beside each other, as many as there is room for."""
    return element("div", *drawn, class_="figures")


def figure(picture: Markup, caption: str) -> Markup:
    """A picture with what it shows; it scrolls by itself where it is wider than the screen."""
    box = element("div", picture, class_="scroll", tabindex=0, role="region", aria_label=caption)
    return element("figure", box, element("figcaption", caption))


def number(value: float | None) -> str:
    """A setting as it was typed; infinity as its sign, nothing for None."""
    return "" if value is None else "∞" if value == math.inf else f"{value:.12g}"


def signed(value: float, digits: int = 2, plus: bool = False) -> str:
    """A number with so many digits behind the point, and a true minus."""
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    rounded = round(value, digits) + 0.0  # Without the sign of a zero that rounding left.
    return f"{rounded:{'+' if plus else ''}.{digits}f}".replace("-", "−")


def interval(value: statistics.Mean, plus: bool = False, digits: int = 2) -> str:
    """A mean of fractions in percent, with half its interval if it has one."""
    shown = signed(100 * value.mean, digits, plus)
    return shown if math.isnan(value.half) else f"{shown} ± {signed(100 * value.half, digits)}"


def p_value(value: float) -> str:
    """A p with two digits that count."""
    return NOTHING if math.isnan(value) else f"{value:.2g}"


def seeds(count: int) -> str:
    """So many seeds."""
    return f"{count} seed{'' if count == 1 else 's'}"
