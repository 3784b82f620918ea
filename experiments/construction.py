"""How large is the random network that hides a given one, and how near does it come?

A network trained on digits in the same command, or a file's, built inside a random 2L-layer network
(theorem 2 of Xiong et al. 2023) for each ε, run, certified and stored:

    python -m experiments.construction
    python -m experiments.construction --target=FILE.npz --data_dir=DIR --keys=5 --eps=0
"""

import dataclasses
import pathlib
import sys
import time

import jax
import numpy as np

from experiments import _cli
from lth_jax import (
    construction,
    data,
    error_search,
    errors,
    network_certificate,
    plots_construction,
    random_blocks,
    recipes,
    runs,
    selection,
    ticket,
)
from lth_jax.subset_sum import bounds, records, solvers, targets

setting = _cli.setting


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings."""

    target: str | None = setting(None, "An .npz of matrices [out, in]; none trains one on digits.")
    dataset: str = setting("mnist", f"With --target: one of {', '.join(data.DATASETS)}.")
    data_dir: str | None = setting(None, "With --target: folder with the data; none downloads it.")
    eps: tuple[float, ...] = setting((0.0, 1e-3, 1e-2, 1e-1), "Values of ε.")
    eta: float = setting(0.01, "Largest error of a target weight.")
    keys: int = setting(1, "Random networks per ε; one object each.")
    full: bool = setting(False, "Full width, certified for inputs of either sign; default half.")
    candidates: str = setting("uniform", f"One of {', '.join(random_blocks.KINDS)}.")
    objective: str = setting("auto", "first, best, sparsest; auto: best where ε > 0, else first.")
    width: int | None = setting(None, "Candidates per target weight; none finds the least.")
    bits: int = setting(16, "Bits of a stored perturbation, 2 to 16.")
    delta: float = setting(0.05, "Failure probability of the proved width.")
    seed: int = setting(0, "Seed of the first key.")
    out: str = setting("runs/construction", "Folder for the results.")

    def __post_init__(self):
        if not all(0 <= value < 1e30 for value in (self.eta, *self.eps)):
            raise ValueError("expected finite eta and eps >= 0.")
        if self.width is None and self.eta + min(self.eps) == 0:
            raise ValueError("expected eta + eps > 0, or a --width.")
        if self.keys < 1 or self.seed < 0 or not (self.width is None or 1 <= self.width <= 1000):
            raise ValueError("expected keys >= 1, seed >= 0 and a width of 1 to 1000.")
        if not 2 <= self.bits <= 16 or not 0 < self.delta < 1:
            raise ValueError("expected 2 to 16 bits and 0 < delta < 1.")
        for name, value, known in (
            ("candidates", self.candidates, random_blocks.KINDS),
            ("objective", self.objective, ("auto", *solvers.OBJECTIVES)),
            ("dataset", self.dataset, data.DATASETS),
        ):
            if value not in known:
                raise ValueError(f"expected --{name} of {', '.join(known)}, got {value!r}.")


def problem(config: Config) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """The target's matrices, test images [n, d] float32 in [0, 1] and labels."""
    if config.target is None:
        # The digits target is trained on all images: what counts here is how near g comes to it.
        weights = targets.digits_target(jax.random.fold_in(jax.random.key(config.seed), 2**31))
        found = data.load("digits")
    else:
        weights = targets.load(config.target)
        found = data.load(config.dataset, config.data_dir)
    images = found.test.images.reshape(len(found.test.labels), -1)
    images = images.astype(np.float32) / np.float32(16 if found.name == "digits" else 255)
    if weights[0].shape[1] != images.shape[1] or weights[-1].shape[0] != found.classes:
        shapes = [w.shape for w in weights]
        raise errors.InputError(
            f"--target: {shapes} does not map {images.shape[1]} pixels to {found.classes} classes."
        )
    return weights, images, found.test.labels


