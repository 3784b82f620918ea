"""What is on disk, and who may write it."""

from lth_jax.runs.folder import (
    CONFIG,
    Folder,
    check,
    environment,
    git_revision,
    identity,
    locked,
    settings_digest,
)
from lth_jax.runs.results import RESULTS, lane_of

__all__ = [
    "CONFIG",
    "RESULTS",
    "Folder",
    "check",
    "environment",
    "settings_digest",
    "git_revision",
    "identity",
    "lane_of",
    "locked",
]
