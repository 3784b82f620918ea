"""The page itself: the runs' parts in their order, the settings, and the frame around it all."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lth_jax.report import summary
from lth_jax.report.page import (
    accuracy,
    claims,
    heat,
    look,
    markup,
    moves,
    networks,
    overlap,
    pictures,
    sources,
)

_VERSIONS = ("python", "jax", "flax", "optax", "numpy", "device", "devices", "strategy")


def make(
    some: Sequence[sources.Source],
    published: Mapping[str, heat.Published],
    about_published: str,
    commands: Mapping[str, Sequence[str]],
) -> str:
    """The page as HTML: the same text for the same runs.

    Args:
        some: The runs, from sources.together.
        published: What was printed of a method, by its name.
        about_published: Where that is from, and what is to be known of it.
        commands: By a run's name, those that give its rows where the run itself does not say.

    Raises:
        InputError: If a ticket is damaged or is not the one of its row.
    """
    album = pictures.Album()
    parts = [
        _run(source, f"run-{place}", album, published, commands.get(source.name, ()))
        for place, source in enumerate(some, 1)
    ]
    title = f"Report: {'; '.join(dict.fromkeys(source.title for source in some))}"
    head = markup.element(
        "head",
        markup.element("meta", charset="utf-8"),
        markup.element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        markup.element("meta", name="color-scheme", content="light dark"),
        markup.element("title", title),
        # It is ours from the first to the last letter, so that nothing in it needs escaping.
        markup.element("style", markup.Markup(look.style(album.colours, heat.LEVELS))),
    )
    source_of = markup.element("footer", markup.paragraph("Published: ", about_published))
    main = markup.element("main", claims.confirmed(some), *parts, source_of)
    body = markup.element("body", _header(some, title), main)
    return f"<!DOCTYPE html>\n{markup.element('html', head, body, lang='en')}\n"


def _header(some: Sequence[sources.Source], title: str) -> markup.Markup:
    lanes = sum(len(source.rows) for source in some)
    about = (
        f"{lanes:,} lanes of {len(some)} run{'' if len(some) == 1 else 's'}. A lane is one method, "
        "ε, sparsity and seed; ε bounds how far each weight may move, sparsity is the fraction "
        "removed. Accuracies are of the test split, read once per lane; choices are made on the "
        "validation split."
    )
    links = [markup.element("li", markup.element("a", "Confirmatory tests", href="#confirmatory"))]
    for place, source in enumerate(some, 1):
        called = f"{source.title}: {source.name}"
        links.append(markup.element("li", markup.element("a", called, href=f"#run-{place}")))
    nav = markup.element("nav", markup.element("ul", *links), aria_label="Contents")
    return markup.element("header", markup.element("h1", title), markup.paragraph(about), nav)


_PARTS = {
    "accuracy": "accuracy",
    "heat": "ε and sparsity",
    "best": "best sparsity",
    "moves": "moves",
    "curves": "learning curves",
    "overlap": "overlap",
    "density": "density",
    "intervals": "differences",
    "settings": "settings and commands",
}


def _run(
    source: sources.Source,
    prefix: str,
    album: pictures.Album,
    published: Mapping[str, heat.Published],
    commands: Sequence[str],
) -> markup.Markup:
    cells = summary.cells(source.rows)
    found = networks.read(source.folder, source.rows, source.config)
    links = [
        markup.element("li", markup.element("a", text, href=f"#{prefix}-{part}"))
        for part, text in _PARTS.items()
    ]
    nav = markup.element("nav", markup.element("ul", *links), aria_label=source.title)
    parts = (
        nav,
        accuracy.against_eps(cells, album, prefix),
        heat.section(cells, source.config, published, prefix),
        accuracy.best(cells, album, prefix),
        moves.section(source.rows, found, album, prefix),
        accuracy.curves(source.rows, album, prefix),
        overlap.section(found, prefix),
        overlap.density(found, prefix),
        claims.intervals(cells, source.rows, prefix),
        _settings(source, commands, prefix),
    )
    return markup.section(f"{source.title}: {source.name}", prefix, *parts, level=2)


def _settings(source: sources.Source, commands: Sequence[str], prefix: str) -> markup.Markup:
    config, rows = source.config, source.rows
    commits = dict.fromkeys(str(row.get("git")) for row in rows)
    seconds = sum(row.get("seconds") or 0.0 for row in rows)
    facts = markup.paragraph(
        f"{len(rows):,} lanes, {_duration(seconds)} of training in all; rows of commit ",
        markup.joined(_listed(commits)),
        f"; {_versions(config)}.",
    )
    if source.commands:
        words, lines = "The commands that made the rows, as they were kept:", source.commands
    elif commands:
        words = (
            "Commands that give these rows, every setting said; they were made from the folder's "
            "config.json and rows, which do not say how they were typed:"
        )
        lines = list(commands)
    else:
        words, lines = "No command is known: the run was a program’s own.", []
    listed = [markup.element("pre", *map(_command, lines))] if lines else []
    settings = [
        [name, markup.element("td", _value(value), class_="long")]
        for name, value in config.items()
        if name not in _VERSIONS
    ]
    table = markup.table(("setting", "value"), settings, "config.json", names=2)
    return markup.section(
        *("Settings and commands", f"{prefix}-settings", facts, markup.paragraph(words)),
        *(*listed, markup.folded(f"{len(settings)} settings", table)),
    )


def _command(line: str) -> markup.Markup:
    """A line that breaks between its arguments, not at their hyphens."""
    words = [markup.element("span", word) for word in line.split(" ")]
    spaced = [piece for word in words for piece in (word, " ")]
    return markup.joined([*spaced[:-1], "\n"])


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _listed(commits: Mapping[str, None]) -> list[object]:
    shown: list[object] = []
    for commit in commits:
        shown += [", " if shown else None, markup.element("code", commit)]
    return shown


def _versions(config: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {config[name]}" for name in _VERSIONS if name in config)


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
