"""Tickets: bit for bit from a seed, or a refusal; damage is seen; any framework can read them."""

import dataclasses
import hashlib
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
import safetensors.numpy

from lth_jax import errors, models, tickets
from lth_jax.masks import selection
from lth_jax.theory import construction
from lth_jax.theory.construction import random_network
from lth_jax.tickets import origin

FIXTURES = pathlib.Path(__file__).parent
SHAPE, CLASSES, WIDTH = (2, 2, 1), 3, 0.02


def network(init, seed=3):
    """What an image study would end with: center, moved weights, masks, origin."""
    model = models.build_model("lenet", SHAPE, CLASSES, init, WIDTH)
    drawn = origin.ModelOrigin(model.architecture, seed)
    key = jax.random.fold_in(jax.random.key(seed), 0)
    center = jax.tree.map(np.asarray, jax.jit(model.init)(key)[0])
    rng = np.random.default_rng(seed)
    masks = jax.tree.map(lambda w: rng.random(w.shape) < 0.5, center)
    weights = jax.tree.map(
        lambda w: w + rng.uniform(-0.0099, 0.0099, w.shape).astype(np.float32), center
    )
    return model, center, weights, masks, drawn


def equal(a, b):
    leaves_a, leaves_b = jax.tree.leaves(a), jax.tree.leaves(b)
    assert jax.tree.structure(a) == jax.tree.structure(b)
    return all(np.array_equal(x, y) for x, y in zip(leaves_a, leaves_b, strict=True))


@pytest.mark.parametrize("init", quick.first(1, ["kaiming_normal", "signed_constant", "uniform"]))
def test_an_unmoved_network_comes_back_from_its_seed(tmp_path, init):
    model, center, _, masks, drawn = network(init)
    size = tickets.save(tmp_path / "a.ticket", center, center, masks, drawn)
    again = tickets.load(tmp_path / "a.ticket")
    assert size == (tmp_path / "a.ticket").stat().st_size
    assert equal(again.weights, selection.apply_mask(center, masks)) and equal(again.masks, masks)
    x = jnp.linspace(0, 1, 20).reshape(5, *SHAPE)
    logits = model.apply(selection.apply_mask(center, masks), {}, x)[0]
    assert np.array_equal(model.apply(again.weights, {}, x)[0], logits)


@pytest.mark.parametrize("bits", [2, 7, 16])
def test_a_perturbation_is_rounded_within_the_ball_and_then_stays(tmp_path, bits):
    _, center, weights, masks, drawn = network("uniform")
    tickets.save(tmp_path / "a", center, weights, masks, drawn, bits=bits, eps=0.01)
    once = tickets.load(tmp_path / "a")
    step = 0.01 / (2 ** (bits - 1) - 1)
    for c, w, m, s in zip(*map(jax.tree.leaves, (center, weights, masks, once.weights)),
                          strict=True):  # fmt: skip
        moved = np.where(m, np.float64(s) - c, 0)
        assert np.abs(moved).max() <= 0.01 and (s[~m] == 0).all()
        # Per output: half a step, unless the edge of the ball leaves no room (2 bits).
        off = np.abs(np.where(m, np.float64(s) - w, 0).sum(axis=0)).max()
        assert off <= step / 2 + 1e-6 or bits == 2
    tickets.save(tmp_path / "b", center, jax.tree.map(lambda s, c, m: np.where(m, s, c),
                once.weights, center, masks), masks, drawn, bits=bits, eps=0.01)  # fmt: skip
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_embedded_weights_need_no_seed(tmp_path):
    _, center, weights, masks, _ = network("kaiming_normal")
    path = tmp_path / "a"
    tickets.save(path, center, weights, masks, {"recipe": "mine"}, embed_weights=True)
    assert equal(tickets.load(path).weights, selection.apply_mask(weights, masks))


def test_only_the_own_program_draws_a_model_of_its_own_again(tmp_path):
    _, center, weights, masks, _ = network("uniform")
    path, own = tmp_path / "a", origin.OwnOrigin(3)
    tickets.save(path, center, weights, masks, own, embed_weights=True)
    assert equal(tickets.load(path).weights, selection.apply_mask(weights, masks))
    tickets.save(path, center, center, masks, own)
    with pytest.raises(errors.InputError, match="only the program"):
        tickets.load(path)
    again = tickets.load(path, regenerate=lambda init, pruned: center if init["seed"] == 3 else {})
    assert equal(again.weights, selection.apply_mask(center, masks)) and again.origin == own


