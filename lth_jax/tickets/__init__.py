"""Found subnetworks as files."""

from lth_jax.tickets.codec import MAGIC
from lth_jax.tickets.export import Layout, export, export_ticket
from lth_jax.tickets.leaves import digest
from lth_jax.tickets.origin import ConstructionOrigin, ModelOrigin, Origin, OwnOrigin, model_of
from lth_jax.tickets.ticket import Ticket, load, save

__all__ = [
    "MAGIC",
    "ConstructionOrigin",
    "Layout",
    "ModelOrigin",
    "Origin",
    "OwnOrigin",
    "Ticket",
    "digest",
    "export",
    "export_ticket",
    "load",
    "model_of",
    "save",
]
