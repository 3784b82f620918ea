"""What is on disk, and who may write it."""

from lth_jax.runs.folder import (
    CONFIG,
    Folder,
    check,
    environment,
    fingerprint,
    git_revision,
    identity,
    locked,
)
from lth_jax.runs.results import RESULTS, lane_of

__all__ = [
    "CONFIG",
    "RESULTS",
    "Folder",
    "check",
    "environment",
    "fingerprint",
    "git_revision",
    "identity",
    "lane_of",
    "locked",
]
