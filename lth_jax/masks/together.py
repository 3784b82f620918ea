"""Exact selection for lanes that step together: one search for all lanes and tensors.

Under a plain vmap every tensor's search is a loop that lasts as long as its slowest lane, and what
is rare, ties and a sample for a start, always runs. A loop whose length only the data say costs a
GPU a wait for the host at every pass. Here the first passes are of a fixed number, and one question
to all lanes decides whether any search has to go on, or ended at a tie; there, another one decides
whether ties have to be broken.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from lth_jax.masks import threshold, ties
from lth_jax.perturb import shards

_PASSES = 4
# Reading scores is what a pass costs, so that more guesses are free, and passes are fewer: of 936
# searches of LeNet's training 97 % ended within three and all but 3 within four (five guesses: 92 %
# and all but 16), and the last of 192, of 64 lanes, is what counts.
_NINE = threshold.Guesses(
    (-4.0, -1.7, -0.8, -0.3, 0.0, 0.3, 0.8, 1.7, 4.0),
    (-1.1, -0.6, -0.3, -0.1, 0.1, 0.3, 0.6, 1.1),
    (1, 3, 5, 7, 9, 11, 13, 14, 15),
)

Groups = Sequence[Sequence[jax.Array]]
_Masks = list[list[jax.Array]]


def serves(leaves: Sequence[jax.Array]) -> bool:
    """Whether `masks_and_hints` is for such scores, here: of one type, and none is empty."""
    return (
        shards.step_together()
        and len({leaf.dtype for leaf in leaves}) == 1
        and all(leaf.size for leaf in leaves)
    )


def masks_and_hints(
    groups: Groups, kept: Sequence[jax.Array], hints: Sequence[jax.Array] | None
) -> tuple[_Masks, list[jax.Array]]:
    """Marks the highest scores of each group, as `selection.topk_mask_and_threshold` does.

    Args:
        groups: Scores that are ranked together; all of one type.
        kept: Of each group, [] int32.
        hints: None, or of each group, [2]; any content is safe.

    Returns:
        masks: Of each group, bool arrays like its scores.
        hints: Of each group, [2].
    """
    dtype = groups[0][0].dtype
    keys = [[threshold.keys_of(leaf) for leaf in group] for group in groups]
    counts = jnp.stack([jnp.clip(k, 0, _size(group)) for k, group in zip(kept, keys, strict=True)])
    hint = _first_hints(keys, counts, dtype, hints)
    ends = threshold.ends_of(keys[0][0].dtype)
    sizes = jnp.asarray([_size(group) for group in keys], jnp.int32)
    state = jax.vmap(functools.partial(threshold.first_state, dtype=dtype, ends=ends, where=_NINE))(
        counts, sizes, hint=hint
    )
    unfinished = jax.vmap(threshold.unfinished)

    def narrow(state: threshold.Search) -> threshold.Search:
        reaching = jnp.stack([_reaching(*pair) for pair in zip(keys, state[-1], strict=True)])
        step = functools.partial(threshold.narrowed, dtype=dtype, ends=ends, where=_NINE)
        after = jax.vmap(step)(state, reaching, counts)
        going = unfinished(state, counts)
        # What has ended stays: masks would be as exact, but a search for no key would begin anew.
        kept_on: threshold.Search = jax.tree.map(
            lambda new, old: jnp.where(going if new.ndim == 1 else going[:, None], new, old),
            after,
            state,
        )
        return kept_on

    for _ in range(_PASSES):
        state = narrow(state)

    def plain(reached: jax.Array) -> _Masks:
        return [[k >= t for k in group] for group, t in zip(keys, reached, strict=True)]

    def thorough() -> tuple[_Masks, jax.Array]:
        last = lax.while_loop(
            lambda s: shards.of_any_lane(jnp.any(unfinished(s, counts))), narrow, state
        )
        reached, _, above, _, _ = last

        def with_ties() -> _Masks:
            found = zip(keys, reached, above, counts, strict=True)
            return [_with_ties(*each) for each in found]

        tied = shards.of_any_lane(jnp.any(above != counts))
        return lax.cond(tied, with_ties, lambda: plain(reached)), reached

    more = jnp.any(unfinished(state, counts) | (state[2] != counts))
    masks, reached = lax.cond(
        shards.of_any_lane(more), thorough, lambda: (plain(state[0]), state[0])
    )
    after = jax.vmap(functools.partial(threshold.next_hint, dtype=dtype))(reached, hint)
    return masks, list(after)


def _size(arrays: Sequence[jax.Array]) -> int:
    return sum(array.size for array in arrays)


def _first_hints(
    keys: Groups, kept: jax.Array, dtype: jnp.dtype, hints: Sequence[jax.Array] | None
) -> jax.Array:
    """[groups, 2], finite. A useless hint is made harmless: its search takes some passes more."""
    if hints is None:
        flat = [jnp.concatenate([jnp.ravel(k) for k in group]) for group in keys]
        sampled = [threshold.sampled_hint(k, n, dtype, ()) for k, n in zip(flat, kept, strict=True)]
        return jnp.stack(sampled)
    given = jnp.stack([lax.stop_gradient(jnp.asarray(hint, dtype)) for hint in hints])
    value, reach = given[:, 0], given[:, 1]
    usable = jnp.isfinite(value)
    value = jnp.where(usable, value, 0)
    reach = jnp.where(usable & jnp.isfinite(reach), reach, 1)
    return jnp.stack([value, jnp.maximum(reach, jnp.finfo(dtype).tiny)], axis=1)


def _reaching(keys: Sequence[jax.Array], guesses: jax.Array) -> jax.Array:
    """[m] int32, how many keys of a group reach each guess; the arrays keep their layouts."""
    counts = [threshold.count_reaching(k, guesses, tuple(range(k.ndim))) for k in keys]
    return functools.reduce(jnp.add, counts)


def _with_ties(
    keys: Sequence[jax.Array], reached: jax.Array, count: jax.Array, kept: jax.Array
) -> list[jax.Array]:
    """A group's masks where entries at the threshold may have to be left out."""
    flat = jnp.concatenate([jnp.ravel(k) for k in keys])
    last = jnp.where(count == kept, flat.size, ties.last_kept(flat, reached, kept, ()))
    mask = (flat > reached) | ((flat == reached) & (lax.iota(jnp.int32, flat.size) <= last))
    parts, start = [], 0
    for k in keys:
        parts.append(mask[start : start + k.size].reshape(k.shape))
        start += k.size
    return parts
