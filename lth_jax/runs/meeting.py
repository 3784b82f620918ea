"""A process that meets its peers through jax.distributed on behalf of its parent; see parts.py.

Run as a file, with only JAX: python meeting.py DESCRIPTOR TIMEOUT [COORDINATOR PROCESSES PROCESS].
It writes "index count" to the descriptor; then, for every line 0 or 1 on its standard input, the
list of what all peers were given. It ends with its standard input.
"""

import os
import sys
from typing import Any


def main(arguments: list[str]) -> None:
    """Meets, answers, ends."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # The accelerators are the parent's.
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    descriptor, timeout, *names = arguments
    options: dict[str, Any] = {"initialization_timeout": int(timeout)}
    if names:
        host = names[0].rpartition(":")[0]
        if host in ("127.0.0.1", "localhost") and names[2] == "0":
            options["coordinator_bind_address"] = names[0]  # Else all interfaces would listen.
        options |= {"coordinator_address": names[0], "local_device_ids": [0]}
        options |= {"num_processes": int(names[1]), "process_id": int(names[2])}
    jax.distributed.initialize(**options)
    with open(int(descriptor), "w", buffering=1) as answers:
        answers.write(f"{jax.process_index()} {jax.process_count()}\n")
        for line in sys.stdin:
            everyone = multihost_utils.process_allgather(np.int32(line))
            answers.write(" ".join(map(str, np.ravel(everyone))) + "\n")
    jax.distributed.shutdown()


if __name__ == "__main__":
    main(sys.argv[1:])
