"""What do the programs cost on an accelerator? Compiled for one, on a machine without any.

    python -m experiments.aot --target=tpu-v5e --model=lenet --kind=joint --lanes=64

Prints and stores (aot.json, a program as it is done) for each of --model, --kind, --lanes and
--strategy: memory by kind, in all, and by the estimate that blocks are cut by; flops of a step
beside the ideal, cycles (which XLA expects on a TPU) or bytes of a step, kernels, loops whose
length only the data say (on a GPU each pass of one waits for the host), and collectives. Needs the
extra `tpu` or `cuda`; the device itself is not needed.
Nothing here was measured on an accelerator: these are XLA's own counts.
"""

import dataclasses
import pathlib
import time
from typing import Any, Literal

from experiments import cli
from experiments.aot import counts, ideal, targets
from lth_jax import errors, files, models, numerics, pruners, training
from lth_jax.sweep import lowering, memory, programs
from lth_jax.training import methods, scoring

_KINDS = {kind.name: kind for kind in (methods.PRUNE, methods.PERTURB, methods.JOINT)}
_FINISH = "finish"  # The scoring of final networks: of it only the memory is counted.
_SIZES = {"lenet": (28, 28, 1)}
_IMAGES, _HELD_OUT, _TEST = 50_000, 5_000, 10_000
_COLUMNS = (
    "model",
    "kind",
    "lanes",
    "strategy",
    "total_bytes",
    "estimated_bytes",
    "flops",
    "ideal",
)
_COLUMNS += ("cycles", "bytes", "kernels", "dynamic_loops", "collectives")
Target = Literal["tpu-v5e", "tpu-v5e-4", "h100"]
Precision = Literal["fastest", numerics.Precision]


@dataclasses.dataclass(frozen=True)
class Config:
    """Which programs to compile, and for what."""

    target: Target = cli.setting("tpu-v5e", "tpu-v5e, tpu-v5e-4 (four chips) or h100.")
    model: tuple[str, ...] = cli.setting(("lenet",), f"List of {', '.join(models.MODELS)}.")
    width: float = cli.setting(1.0, "Factor of the models' hidden units or channels.")
    kind: tuple[str, ...] = cli.setting(("joint",), f"List of {', '.join(_KINDS)}, {_FINISH}.")
    lanes: tuple[int, ...] = cli.setting((8,), "List of lanes in a block, over all chips.")
    strategy: tuple[str, ...] = cli.setting(("map", "vmap", "hybrid"), "List of these.")
    batch_size: int = cli.setting(128, "Images per step.")
    precision: Precision = cli.setting(
        "fastest", "highest, tf32, bf16, or fastest: bf16 on a TPU, tf32 on an H100."
    )
    out: str = cli.setting("aot.json", "File of the results.")

    def __post_init__(self) -> None:
        known: tuple[tuple[str, Any], ...] = (
            ("model", models.MODELS),
            ("kind", [*_KINDS, _FINISH]),
            ("strategy", [name for name in programs.STRATEGIES if name != "auto"]),
        )
        for name, names in known:
            for value in getattr(self, name):
                if value not in names:
                    raise ValueError(f"{name} must be of {', '.join(names)}, got {value!r}.")
        if min(self.lanes) < 1 or self.batch_size < 1:
            raise ValueError("lanes and batch_size must be at least 1.")
        if not 0 < self.width < float("inf"):
            raise ValueError(f"width must be positive, got {self.width}.")


def run(config: Config) -> list[dict[str, Any]]:
    """Compiles the programs, prints a table and writes the file.

    Raises:
        InputError: If the compiler is not installed, or lanes and devices do not fit.
        RunError: If the file cannot be written.
    """
    if not pathlib.Path(config.out).absolute().parent.is_dir():
        raise errors.InputError(f"out: {config.out}: there is no such folder.")
    devices = targets.devices_of(config.target)
    if any(lanes % len(devices) for lanes in config.lanes):
        raise errors.InputError(f"lanes must be multiples of the {len(devices)} chips.")
    if "map" in config.strategy and min(config.lanes) == len(devices):
        raise errors.InputError("lanes must be at least 2 a chip for map: of one there is no loop.")
    found: list[dict[str, Any]] = []
    for model in config.model:
        for kind in config.kind:
            for lanes in config.lanes:
                for strategy in config.strategy:
                    made = _measure(config, devices, model, kind, lanes, strategy)
                    found.append(made)
                    print(_line(made), flush=True)
                    try:
                        files.write_json(pathlib.Path(config.out), found)
                    except OSError as error:
                        raise errors.RunError(f"{config.out}: {error.strerror}.") from None
    print("\n".join(table(found)))
    print(config.out)
    return found