def test_leaves_without_a_mask_are_stored_whole(tmp_path):
    _, center, weights, masks, drawn = network("uniform")
    masks["Dense_2"]["kernel"] = None
    tickets.save(tmp_path / "a", center, weights, masks, drawn, embed_weights=True)
    again = tickets.load(tmp_path / "a")
    assert again.masks["Dense_2"]["kernel"] is None
    assert np.array_equal(again.weights["Dense_2"]["kernel"], weights["Dense_2"]["kernel"])


@pytest.mark.parametrize("bits", [4, 16])
def test_a_construction_comes_back_bit_for_bit(tmp_path, bits):
    rng = np.random.default_rng(0)
    target = [rng.normal(0, 0.3, (5, 4)), rng.normal(0, 0.3, (3, 5))]
    built = construction.approximate(
        target, jax.random.key(7), 0.02, 0.01, nonnegative_input=False, bits=bits
    )
    drawn = origin.ConstructionOrigin(7, built.layout)
    args = (built.candidates, built.weights, built.masks, drawn)
    size = tickets.save(tmp_path / "a", *args, bits=bits, eps=0.02)
    again = tickets.load(tmp_path / "a")
    assert equal(again.weights, selection.apply_mask(built.weights, built.masks))
    assert again.origin == drawn
    kept = sum(int(m.sum()) for m in jax.tree.leaves(built.masks))
    total = sum(m.size for m in jax.tree.leaves(built.masks))
    assert size <= (kept * bits + total) / 8 + 1200  # Header and checksum.


def test_other_initial_weights_are_refused(tmp_path):
    _, center, _, masks, drawn = network("uniform")
    tickets.save(tmp_path / "a", center, center, masks, dataclasses.replace(drawn, seed=4))
    with pytest.raises(errors.InputError, match="embed_weights") as caught:
        tickets.load(tmp_path / "a")
    assert "\n" not in str(caught.value)


