"""What do the programs cost on an accelerator? Compiled for one, on a machine without any.

    python -m experiments.aot --target=tpu-v5e --model=lenet --kind=joint --lanes=64

Prints and stores (aot.json, a program as it is done) for each of --model, --kind, --lanes and
--strategy: memory by kind, flops of a step beside the ideal, cycles (which XLA expects on a TPU)
or bytes of a step, kernels, loops whose length only the data say (on a GPU each pass of one waits
for the host), and collectives. Needs the extra `tpu` or `cuda`; the device itself is not needed.
Nothing here was measured on an accelerator: these are XLA's own counts.
"""

import dataclasses
import pathlib
import time
from typing import Any, Literal

from experiments import cli
from experiments.aot import counts, ideal, targets
from lth_jax import errors, files, models, numerics, pruners, training
from lth_jax.sweep import lowering, programs
from lth_jax.training import methods

_KINDS = {kind.name: kind for kind in (methods.PRUNE, methods.PERTURB, methods.JOINT)}
_SIZES = {"lenet": (28, 28, 1)}
_IMAGES, _HELD_OUT = 50_000, 5_000
_COLUMNS = ("model", "kind", "lanes", "strategy", "argument_bytes", "temp_bytes", "flops", "ideal")
_COLUMNS += ("cycles", "bytes", "kernels", "dynamic_loops", "collectives")
Target = Literal["tpu-v5e", "tpu-v5e-4", "h100"]
Precision = Literal["fastest", numerics.Precision]


@dataclasses.dataclass(frozen=True)
class Config:
    """Which programs to compile, and for what."""

    target: Target = cli.setting("tpu-v5e", "tpu-v5e, tpu-v5e-4 (four chips) or h100.")
    model: tuple[str, ...] = cli.setting(("lenet",), f"List of {', '.join(models.MODELS)}.")
    width: float = cli.setting(1.0, "Factor of the models' hidden units or channels.")
    kind: tuple[str, ...] = cli.setting(("joint",), f"List of {', '.join(_KINDS)}.")
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
            ("kind", _KINDS),
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
    data = lowering.data_shapes(_IMAGES, _HELD_OUT, shape)
    arguments = lowering.advance_arguments(made, _KINDS[kind], lanes, data)
    compiled = made.advance_program(_KINDS[kind]).lower(*arguments).compile()
    memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
    mapped = lanes // len(devices) if strategy == "map" else None
    counted = counts.of(compiled.as_text(), mapped)._asdict()
    flops = cost.get("flops")
    return {
        "target": config.target,
        "model": model,
        "width": config.width,
        "kind": kind,
        "lanes": lanes,
        "strategy": strategy,
        "batch_size": config.batch_size,
        "precision": precision,
        "argument_bytes": memory.argument_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes,
        "alias_bytes": memory.alias_size_in_bytes,
        "temp_bytes": memory.temp_size_in_bytes,
        "donated": memory.alias_size_in_bytes / max(memory.output_size_in_bytes, 1),
        # XLA counts each loop's body once, and the validation, too.
        "flops": None if flops is None or flops < 0 else int(flops) * (mapped or 1),
        "ideal": ideal.step_flops(problem, shape) * lanes // len(devices),
        **counted,
        "compile_seconds": round(time.perf_counter() - begun, 1),
    }


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
