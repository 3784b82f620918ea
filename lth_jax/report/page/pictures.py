"""A figure as SVG within the page: in the page's own colours, and with ids of its own."""

import re

from lth_jax.report import plots
from lth_jax.report.page import markup

_POINT = 1.12 * 96 / 72  # pixels: so that the smallest letters have 12 of them
_WIDTH, _NARROW = 3.45, 6.0  # inches: a telephone's width, which narrow figures are set to
_PANEL = 2.9  # inches that a narrow figure is high without its legend
_ENTRY, _LETTER, _LINE = 0.65, 0.065, 0.17  # inches of a legend
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")


class Album:
    """The pictures of a page: remembers their colours and gives them ids that do not collide."""

    def __init__(self) -> None:
        """Starts without a picture."""
        self.colours: set[str] = set()
        self._count = 0

    def add(self, drawing: plots.Figure, caption: str) -> markup.Markup:
        """A figure for the page; its title becomes a part of the caption.

        Args:
            drawing: It is changed; wide ones stay as wide as they are, and scroll.
            caption: What it shows.
        """
        self._count += 1
        words = " ".join(drawing.get_suptitle().split())
        drawing.suptitle("")
        if drawing.get_figwidth() <= _NARROW:
            _make_narrow(drawing)
        said = f"{caption}; {words}" if words else caption
        return markup.figure(self._svg(plots.to_svg(drawing).decode(), caption), f"{said}.")

    def _svg(self, text: str, label: str) -> markup.Markup:
        text = text[text.index("<svg") :]
        text = re.sub(
            r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL
        )
        head, _, body = text.partition(">")
        width, height = (
            float(re.search(rf'{side}="([\d.]+)pt"', head)[1]) * _POINT  # type: ignore[index]
            for side in ("width", "height")
        )
        view = re.search(r'viewBox="[^"]*"', head)[0]  # type: ignore[index]
        body = self._named(body)
        body = _COLOUR.sub(self._coloured, body)
        size = f'width="{width:.0f}" height="{height:.0f}"'
        said = markup.element("title", label)
        return markup.Markup(f'<svg {view} {size} role="img">{said}{body.strip()}')

    def _named(self, body: str) -> str:
        """Ids that no other picture has, and only where they are used."""
        body = body.replace("xlink:href=", "href=")
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', body))

        def renamed(found: re.Match[str]) -> str:
            return f' id="p{self._count}-{found[1]}"' if found[1] in used else ""

        body = re.sub(r' id="([^"]+)"', renamed, body)
        return re.sub(r'(href="#|url\(#)', rf"\g<1>p{self._count}-", body)

    def _coloured(self, found: re.Match[str]) -> str:
        colour = found[0].lower()
        if colour in ("#ffffff", "#000000"):
            return "var(--paper)" if colour == "#ffffff" else "var(--ink)"
        self.colours.add(colour)
        return f"var(--c-{colour[1:]})"


def _make_narrow(drawing: plots.Figure) -> None:
    """Sets a figure to a telephone's width, its legend below in as many columns as fit."""
    names = {text.get_text() for legend in drawing.legends for text in legend.get_texts()}
    inches = _ENTRY + _LETTER * max(map(len, names), default=0)
    columns = max(1, min(len(names), int(_WIDTH / inches)))
    drawing.set_size_inches(_WIDTH, _PANEL + _LINE * -(-len(names) // columns))
    for legend in list(drawing.legends):
        legend.remove()
    plots.add_legend(drawing, drawing.axes, inches)
