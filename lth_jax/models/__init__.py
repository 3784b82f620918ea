"""Networks, by name or of your own, all as `Model`: pure functions of weights and state."""

from lth_jax.models.base import Apply, Architecture, BatchState, Init, Model, takes_key
from lth_jax.models.initializers import INITIALIZERS, InitializerName
from lth_jax.models.linen import from_flax
from lth_jax.models.modules import from_equinox, from_nnx
from lth_jax.models.registry import (
    MODELS,
    SCORE_BOUNDS,
    ModelName,
    build_model,
    built_as,
    register,
)

__all__ = [
    "INITIALIZERS",
    "MODELS",
    "SCORE_BOUNDS",
    "Apply",
    "Architecture",
    "BatchState",
    "Init",
    "InitializerName",
    "Model",
    "ModelName",
    "build_model",
    "built_as",
    "from_equinox",
    "from_flax",
    "from_nnx",
    "register",
    "takes_key",
]
