"""Found subnetworks as files."""

from lth_jax.tickets.ticket import MAGIC, Ticket, digest, export, load, save

__all__ = ["MAGIC", "Ticket", "digest", "export", "load", "save"]