def test_every_flipped_byte_is_seen(tmp_path):
    content = (FIXTURES / "uniform.ticket").read_bytes()
    path = tmp_path / "broken"
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1 << at % 8]) + content[at + 1 :])
        with pytest.raises(errors.InputError) as caught:
            tickets.load(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", tickets.MAGIC, tickets.MAGIC + b"x" * 99])
def test_foreign_and_cut_files_are_one_line(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    for path in (tmp_path / "a", tmp_path / "absent", tmp_path):
        with pytest.raises(errors.InputError) as caught:
            tickets.load(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


FORGED = [
    lambda h: h.update(leaves=[]),
    lambda h: h.update(leaves=3),
    lambda h: h["leaves"][0].update(shape=[-1, 4]),
    lambda h: h["leaves"][0].update(shape=[1 << 40, 1 << 40]),
    lambda h: h["leaves"][0].update(shape=["2", 4]),
    lambda h: h["leaves"][0].update(path=["Dense_1"]),
    lambda h: h["init"].update(width=1e12),
    lambda h: h["init"].update(model="os.system"),
    lambda h: h.update(init={"recipe": "construction", "seed": 0, "sizes": [2, 2], "halves": 1,
                             "widths": [10**9], "candidates": "uniform", "scales": [1]}),
    lambda h: h.update(init=None),
    lambda h: h.update(bits=99),
    lambda h: h.pop("embedded"),
]  # fmt: skip


@pytest.mark.parametrize("forge", range(len(FORGED)))
def test_a_forged_header_with_a_right_checksum_is_one_line(tmp_path, forge):
    content = (FIXTURES / "uniform.ticket").read_bytes()[:-32]
    start = len(tickets.MAGIC) + 8
    end = start + int.from_bytes(content[start - 8 : start], "little")
    header = json.loads(content[start:end])
    FORGED[forge](header)
    text = json.dumps(header).encode()
    forged = tickets.MAGIC + len(text).to_bytes(8, "little") + text + content[end:]
    (tmp_path / "a").write_bytes(forged + hashlib.sha256(forged).digest())
    with pytest.raises(errors.InputError) as caught:
        tickets.load(tmp_path / "a")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("init", ["uniform", "signed_constant"])
def test_a_ticket_of_another_jax_version_is_read_here(init):
    """Written by jax 0.10.2; CI reads them on both Pythons."""
    again = tickets.load(FIXTURES / f"{init}.ticket")
    logits = np.load(FIXTURES / f"{init}.npy", allow_pickle=False)
    weights = [again.weights[f"Dense_{i}"]["kernel"] for i in range(3)]
    np.testing.assert_array_equal(plain(weights), logits)


# Made by commit 8ccaaaf with jax 0.10.2: SHA-256 of the weights that were loaded there.
MADE_BEFORE = {
    "construction": "a8108e3da6fc89c1cf0e75e1b4c28f1e6eda5a1098b84f2c3cc4ab4392bbd433",
    "embedded": "1184ae1ba7e4af7b13fe9c83d78133c1ffc92de1a4a9bb93f77459a5d913d3ea",
}


@pytest.mark.parametrize("name", MADE_BEFORE)
def test_a_ticket_made_before_is_read_as_before(name):
    again = tickets.load(FIXTURES / f"{name}.ticket")
    assert tickets.digest(again.weights) == MADE_BEFORE[name]
    written = json.dumps(origin.to_json(again.origin))
    assert written == json.dumps(again.header["init"])  # In the same order, too.
    example = np.zeros((1, *((4,) if name == "construction" else (4, 4, 1))), np.float32)
    shapes, _ = jax.eval_shape(tickets.model_of(again.origin).init, jax.random.key(0))
    assert jax.tree.map(np.shape, again.weights) == jax.tree.map(np.shape, shapes)
    logits, _ = tickets.model_of(again.origin).apply(again.weights, {}, example)
    assert logits.shape == (1, 2 if name == "construction" else 3)


UNITS = [
    [[2, 2, 2, 2]],
    [[2, 2, 2], [1, 1, 1, 1, 1]],
    [[2, 2, 2, -2], [1, 1, 1, 1, 1]],
    [[2, 2, 2, 10**9], [1, 1, 1, 1, 1]],
    [[2, 2, 2, 2.0], [1, 1, 1, 1, 1]],
    [[2, 2, 2, 2], [True] * 5],
    [2, 1],
    "22",
    7,
]


@pytest.mark.parametrize("units", UNITS, ids=str)
def test_forged_units_are_one_line(tmp_path, units):
    """The ticket itself gives its 4 and 5 inputs 2 units and 1."""
    layout = random_network.Layout(
        (4, 5, 3), (2, 1), 1, "uniform", (1.0, 1.0), ((2, 2, 2, 2), (1, 1, 1, 1, 1))
    )
    drawn = origin.ConstructionOrigin(1, layout)
    weights = random_network.draw(jax.random.key(1), layout)
    masks = jax.tree.map(lambda w: np.ones(w.shape, bool), weights)
    path = tmp_path / "a"
    tickets.save(path, weights, weights, masks, drawn)
    assert tickets.load(path).origin == drawn
    content = path.read_bytes()[:-32]
    start = len(tickets.MAGIC) + 8
    end = start + int.from_bytes(content[start - 8 : start], "little")
    header = json.loads(content[start:end])
    header["init"]["units"] = units
    text = json.dumps(header).encode()
    forged = tickets.MAGIC + len(text).to_bytes(8, "little") + text + content[end:]
    path.write_bytes(forged + hashlib.sha256(forged).digest())
    with pytest.raises(errors.InputError) as caught:
        tickets.load(path)
    assert "\n" not in str(caught.value)


def plain(weights):
    """The network in plain float64 NumPy, summed in one order, so the same everywhere."""
    x = np.linspace(0, 1, 20).reshape(5, 4)
    for w in weights[:-1]:
        x = np.maximum((x[:, :, None] * np.float64(w)).sum(axis=1), 0)
    return (x[:, :, None] * np.float64(weights[-1])).sum(axis=1)


def test_the_export_is_read_by_plain_numpy(tmp_path):
    _, _, weights, masks, _ = network("uniform")
    path = tmp_path / "a.safetensors"
    assert tickets.export(path, weights, masks) == path.stat().st_size
    pruned = selection.apply_mask(weights, masks)
    names = {f"{a}/{b}": leaf for a, inner in pruned.items() for b, leaf in inner.items()}
    read = safetensors.numpy.load_file(path)
    assert set(read) == set(names)
    assert all(np.array_equal(read[name], leaf) for name, leaf in names.items())
    # And by hand, from the format's own description: a length, a JSON header, raw bytes.
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    for name, entry in json.loads(content[8:end]).items():
        begin, stop = entry["data_offsets"]
        leaf = np.frombuffer(content[end + begin : end + stop], "<f4").reshape(entry["shape"])
        assert np.array_equal(leaf, names[name])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({}, "choose bits"),
        ({"bits": 8, "eps": 0.005}, "more than eps"),
        ({"bits": 1}, "bits must"),
        ({"bits": 17}, "bits must"),
    ],
)
def test_what_a_ticket_cannot_hold_is_refused(tmp_path, change, match):
    _, center, weights, masks, drawn = network("uniform")
    with pytest.raises(ValueError, match=match):
        tickets.save(tmp_path / "a", center, weights, masks, drawn, **change)
    assert not (tmp_path / "a").exists()


def test_trees_that_do_not_fit_are_refused(tmp_path):
    _, center, weights, masks, drawn = network("uniform")
    half = jax.tree.map(lambda w: w.astype(np.float16), center)
    with pytest.raises(ValueError, match="float32"):
        tickets.save(tmp_path / "a", half, half, masks, drawn)
    with pytest.raises(ValueError, match="equal keys"):
        tickets.save(tmp_path / "a", center, weights, {"Dense_0": None}, drawn)


ODD = {
    "a bare array": np.zeros(3, np.float32),
    "a list": [np.zeros(3, np.float32)] * 2,
    "a tuple": (np.zeros(3, np.float32),),
    "a list in a dict": {"a": [np.zeros(3, np.float32)] * 2},
    "a number as name": {3: np.zeros(3, np.float32)},
    "names of two kinds": {3: np.zeros(3, np.float32), "a": np.zeros(3, np.float32)},
    "an empty name": {"a": {"": np.zeros(3, np.float32)}},
    "no array": {"a": "text"},
    "an object": {"a": object()},
    "nothing": None,
}


@pytest.mark.parametrize("tree", ODD.values(), ids=list(ODD))
def test_only_nested_dicts_by_names_of_text_are_written(tmp_path, tree):
    """What came back would be another tree, or nothing at all."""
    with pytest.raises(ValueError) as caught:
        tickets.export(tmp_path / "a", tree)
    assert "\n" not in str(caught.value)
    for embed in (True, False):
        with pytest.raises(ValueError) as caught:
            tickets.save(tmp_path / "a", tree, tree, tree, {"recipe": "x"}, embed_weights=embed)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_a_ticket_is_shown_by_what_it_keeps_and_not_by_its_numbers():
    shown = repr(tickets.load(FIXTURES / "uniform.ticket"))
    assert shown.startswith("Ticket(") and " weights kept, header {" in shown
    assert "array(" not in shown


def test_the_name_that_safetensors_reserves_is_not_exported(tmp_path):
    with pytest.raises(ValueError, match="__metadata__"):
        tickets.export(tmp_path / "a", {"__metadata__": np.zeros(3, np.float32)})
    tickets.export(tmp_path / "b", {"a": {"__metadata__": np.zeros(3, np.float32)}})
    assert set(safetensors.numpy.load_file(tmp_path / "b")) == {"a/__metadata__"}


def test_what_load_would_find_too_large_is_not_saved(tmp_path):
    layout = random_network.Layout((1, 1), (20_000,), 1, "uniform", (1.0,))
    center = jax.tree.map(
        np.asarray, random_network.draw(jax.random.key(0), layout._replace(widths=(2,)))
    )
    masks = jax.tree.map(lambda w: np.ones(w.shape, bool), center)
    with pytest.raises(ValueError, match="too large"):
        tickets.save(tmp_path / "a", center, center, masks, origin.ConstructionOrigin(0, layout))
    assert not (tmp_path / "a").exists()


def write_fixtures():
    """Run by hand, with the oldest supported jax."""
    FIXTURES.mkdir(exist_ok=True)
    for init in ("uniform", "signed_constant"):
        _, center, weights, masks, drawn = network(init)
        path = FIXTURES / f"{init}.ticket"
        tickets.save(path, center, weights, masks, drawn, bits=8, eps=0.01)
        again = tickets.load(path)
        logits = plain([again.weights[f"Dense_{i}"]["kernel"] for i in range(3)])
        np.save(FIXTURES / f"{init}.npy", logits)


if __name__ == "__main__":
    write_fixtures()
