"""Which pruner, method and settings go together; what does not is refused here, with the reason."""

from collections.abc import Iterable, Sequence

from lth_jax import pruners
from lth_jax.training import config as train_config
from lth_jax.training import methods


def refusal(pruner: pruners.Pruner, method: methods.Method) -> str | None:
    """Why a pruner and a method make no sense together.

    Args:
        pruner: The pruner.
        method: The method.

    Returns:
        A sentence, or None if they do.
    """
    kinds = [stage.kind for stage in method.stages]
    if not pruner.learns and any("scores" in kind.moves for kind in kinds):
        return (
            f"{method.name!r} trains scores, and those of {pruner.name!r} are found once and stay; "
            "random_mask_then_perturb trains weights through its mask."
        )
    if pruners.changes_weights(pruner) and not method.takes_sparsity:
        return (
            f"{method.name!r} has no mask, and {pruner.name!r} changes the weights that a mask "
            "keeps; take it with edge_popup."
        )
    if pruner.redraws and not _one_center(kinds):
        return (
            f"{method.name!r} goes on in a ball after weights moved or were drawn anew, and "
            f"{pruner.name!r} draws weights anew: of what happened in its stages before, a stage "
            "knows weights and scores, not the centre."
        )
    return None


def _one_center(kinds: Sequence[methods.StageKind]) -> bool:
    """Whether every stage of a pruner that draws weights anew knows its ball's centre.

    One that trains scores takes the seed's weights, which is right unless some were drawn anew
    before; another one takes the weights that it begins with, right unless they moved before.
    """
    drawn = moved = False
    for kind in kinds:
        trains = "scores" in kind.moves
        if drawn if trains else moved:
            return False
        drawn |= trains
        moved |= "weights" in kind.moves or kind.random_start
    return True


def check(
    pruner: pruners.Pruner, config: train_config.TrainConfig, names: Iterable[str] = ()
) -> None:
    """Refuses what makes no sense together, before any work.

    Args:
        pruner: The pruner.
        config: How stages train.
        names: Of the methods.

    Raises:
        ValueError: One line, with the reason.
    """
    if config.floor and pruner.scope != "global":
        raise ValueError(
            f"floor must be 0 in the scope {pruner.scope!r}, which says itself what each tensor "
            f"keeps, got {config.floor}."
        )
    for name in names:
        reason = refusal(pruner, methods.find(name))
        if reason is not None:
            raise ValueError(f"method: {reason}")
