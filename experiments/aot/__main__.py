"""Runs the command; what its compilers read from the environment is set before JAX is imported."""

import os
import sys

os.environ.update(
    # The programs are compiled for a description of devices; JAX itself runs on this CPU.
    JAX_PLATFORMS="cpu",
    TPU_SKIP_MDS_QUERY="1",
    ALLOW_MULTIPLE_LIBTPU_LOAD="1",
    JAX_SKIP_CUDA_CONSTRAINTS_CHECK="1",
    CUDA_VISIBLE_DEVICES="-1",
    # Autotuning would run kernels.
    XLA_FLAGS=f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_autotune_level=0".strip(),
)

from experiments import cli  # noqa: E402
from experiments.aot import command  # noqa: E402

if __name__ == "__main__":
    sys.exit(cli.main(command.run, command.Config(), command.__doc__))
