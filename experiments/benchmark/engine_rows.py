"""What running on a Ray cluster costs: two nodes of one core each against this process.

Run as a program it is the cluster: it says where it is and ends with its standard input.
"""

import contextlib
import importlib
import importlib.util
import math
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from experiments.benchmark import measure, processes
from lth_jax import models, study, sweep, training
from lth_jax.runs import engines

LANES, IMAGES, EPOCHS = 32, 6_400, 60  # 96,000 lane steps of LeNet-300-100


def _engines(group: measure.Group, rounds: int) -> list[measure.Row]:
    del rounds  # Minutes each: once.
    if importlib.util.find_spec("ray") is None:
        return group.skip("ray is not installed")
    with _cluster() as (started, process, address):
        on_ray = measured(engines.Engine("ray", address))
        megabytes = sum(map(_megabytes, _below(process.pid)))
        importlib.import_module("ray").shutdown()  # Else it ends this process with the cluster.
    local = measured(engines.Engine())
    notes = {"ray": on_ray, "local": local, "cluster_starts_s": started, "cluster_mb": megabytes}
    return [
        measure.Row(name, on_ray["step_ms"], local["step_ms"], target, notes)
        for name, target in group.targets.items()
    ]


def measured(engine: engines.Engine, lanes: int = LANES, epochs: int = EPOCHS) -> dict[str, float]:
    """A grid of LeNet lanes on noise, from when all is compiled to the last lane.

    Returns:
        step_ms: milliseconds per lane step; seconds: in which they were measured; start_s: until
        lanes could begin; compile_s: until all was compiled.
    """
    data, train = measure.random_data("lenet", IMAGES), training.TrainConfig(prune_epochs=epochs)
    model = models.build_model("lenet", (28, 28, 1), 10)
    times = {"begun": time.perf_counter(), "compiled": math.nan, "last": math.nan}
    taken = {"before": 0, "last": 0}

    def tell(event: study.Event) -> None:
        now = time.perf_counter()
        if isinstance(event, sweep.Compiled):
            times["compiled"], taken["before"] = now, taken["last"]
        elif isinstance(event, sweep.Progress):
            taken["last"] = event.lane_steps
        elif isinstance(event, sweep.Finished):
            times["last"] = now

    with tempfile.TemporaryDirectory() as folder:
        made = study.Study(
            model, data, train=train, out=f"{folder}/run", max_lanes=4, engine=engine
        )
        started = time.perf_counter()
        made.run(["prune"], range(lanes), sparsity=[0.5], on_event=tell)
    seconds = times["last"] - times["compiled"]
    return {
        "step_ms": 1e3 * seconds / (taken["last"] - taken["before"]),
        "seconds": seconds,
        "start_s": started - times["begun"],
        "compile_s": times["compiled"] - started,
    }


@contextlib.contextmanager
def _cluster() -> Iterator[tuple[float, "subprocess.Popen[str]", str]]:
    """A cluster, its seconds to start, its program and its address."""
    begun, pipe = time.perf_counter(), subprocess.PIPE
    command = processes.command("experiments.benchmark.engine_rows")
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None and process.stdout is not None  # Pipes.
        address = process.stdout.readline().strip()
        yield time.perf_counter() - begun, process, address
        process.stdin.close()


def _below(pid: int) -> list[int]:
    """A process and all that it started."""
    children: dict[int, list[int]] = {}
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((place / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(place.name))
    return [pid] + [p for child in children.get(pid, []) for p in _below(child)]


def _megabytes(pid: int) -> float:
    """Its memory; what it shares with others counts in parts."""
    with contextlib.suppress(OSError):
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
        return int(text.split("\nPss:")[1].split()[0]) / 1024
    return 0.0


def main() -> None:
    """The cluster, on a loopback address; Ray takes 127.0.0.1 for another one of the machine."""
    os.environ |= {"RAY_worker_niceness": "0", "RAY_USAGE_STATS_ENABLED": "0"}
    from ray import cluster_utils

    place: dict[str, Any] = {"node_ip_address": "127.0.0.2", "object_store_memory": 1 << 28}
    cluster = cluster_utils.Cluster()
    cluster.add_node(num_cpus=1, include_dashboard=False, **place)
    cluster.add_node(num_cpus=1, **place)
    cluster.wait_for_nodes()
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()


# At most 1.1 times as long.
GROUPS = [measure.Group({"engine/ray_two_nodes": 1 / 1.1}, _engines, needs_torch=False)]

if __name__ == "__main__":
    main()
