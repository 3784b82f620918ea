"""One network of theorem 2: built, run, certified and stored; an object of construction.json."""

import pathlib
import time
from typing import Any, NamedTuple

import jax
import numpy as np

from lth_jax import datasets, errors, models, runs, tickets
from lth_jax.masks import selection
from lth_jax.theory import construction
from lth_jax.theory.construction import error_search, network_certificate, random_network
from lth_jax.theory.subset_sum import bounds, targets
from lth_jax.tickets import origin

# What a table and a plot read of a row.
FIELDS = (
    "eps",
    "seed",
    "widths",
    "proved_widths",
    "kept",
    "certificate",
    "largest_error_found",
    "largest_error_on_data",
    "largest_logit",
    "target_accuracy",
    "ticket_accuracy",
    "ticket_bytes",
    "float32_bytes",
    "seconds",
    "over_parameterization",
    "proved_over_parameterization",
    "necessary_over_parameterization",
)


class Problem(NamedTuple):
    """The network to hide, and what it is measured on."""

    target: list[np.ndarray]  # [out, in] of each layer
    images: np.ndarray  # [n, d] float32 in [0, 1]: those of the test split
    labels: np.ndarray  # [n]
    logits: np.ndarray  # [n, classes] float64 of the target


def source(config: Any) -> tuple[list[np.ndarray] | None, datasets.Dataset]:
    """The matrices of --target (None: train one) and the data set, as the flags say.

    Raises:
        InputError: If a file is missing or damaged, or they do not fit one another.
    """
    weights = None
    if config.target is not None:
        weights = targets.load(config.target)
        try:
            construction.checked(weights)
        except ValueError as error:
            raise errors.InputError(f"target {config.target}: {error}") from None
    given = config.target is not None or config.data_dir is not None
    found = datasets.load(config.dataset or ("mnist" if given else "digits"), config.data_dir)
    pixels = int(np.prod(found.test.images.shape[1:]))
    if weights and (weights[0].shape[1] != pixels or weights[-1].shape[0] != found.classes):
        shapes = [w.shape for w in weights]
        raise errors.InputError(
            f"--target: {shapes} does not map {pixels} pixels to {found.classes} classes."
        )
    return weights, found


def problem(config: Any, weights: list[np.ndarray] | None, found: datasets.Dataset) -> Problem:
    """Trains the target if there is none, and runs it on the test images."""

    def pixels(split):
        flat = split.images.reshape(len(split.labels), -1).astype(np.float32)
        return flat / np.float32(16 if found.name == "digits" else 255)

    if weights is None:
        weights = targets.trained(
            jax.random.key(config.target_seed),
            np.concatenate([pixels(found.train), pixels(found.validation)]),
            np.concatenate([found.train.labels, found.validation.labels]),
            config.hidden,
            config.steps,
        )
    images = pixels(found.test)
    logits = error_search.target_output(weights, np.float64(images))
    return Problem(weights, images, found.test.labels, logits)


def accuracy(model: models.Model, weights: Any, images: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of images that a Model's largest logit classifies right, 500 at a time."""
    apply = jax.jit(lambda weights, x: model.apply(weights, {}, x)[0].argmax(axis=-1))
    weights = jax.device_put(weights)
    guesses = [apply(weights, images[i : i + 500]) for i in range(0, len(images), 500)]
    return float(np.mean(np.concatenate(guesses) == labels))


def by_theory(config: Any, target: list[np.ndarray], scales: tuple[float, ...], eps: float) -> dict:
    """Candidates per weight that suffice for all weights at once, and that one weight needs.

    By `bounds`, for each layer; one of scale s has its weights and η divided by s. None for
    candidates that the theorem does not speak of, or where nothing suffices.
    """
    names = ("proved_widths", "proved_over_parameterization", "necessary_over_parameterization")
    if config.candidates != "uniform" or config.eta + eps == 0:
        return dict.fromkeys(names)
    sizes, halves = [w.size for w in target], 2 if config.full else 1
    share = config.delta / (halves * sum(sizes))
    etas = [config.eta / scale for scale in scales]
    enough = [int(bounds.candidates(eta, eps, share)) for eta in etas]
    least = [int(bounds.lower_by_density(eta, eps, 0.5)) for eta in etas]
    means = (halves * float(np.average(widths, weights=sizes)) for widths in (enough, least))
    return dict(zip(names, (enough, *means), strict=True))


def build(config: Any, given: Problem, eps: float, seed: int, folder: pathlib.Path) -> dict:
    """Builds, runs, certifies and stores one network.

    Args:
        config: Of the study.
        given: The target and the images.
        eps: Largest perturbation.
        seed: Of the candidates.
        folder: For the ticket.

    Returns:
        An object of construction.json.

    Raises:
        RunError: If the certificate is refuted by an error that was found: a bug.
    """
    started = time.perf_counter()
    auto = "best" if eps > 0 else "first"
    built = construction.approximate(
        given.target,
        jax.random.key(seed),
        eps,
        config.eta,
        config.width,
        nonnegative_input=not config.full,
        candidates=config.candidates,
        objective=auto if config.objective == "auto" else config.objective,
        bits=config.bits,
    )
    found_at = time.perf_counter()
    path = folder / f"eps-{eps}_seed-{seed}.ticket"
    init = origin.construction_init(built.recipe, seed)
    kind = {"bits": config.bits if eps > 0 else None, "eps": eps}
    kind["embed_weights"] = config.candidates != "uniform"
    size = tickets.save(path, built.candidates, built.weights, built.masks, init, **kind)
    stored_at = time.perf_counter()
    pruned = selection.apply_mask(built.weights, built.masks)
    right = accuracy(built.model, pruned, given.images, given.labels)
    ran_at = time.perf_counter()
    layers = random_network.effective(built.weights, built.masks, built.scales)
    domain = "ball" if config.full else "cube"
    bound = network_certificate.bound(given.target, layers, domain)
    rng = np.random.default_rng(seed)
    seen = error_search.search(given.target, layers, given.images, rng, domain)
    if not bound.value >= seen.value + bound.rounding:
        raise errors.RunError(f"{path.name}: certified {bound.value}, but found {seen.value}.")
    counts = construction.counts(built)
    return {
        "eps": eps,
        "eta": config.eta,
        "seed": seed,
        "n": max(built.widths),
        "widths": list(built.widths),
        **by_theory(config, given.target, built.scales, eps),
        "halves": built.recipe["halves"],
        "scales": list(built.scales),
        "not_found": int(sum((~found).sum() for found in built.found)),
        **counts,
        "domain": domain,
        "certificate": bound.value,
        "certificate_entrywise": bound.entrywise,
        "certificate_l2": bound.l2,
        "largest_error_found": seen.value,
        "largest_error_on_data": seen.data,
        "rounding": bound.rounding,
        "largest_logit": float(np.abs(given.logits).max()),
        "target_accuracy": float(np.mean(given.logits.argmax(axis=1) == given.labels)),
        "ticket_accuracy": right,
        "ticket_bytes": size,
        "float32_bytes": 4 * counts["candidates"],
        "target_sha256": targets.digest(given.target),
        "git": runs.git_revision(),
        "construct_seconds": found_at - started,
        "store_seconds": stored_at - found_at,
        "run_seconds": ran_at - stored_at,
        "certify_seconds": time.perf_counter() - ran_at,
        "seconds": time.perf_counter() - started,
    }
