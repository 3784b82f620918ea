"""The pieces of the page: nothing unescaped, nothing that cannot be read on its background."""

import itertools
import math
import re

import grid_rows
import matplotlib
import numpy as np
import page_tree
import pytest

from lth_jax import sweep
from lth_jax.report import plots, plots_accuracy, statistics, summary
from lth_jax.report.page import claims, heat, look, markup, networks, overlap, pictures, sources

HOSTILE = "<script>alert('1')</script> & \"x\""


def test_what_is_no_markup_is_escaped():
    inner = markup.element("b", HOSTILE)
    outer = markup.element("p", inner, HOSTILE, None, 3, title=HOSTILE, class_=None)
    root = page_tree.parse(outer)
    (node,) = root.children
    assert node.attributes == {"title": HOSTILE} and node.text == HOSTILE + HOSTILE + "3"
    assert [child.name for child in root.all()] == ["p", "b"]
    rows = page_tree.tables(page_tree.parse(markup.table((HOSTILE,), [[HOSTILE]], HOSTILE)))
    assert rows == [(HOSTILE, [[HOSTILE], [HOSTILE]])]
    assert page_tree.parse(markup.section(HOSTILE, HOSTILE)).children[0].text == HOSTILE


def test_numbers_are_written_as_people_read_them():
    assert markup.signed(-0.001) == "0.00" and markup.signed(-1.5, plus=True) == "−1.50"
    assert markup.signed(math.nan) == "–" and markup.signed(-math.inf) == "−∞"
    assert markup.interval(statistics.mean([0.5, 0.5])) == "50.00 ± 0.00"
    assert markup.interval(statistics.mean([0.5]), plus=True) == "+50.00"
    assert markup.number(math.inf) == "∞" and markup.number(None) == "" and markup.number(0) == "0"
    assert markup.p_value(2 / 4096) == "0.00049" and markup.p_value(math.nan) == "–"


@pytest.mark.parametrize("room", ["light", "dark"])
def test_heat_can_be_read_at_every_level(room):
    for level in range(heat.LEVELS):
        ground, text = look.heat(level / (heat.LEVELS - 1), room)
        assert look.contrast(ground, text) >= 4.5
    assert look.heat(0, room)[0] != look.heat(1, room)[0]


def test_every_colour_is_seen_in_the_dark_and_text_in_both_rooms():
    viridis = [matplotlib.colormaps["viridis"](share) for share in np.linspace(0, 0.8, 9)]
    for colour in [*plots.COLOURS, *map(matplotlib.colors.to_hex, viridis)]:
        assert look.contrast(look.in_the_dark(colour.lower()), look.PAPER["dark"]) >= 3
    for room in look.PAPER:
        assert look.contrast(look.INK[room], look.PAPER[room]) > 12
        for name in ("PAPER", "INK"):
            assert f"--{name.lower()}:{getattr(look, name)[room]}" in look.style([], heat.LEVELS)


def test_contrast_is_the_one_of_wcag():
    assert look.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert look.contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=1e-3)  # A known example.


def test_a_picture_takes_the_pages_colours_and_ids_of_its_own():
    rows = [r for r in grid_rows.rows() if (r["method"], r["sparsity"]) == ("joint", 0.5)]
    cells = summary.cells(rows)
    album = pictures.Album()
    drawn = [album.add(plots_accuracy.accuracy_against_eps(cells, ""), "a < b") for _ in range(2)]
    root = page_tree.parse(markup.figures(drawn))
    ids = [node.attributes["id"] for node in root.all() if "id" in node.attributes]
    assert len(ids) == len(set(ids)) > 0
    svgs = list(root.all("svg"))
    assert [next(svg.all("title")).text for svg in svgs] == ["a < b"] * 2
    for svg in svgs:
        styles = "".join(node.attributes.get("style", "") for node in svg.all())
        assert "#" not in styles.replace("url(#", "") and "var(--ink)" in styles
        own = {node.attributes["id"] for node in svg.all() if "id" in node.attributes}
        used = {node.attributes["href"][1:] for node in svg.all("use")}
        assert used and used <= own
        # A telephone's width, and no letter below 12 pixels.
        assert float(svg.attributes["width"]) <= 376
        scale = float(svg.attributes["width"]) / float(svg.attributes["viewbox"].split()[2])
        sizes = [re.search(r"([\d.]+)px", t.attributes["style"])[1] for t in svg.all("text")]
        assert min(float(size) * scale for size in sizes) >= 11.9
    captions = [node.text for node in root.all("figcaption")]
    assert "95 % interval" in captions[0] and "diverged" in captions[0]


