"""How far two ReLU networks are apart on a whole domain: proved, from above."""

from lth_jax.theory.construction.network_certificate.bounds import Bound, bound
from lth_jax.theory.construction.network_certificate.by_entries import entrywise
from lth_jax.theory.construction.network_certificate.by_lines import relaxed
from lth_jax.theory.construction.network_certificate.by_norms import norm_bound
from lth_jax.theory.construction.network_certificate.pairs import DOMAINS, Domain, Layer

__all__ = ["DOMAINS", "Bound", "Domain", "Layer", "bound", "entrywise", "norm_bound", "relaxed"]
