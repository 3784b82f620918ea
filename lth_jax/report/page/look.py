"""How the page looks, in a light and in a dark room: its style sheet and its colours."""

import re
from collections.abc import Iterable

PAPER = {"light": "#ffffff", "dark": "#14171c"}
INK = {"light": "#1a1c20", "dark": "#e6e8ec"}
_HEAT = {"light": ("#f2f6fb", "#0d3f7a"), "dark": ("#222a35", "#a9d3ff")}  # least and most
_GRAPHIC = 3.0  # least contrast of a line with its background (WCAG 1.4.11)

_STYLE = """
:root{color-scheme:light dark;--paper:#ffffff;--ink:#1a1c20;--soft:#555b66;--line:#d5d9e0;
--raised:#f5f7fa;--link:#0b57a8;--good:#0a6b3d;--bad:#a3260f}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main,header{max-width:1240px;margin:0 auto;padding:0 12px}
header{padding-top:1.2rem}
h1{font-size:1.65rem;line-height:1.25;margin:0 0 .4rem}
h2{font-size:1.3rem;line-height:1.3;margin:2.6rem 0 .4rem;padding-top:1rem;
border-top:2px solid var(--line);overflow-wrap:anywhere}
h3{font-size:1.08rem;margin:1.9rem 0 .3rem}
p{max-width:46rem;margin:.4rem 0 .7rem;overflow-wrap:anywhere}
.note{color:var(--soft)}
a{color:var(--link)}
nav ul{list-style:none;margin:.3rem 0 .6rem;padding:0;display:flex;flex-wrap:wrap;gap:.15rem 1rem}
nav a{display:inline-block;max-width:100%;overflow-wrap:anywhere;padding:.2rem 0}
nav li{max-width:100%}
.scroll{overflow-x:auto;max-width:100%;scrollbar-width:thin}
.scroll:focus-visible{outline:2px solid var(--link);outline-offset:2px}
table{border-collapse:collapse;font-size:.875rem;line-height:1.35;margin:.3rem 0 .2rem}
caption{text-align:left;color:var(--soft);padding:0 0 .35rem;caption-side:top;
max-width:min(46rem,calc(100vw - 24px));position:sticky;left:0}
th,td{padding:.28rem .6rem;border-bottom:1px solid var(--line);text-align:left;
vertical-align:top;white-space:nowrap}
th{font-weight:600;vertical-align:bottom}
.number{text-align:right;font-variant-numeric:tabular-nums}
td.long{white-space:normal;min-width:9rem;max-width:24rem;overflow-wrap:anywhere}
.scroll td:first-child,.scroll th:first-child{position:sticky;left:0;background:var(--paper)}
td.good{color:var(--good);font-weight:600}
td.bad{color:var(--bad);font-weight:600}
.heat td,.heat th{text-align:right;border:1px solid var(--paper);padding:.3rem .5rem}
.heat td.cell{background:var(--heat);color:var(--on)}
.heat td:first-child,.heat th:first-child{text-align:left}
.figures{display:flex;flex-wrap:wrap;gap:1.4rem 1.6rem;align-items:flex-start;margin:.5rem 0 1rem}
.figures>*{max-width:100%;min-width:0}
figure{margin:0;max-width:100%}
figcaption{color:var(--soft);font-size:.875rem;line-height:1.4;max-width:24rem;margin-top:.2rem}
svg{display:block;fill:var(--ink);background:var(--paper)}
details{margin:.5rem 0 1rem}
summary{cursor:pointer;color:var(--link);padding:.2rem 0}
pre{background:var(--raised);border:1px solid var(--line);border-radius:6px;padding:.6rem .7rem;
font:.82rem/1.5 ui-monospace,"DejaVu Sans Mono",monospace;white-space:pre-wrap;
overflow-wrap:anywhere;max-width:100%;margin:.4rem 0}
pre span{display:inline-block;max-width:100%}
code{font:.86em ui-monospace,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere}
footer{color:var(--soft);margin:3rem 0 2rem}
"""
_DARK = """:root{--paper:#14171c;--ink:#e6e8ec;--soft:#a5acb8;--line:#343a45;--raised:#1d2129;
--link:#7db8ff;--good:#6fdc9f;--bad:#ff9e86;"""


def style(colours: Iterable[str], levels: int) -> str:
    """The style sheet.

    Args:
        colours: That pictures use, as "#rrggbb": each is a variable, which is lighter in the dark
            where it would not be seen.
        levels: How many steps of heat there are.
    """
    used = sorted(set(colours))
    light = "".join(f"--c-{c[1:]}:{c};" for c in used)
    dark = "".join(f"--c-{c[1:]}:{in_the_dark(c)};" for c in used)
    heats = {
        room: "".join(
            ".h{}{{--heat:{};--on:{}}}".format(level, *heat(level / (levels - 1), room))
            for level in range(levels)
        )
        for room in PAPER
    }
    night = f"@media (prefers-color-scheme:dark){{{_DARK}{dark}}}\n{heats['dark']}}}"
    return f"{_STYLE}:root{{{light}}}\n{heats['light']}\n{night}\n"


def heat(share: float, room: str) -> tuple[str, str]:
    """The background for a share of the way from least to most, and what is read on it."""
    low, high = _HEAT[room]
    ground = mixed(low, high, share)
    return ground, max(("#000000", "#ffffff"), key=lambda text: contrast(text, ground))


def in_the_dark(colour: str) -> str:
    """A colour as it is drawn on dark paper: lighter, as far as it has to be to be seen."""
    for step in range(11):
        lighter = mixed(colour, "#ffffff", step / 10)
        if contrast(lighter, PAPER["dark"]) >= _GRAPHIC:
            return lighter
    return "#ffffff"


def mixed(one: str, other: str, share: float) -> str:
    """A colour on the way from one to another."""
    pairs = zip(_channels(one), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in pairs)


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, 1 to 21 (WCAG 2)."""
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    shares = (channel / 255 for channel in _channels(colour))
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return sum(weight * s for weight, s in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def _channels(colour: str) -> list[int]:
    return [int(pair, 16) for pair in re.findall("[0-9a-f]{2}", colour.lower())]
