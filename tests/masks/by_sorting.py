"""What a selection must be, by another way: a stable sort on the host."""

import numpy as np


def oracle(scores, kept):
    """The first `kept` of a stable sort: NaN first, then by falling value, then by index."""
    with np.errstate(invalid="ignore"):  # NumPy warns of signaling NaNs.
        flat = np.asarray(scores).astype(np.float64).ravel()
    value = np.where(np.isnan(flat), 0.0, flat)
    order = np.lexsort((np.arange(flat.size), -value, ~np.isnan(flat)))
    mask = np.zeros(flat.size, bool)
    mask[order[:kept]] = True
    return mask.reshape(np.shape(scores))