def network(kept, sizes):
    """A ticket that keeps some weights, by layer and index."""
    masks = {
        name: np.packbits([(name, i) in kept for i in range(size)]) for name, size in sizes.items()
    }
    return networks.Network(masks, None)


def test_jaccard_is_that_of_python_sets():
    sizes, rng = {"a": 37, "b": 8}, np.random.default_rng(0)
    everything = [(name, i) for name, size in sizes.items() for i in range(size)]
    for _ in range(50):
        one, other = ({w for w in everything if rng.random() < p} for p in rng.random(2))
        expected = len(one & other) / len(one | other) if one | other else 1
        pair = network(one, sizes), network(other, sizes)
        assert networks.jaccard(*pair) == expected
        shares = networks.density(pair[0], sizes)
        for name, size in sizes.items():
            assert shares[name] == sum(layer == name for layer, _ in one) / size


def test_chance_is_what_random_masks_share():
    sizes, rng = {"a": 4000, "b": 1000}, np.random.default_rng(1)

    def draw(counts):
        kept = {(n, int(i)) for n, c in counts.items() for i in rng.permutation(sizes[n])[:c]}
        return network(kept, sizes)

    pairs = [(draw({"a": 3000, "b": 100}), draw({"a": 1000, "b": 500})) for _ in range(10)]
    found = np.mean([networks.jaccard(*pair) for pair in pairs])
    # 10 pairs of some 4,000 weights: the mean's standard error is about .001.
    assert found == pytest.approx(networks.chance(*pairs[0], sizes), abs=0.005)


def test_a_cell_where_every_eps_has_one_mask_is_said_in_words():
    sizes = {"a": 8}
    same, other = network({("a", 1)}, sizes), network({("a", 1), ("a", 2)}, sizes)
    lanes = [
        sweep.Lane(method, eps, 0.5, seed)
        for method, eps, seed in itertools.product(
            ("joint", "prune_then_perturb"), (0.0, 0.1), (0, 1)
        )
    ]
    by_lane = {x: other if x.method == "joint" and x.eps else same for x in lanes}
    text = overlap.section(networks.Networks(sizes, by_lane, []), "run-1")
    root = page_tree.parse(text)
    assert "The same mask at every ε: prune then perturb, sparsity 0.5." in root.text
    assert page_tree.table(root, "joint, sparsity 0.5")[1] == ["0.1", "0.50", "1.00"]
    assert len(page_tree.table(root, "Two seeds")) == 4


def source(rows, config=()):
    return sources.Source("some", {"model": "m", "dataset": "d", **dict(config)}, rows, [], None)


def fresh(rows, first=100):
    """The rows with seeds from so many on; those of methods that do not move have no ε."""
    return [row | {"seed": row["seed"] + first} for row in rows if row["eps"] != "inf"]


def test_only_fresh_seeds_confirm():
    rows = grid_rows.rows(seeds=4)
    with pytest.raises(ValueError, match="no seed from 100 on"):
        claims.family(source(rows))
    found = claims.family(source(fresh(rows)))
    assert [claim.name for claim in found] == ["H1", "H2", "H3", "H4", "H5"]
    assert all(len(d) == 4 for claim in found for d in claim.parts.values())
    # What was seen before counts for nothing, whatever it says.
    spoiled = [row | {"test_accuracy": 0.0} for row in rows if row["diverged"] is None]
    assert claims.family(source(fresh(rows) + spoiled)) == found


def test_runs_without_validation_or_without_methods_are_told():
    rows = fresh(grid_rows.rows(seeds=2))
    blind = [row | {"val_accuracy": None} for row in rows]
    with pytest.raises(ValueError, match="held nothing out"):
        claims.family(source(blind))
    few = source([row for row in rows if row["method"] == "joint"])
    with pytest.raises(ValueError, match="expected rows of perturb_then_prune"):
        claims.family(few)
    text = claims.confirmed([few, source(fresh(grid_rows.rows(seeds=8)))])
    assert "Not tested on:some: expected rows of perturb_then_prune" in page_tree.parse(text).text