def _measure(
    config: Config, devices: Any, model: str, kind: str, lanes: int, strategy: Any
) -> dict[str, Any]:
    begun = time.perf_counter()
    shape = _SIZES.get(model, (32, 32, 3))
    fastest = targets.TARGETS[config.target][2]
    precision = fastest if config.precision == "fastest" else config.precision
    problem = training.Problem(
        models.build_model(model, shape, 10, width=config.width),  # type: ignore[arg-type]
        pruners.edge_popup(),
        training.TrainConfig(batch_size=config.batch_size, precision=precision),
    )
    made = programs.Programs(problem, strategy, devices)
    compiled, estimate = _compiled(made, kind, lanes, shape)
    analysis, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    mapped = lanes // len(devices) if strategy == "map" else None
    trains = kind != _FINISH
    counted = dict.fromkeys(counts.Counts._fields)
    if trains:
        counted = counts.of(compiled.as_text(), mapped)._asdict()
    flops = cost.get("flops")
    moved = analysis.argument_size_in_bytes + analysis.output_size_in_bytes
    return {
        "target": config.target,
        "model": model,
        "width": config.width,
        "kind": kind,
        "lanes": lanes,
        "strategy": strategy,
        "batch_size": config.batch_size,
        "precision": precision,
        "argument_bytes": analysis.argument_size_in_bytes,
        "output_bytes": analysis.output_size_in_bytes,
        "alias_bytes": analysis.alias_size_in_bytes,
        "temp_bytes": analysis.temp_size_in_bytes,
        "total_bytes": moved - analysis.alias_size_in_bytes + analysis.temp_size_in_bytes,
        "estimated_bytes": estimate.fixed + estimate.lane * lanes // len(devices),
        "donated": analysis.alias_size_in_bytes / max(analysis.output_size_in_bytes, 1),
        # XLA counts each loop's body once, and the validation, too.
        "flops": None if flops is None or flops < 0 else int(flops) * (mapped or 1),
        "ideal": ideal.step_flops(problem, shape) * lanes // len(devices) if trains else None,
        **counted,
        "compile_seconds": round(time.perf_counter() - begun, 1),
    }


def _compiled(
    made: programs.Programs, kind: str, lanes: int, shape: tuple[int, ...]
) -> tuple[Any, memory.Estimate]:
    """A program, and what memory.py thinks that it holds."""
    data = lowering.data_shapes(_IMAGES, _HELD_OUT, shape)
    problem, strategy, platform = made.problem, made.strategy, made.platform
    if kind == _FINISH:
        test = scoring.chunk_shapes(_TEST, shape)
        arguments = lowering.finish_arguments(made, lanes, data, test)
        compiled = made.finish_program.lower(*arguments).compile()
        return compiled, memory.of_scoring(problem, strategy, data, test)
    stage = _KINDS[kind]
    arguments = lowering.advance_arguments(made, stage, lanes, data)
    compiled = made.advance_program(stage).lower(*arguments).compile()
    return compiled, memory.of_training(problem, stage, strategy, data, platform)


def _line(made: dict[str, Any]) -> str:
    shown = (made[name] for name in ("target", "model", "kind", "lanes", "strategy"))
    return f"{' '.join(map(str, shown))}: compiled in {made['compile_seconds']} s"


def table(found: list[dict[str, Any]]) -> list[str]:
    """The programs as lines of a table in markdown; bytes and numbers with their unit."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
    for made in found:
        lines.append("| " + " | ".join(_shown(made[name]) for name in _COLUMNS) + " |")
    return lines


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str) or value < 1e4:
        return str(value)
    for factor, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M")):
        if value >= factor:
            return f"{value / factor:.3g}{letter}"
    return f"{value / 1e3:.3g}k"