def accuracy(model, weights, images: np.ndarray, labels: np.ndarray) -> float:
    """Fraction of images that a Model's largest logit classifies right, 500 at a time."""
    apply = jax.jit(lambda weights, x: model.apply(weights, {}, x)[0].argmax(axis=-1))
    weights = jax.device_put(weights)
    guesses = [apply(weights, images[i : i + 500]) for i in range(0, len(images), 500)]
    return float(np.mean(np.concatenate(guesses) == labels))


def one(config: Config, target, images, labels, logits, eps: float, seed: int) -> dict:
    """Builds, runs, certifies and stores one network; an object of construction.json."""
    started = time.perf_counter()
    best = "best" if eps > 0 else "first"
    built = construction.approximate(
        target,
        jax.random.key(seed),
        eps,
        config.eta,
        config.width,
        nonnegative_input=not config.full,
        candidates=config.candidates,
        objective=best if config.objective == "auto" else config.objective,
        bits=config.bits,
    )
    found_at = time.perf_counter()
    path = pathlib.Path(config.out) / f"eps{eps:g}-seed{seed}.ticket"
    init = recipes.construction_init(built.recipe, seed)
    kind = {"bits": config.bits if eps > 0 else None, "eps": eps}
    kind["embed_weights"] = config.candidates != "uniform"
    size = ticket.save(path, built.candidates, built.weights, built.masks, init, **kind)
    pruned = selection.apply_mask(built.weights, built.masks)
    right = accuracy(built.model, pruned, images, labels)
    ran_at = time.perf_counter()
    layers = random_blocks.effective(built.weights, built.masks, built.scales)
    domain = "ball" if config.full else "cube"
    bound = network_certificate.bound(target, layers, domain)
    seen = error_search.search(target, layers, images, np.random.default_rng(seed), domain)
    counts = construction.counts(built)
    return {
        "eps": eps,
        "eta": config.eta,
        "seed": seed,
        "n": max(built.widths),
        "widths": list(built.widths),
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
        "largest_logit": float(np.abs(logits).max()),
        "target_accuracy": float(np.mean(logits.argmax(axis=1) == labels)),
        "ticket_accuracy": right,
        "ticket_bytes": size,
        "float32_bytes": 4 * counts["candidates"],
        "construct_seconds": found_at - started,
        "run_seconds": ran_at - found_at,
        "seconds": time.perf_counter() - started,
    }


def proved(config: Config, target) -> list[dict]:
    """Candidates per weight that suffice at η for all weights at once, by `bounds.candidates`."""
    share = config.delta / sum(w.size for w in target) / (2 if config.full else 1)
    return [
        {"eps": eps, "n": float(bounds.candidates(config.eta, eps, share))}
        for eps in sorted(set(config.eps))
        if eps + config.eta > 0
    ]


def run(config: Config) -> list[dict]:
    """Writes construction.json, tickets, their weights as .safetensors and the plot."""
    out = pathlib.Path(config.out)
    target, images, labels = problem(config)
    logits = error_search.target_output(target, np.float64(images))
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    print("  ε      n  cand/weight   kept  certificate  found  accuracy (target)   bytes      s")
    for eps in config.eps:
        for seed in range(config.seed, config.seed + config.keys):
            row = one(config, target, images, labels, logits, eps, seed)
            rows.append(row)
            records.write(out / "construction.json", rows)
            print(
                f"{eps:7g} {row['n']:3d} {row['over_parameterization']:10.1f} {row['kept']:9d} "
                f"{row['certificate']:9.4g} {row['largest_error_found']:9.4g}  "
                f"{row['ticket_accuracy']:.4f} ({row['target_accuracy']:.4f}) "
                f"{row['ticket_bytes']:9d} {row['seconds']:6.1f}",
                flush=True,
            )
    print(f"largest logit {rows[0]['largest_logit']:.4g}; commit {runs.git_revision()}")
    plots_construction.over_parameterization(
        rows, proved(config, target), config.delta, out / "construction.png"
    )
    print(f"written to {out}")
    return rows


if __name__ == "__main__":
    sys.exit(_cli.main(run, Config(), __doc__))