@pytest.mark.slow  # to import statsmodels
def test_verdicts_are_after_holm_within_a_run_and_the_rest_has_no_p():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    stats = pytest.importorskip("scipy.stats")
    one, other = (source(fresh(grid_rows.rows(seeds=n))) for n in (5, 8))
    lines = page_tree.table(page_tree.parse(claims.confirmed([one, other])), "Differences with")
    assert [line[0] for line in lines] == 2 * ["H1", "H2", "H3", "H4", "H5"]
    for some, mine in ((one, lines[:5]), (other, lines[5:])):
        weakest = []
        for claim, line in zip(claims.family(some), mine, strict=True):
            parts = {name.replace("_", " "): part for name, part in claim.parts.items()}
            part = parts[line[9]]
            flips = stats.permutation_test(
                (part,), np.mean, permutation_type="samples", n_resamples=np.inf
            )
            losing = sum(np.mean(p) <= 0 for p in parts.values()) > 0
            weakest.append(min(1, flips.pvalue * (len(parts) if losing else 1)))
            assert line[3].split(" ± ")[0] == markup.signed(100 * np.mean(part), plus=True)
            assert line[4] == str(len(part)) and line[6] == markup.p_value(weakest[-1])
        holm = multitest.multipletests(weakest, method="holm")[1]
        assert [line[5] for line in mine] == [f"{p:.2g}" for p in holm]
        for p, line in zip(holm, mine, strict=True):
            sure = "supported" if not line[3].startswith("−") else "refuted"
            assert line[2] == (sure if p <= 0.05 else "undecided")
    text = claims.intervals(summary.cells(one.rows), one.rows, "run-1")
    assert "*" not in text and "p (" not in text and '<th scope="col" class="number">p<' not in text


def test_differences_are_paired_and_hold_for_all_eps_at_once():
    stats = pytest.importorskip("scipy.stats")
    rows = fresh(grid_rows.rows(seeds=5))
    found = claims.against(rows)
    values = {
        (r["method"], r["eps"], r["sparsity"], r["seed"]): r["test_accuracy"]
        for r in rows
        if r["diverged"] is None
    }
    cell = ("joint", 0.01, 0.9)
    difference = [values[(*cell, s)] - values["prune", None, 0.9, s] for s in range(100, 105)]
    mean, half, n = found[cell]["prune"]
    radii = [eps for eps in grid_rows.EPS if eps != math.inf]
    level = 1 - 0.05 / len(radii)
    low, high = stats.t.interval(level, 4, np.mean(difference), stats.sem(difference))
    np.testing.assert_allclose([mean - half, mean + half, n], [low, high, 5], rtol=1e-9)
    # One ε fewer has itself as its baseline at ε = 0.
    at_zero = found[cell]["eps=0"]
    pairs = [values[(*cell, s)] - values["joint", 0, 0.9, s] for s in range(100, 105)]
    expected = stats.sem(pairs) * stats.t.ppf(1 - 0.025 / (len(radii) - 1), 4)
    assert at_zero.half == pytest.approx(expected, rel=1e-9)
    assert "eps=0" not in found["joint", 0.0, 0.9]


def test_at_eps_zero_the_papers_orders_take_the_rows_of_prune():
    cells = summary.cells([row for row in fresh(grid_rows.rows(seeds=2)) if row["eps"] != 0])
    own = {cell[:3]: cell.accuracy["test_accuracy"].mean for cell in cells}
    grid = heat.ours(cells, "perturb_then_prune")
    assert grid[0.0, 0.5] == own["prune", None, 0.5]
    assert grid[0.01, 0.9] == own["perturb_then_prune", 0.01, 0.9]
    assert (0.0, 0.5) not in heat.ours(cells, "joint") and heat.ours(cells, "dense") == {}


def test_differences_to_published_cells_are_taken_only_of_the_same_net_and_data():
    cells = summary.cells(fresh(grid_rows.rows(seeds=2)))
    published = {"perturb_then_prune": heat.Published("table 1", {(0.01, 0.5): 0.5, (9.0, 0.5): 1})}
    same = {"dataset": "mnist", "model": "redundant", "width": 1.0, "eps_unit": "absolute"}
    for changed in ({}, {"dataset": "digits"}, {"width": 0.2}, {"eps_unit": "std"}):
        root = page_tree.parse(heat.section(cells, same | changed, published, "run-1"))
        captions = [caption for caption, _ in page_tree.tables(root)]
        assert any(c.startswith("perturb then prune, published: table 1") for c in captions)
        assert any(c.startswith("ours − table 1") for c in captions) is not bool(changed)
        if not changed:
            ours = heat.ours(cells, "perturb_then_prune")[0.01, 0.5]
            expected = markup.signed(100 * (ours - 0.5), 1, plus=True)
            assert page_tree.table(root, "ours − table 1") == [["0.5", expected]]
        else:
            assert "so no difference is taken" in root.text
