"""The connection to a Ray cluster: whether it has room, and whether its workers are like us."""

import contextlib
import os
import signal
import socket
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from lth_jax import errors
from lth_jax.runs import engines, folder
from lth_jax.runs.on_ray import worker

_SECONDS = 10.0  # to wait for an answer from an address


class Cluster:
    """A cluster that this process, the driver, is connected to, with one worker to look at."""

    def __init__(self, engine: engines.Engine, tell: Callable[[str], None]):
        """Connects; what is asked for is what `hire` gets.

        Args:
            engine: Where the cluster is, and what a worker has.
            tell: Gets lines of warning.

        Raises:
            InputError: If there is no such cluster, none of its nodes has room for a worker, or its
                Python, libraries or code are others than this process's.
        """
        self.tell, self._engine = tell, engine
        self.ray = connect(engine.ray_address)
        asked = {"CPU": engine.ray_cpus, "GPU": engine.ray_gpus, "TPU": engine.ray_tpus}
        self._need = {name: n for name, n in asked.items() if n}
        if not self.room():
            have = "; ".join(_listed({n: node.get(n, 0) for n in asked}) for node in self._nodes())
            raise errors.InputError(
                f"ray_cpus, ray_gpus and ray_tpus ask for {_listed(self._need)} on one node; "
                f"those of the cluster have: {have}."
            )
        self.spare: Any = self.hire()  # The first one, until a run takes it.
        self._about = self._first()
        self.platform: str = self._about["platform"]
        self.environment = {n: self._about[n] for n in folder.environment()}
        if self.platform == "cpu" and len(self._need) > 1:
            raise errors.InputError(
                "ray_gpus, ray_tpus: JAX finds no accelerator in a worker; see what of jax is "
                "installed there, and JAX_PLATFORMS."
            )
        self._compare(worker.about(), "this process", ("device", "devices", "platform"))

    @property
    def devices(self) -> int:
        """Of all workers that there is room for."""
        return self.room() * int(self._about["devices"])

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def room(self) -> int:
        """How many workers fit the nodes that there are."""
        need = self._need.items()
        return sum(min(int(node.get(n, 0) // much) for n, much in need) for node in self._nodes())

    def hire(self) -> Any:
        """Asks for a worker, which starts once there is room."""
        options: dict[str, Any] = {"num_cpus": self._need["CPU"], "num_gpus": 0}
        options["num_gpus"] = self._need.get("GPU", 0)
        if "TPU" in self._need:
            options["resources"] = {"TPU": self._need["TPU"]}
        made = self.ray.remote(worker.Worker).options(**options)
        return made.remote(self._need["CPU"], worker.switches())

    def _first(self) -> dict[str, Any]:
        asked, told = self.spare.about.remote(), False
        while not self.ray.wait([asked], timeout=30)[0]:
            if not told:
                self.tell("waiting for a worker of the Ray cluster")
                told = True
        try:
            found: dict[str, Any] = self.ray.get(asked)
        except self.ray.exceptions.RayError as error:
            raise errors.InputError(f"ray_address: no worker starts: {last_line(error)}") from None
        return found

    def check(self, about: dict[str, Any]) -> None:
        """Refuses a worker that is not like the first one.

        Raises:
            RunError: If it is not.
        """
        try:
            self._compare(about, "another one", ())
        except errors.InputError as error:
            raise errors.RunError(str(error)) from None

    def _compare(self, other: dict[str, Any], who: str, but: Sequence[str]) -> None:
        first = self._about
        differ = [n for n in first if n not in but and first[n] != other.get(n)]
        if differ:
            shown = ", ".join(f"{n} {first[n]!r} and {other.get(n)!r}" for n in differ)
            raise errors.InputError(f"ray_address: a worker and {who} differ: {shown}.")


def _listed(some: Mapping[str, float]) -> str:
    return ", ".join(f"{value:g} {name}" for name, value in some.items())


def last_line(error: BaseException) -> str:
    """What an error of Ray's says in the end, behind all traces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:300]


def connect(address: str) -> Any:
    """Imports Ray and connects this process, if it is not connected already.

    Args:
        address: See engines.Engine.

    Returns:
        The module.

    Raises:
        InputError: If there is no cluster.
    """
    import ray

    if ray.is_initialized():
        return ray
    if address not in ("auto", "local"):
        host, _, port = address.rpartition(":")
        if host in ("localhost", "127.0.0.1"):  # As Ray takes it.
            host = ray.util.get_node_ip_address()
        try:  # Ray itself asks for minutes.
            socket.create_connection((host, int(port)), _SECONDS).close()
        except OSError as error:
            reason = error.strerror or str(error)
            raise errors.InputError(f"ray_address: no cluster at {address}: {reason}.") from None
    options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Nothing is sent to anybody.
    try:
        with _undisturbed():
            ray.init(address=address, log_to_driver=False, logging_level="ERROR", **options)
    except Exception as error:  # Of many kinds.
        reason = last_line(error)
        raise errors.InputError(f"ray_address: no cluster at {address}: {reason}") from None
    return ray


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Ray takes SIGTERM for itself, and warns of its own future."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
