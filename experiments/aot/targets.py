"""Accelerators by name, as descriptions that XLA's compilers take in place of devices."""

import pathlib
from collections.abc import Callable, Sequence

import jax
from jax.experimental import topologies

from lth_jax import errors, numerics

_H100 = pathlib.Path(__file__).with_name("h100_target.txt")


def _tpu(chips: int) -> Sequence[jax.Device]:
    described = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2")
    return described.devices[:chips]


def _h100() -> Sequence[jax.Device]:
    described = topologies.get_topology_desc(
        platform="cuda", target_config=_H100.read_text(), topology="1x1x1"
    )
    return described.devices


# By name: what to install, what gives the devices, and how they multiply float32 at their fastest.
TARGETS: dict[str, tuple[str, Callable[[], Sequence[jax.Device]], numerics.Precision]] = {
    "tpu-v5e": ("tpu", lambda: _tpu(1), "bf16"),
    "tpu-v5e-4": ("tpu", lambda: _tpu(4), "bf16"),
    "h100": ("cuda", _h100, "tf32"),
}


def devices_of(target: str) -> Sequence[jax.Device]:
    """The devices of a target.

    Raises:
        InputError: If its compiler is not installed.
    """
    extra, find, _ = TARGETS[target]
    try:
        return find()
    except Exception as error:  # Of many kinds, from plugins that are not there.
        said = " ".join(str(error).split())[:200]
        raise errors.InputError(
            f"target: no compiler for {target}; pip install '.[{extra}]' ({said})."
        ) from None
