"""A ticket's other state: running statistics and what else a model carries."""

import jax
import numpy as np
import pytest

from lth_jax import errors, tickets
from lth_jax.tickets import codec
from lth_jax.tickets import state as states

STATE = {
    "norm": {"mean": np.float32([0.5, -1]), "var": np.float32([2, 3])},
    "count": np.int32(7),
    "table": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "seen": np.bool_([True, False]),
}


def saved(folder, **more):
    center = {"kernel": np.ones((2, 3), np.float32)}
    mask = {"kernel": np.eye(2, 3, dtype=bool)}
    tickets.save(folder, center, center, mask, tickets.OwnOrigin(0), embed_weights=True, **more)
    return folder


def test_a_state_comes_back_bit_for_bit(tmp_path):
    again = tickets.load(saved(tmp_path / "t", state=STATE)).state
    assert jax.tree.structure(again) == jax.tree.structure(STATE)
    for ours, theirs in zip(jax.tree.leaves(again), jax.tree.leaves(STATE), strict=True):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        np.testing.assert_array_equal(ours, theirs)


def test_without_a_state_a_file_is_what_it_was(tmp_path):
    plain, empty = saved(tmp_path / "a"), saved(tmp_path / "b", state={})
    assert plain.read_bytes() == empty.read_bytes()
    assert tickets.load(plain).state == {} and "state" not in tickets.load(plain).header


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ({"a": np.complex64(1)}, "state of .*, got complex64 at"),
        ({"a": jax.random.key(0)}, "state of .*, got key<fry> at"),
        ({"a": [np.float32(1)]}, "state of .*, got none at"),
        ({0: np.float32(1)}, "by names of text, not 0"),
        (np.float32([1]), "state of .*, got float32 at"),
    ],
)
def test_what_a_ticket_cannot_hold_is_refused(state, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        saved(tmp_path / "t", state=state)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "object"},
        {"dtype": ["float32"]},
        {"dtype": "M8[s]", "shape": [1]},
        {"shape": [-1, 2]},
        {"shape": [2**40, 2**40]},
        {"shape": [3]},
        {"shape": [1]},
        {"path": [1]},
        {"path": []},
    ],
)
def test_a_forged_state_is_refused_in_a_line(change, tmp_path):
    path = saved(tmp_path / "t", state={"mean": np.float32([1, 2])})
    header, payload = codec.read(path)
    header["state"][0] |= change
    path.write_bytes(codec.seal(header, payload))
    with pytest.raises(errors.InputError) as found:
        tickets.load(path)
    assert len(str(found.value).splitlines()) == 1


def test_shapes_alone_can_be_checked():
    shapes = jax.eval_shape(lambda: {"a": np.float32([1, 2])})
    states.check(shapes)
