"""Rows and cells as pandas DataFrames, where pandas is installed."""

import math
from collections.abc import Iterable, Mapping
from typing import Any


def frame(records: Iterable[Mapping[str, Any]]) -> Any:
    """A DataFrame with a line per record.

    Args:
        records: Rows of results, or from summary.records. None becomes what pandas has for missing
            values, an eps of "inf" the number that it stands for.

    Returns:
        The pandas.DataFrame.

    Raises:
        ImportError: If pandas is not installed: nothing else here needs it.
    """
    try:
        import pandas
    except ImportError:
        raise ImportError(
            "pandas is not installed, and only a DataFrame needs it: pip install pandas."
        ) from None
    found = [dict(record) for record in records]
    for record in found:
        if record.get("eps") == "inf":
            record["eps"] = math.inf
    return pandas.DataFrame(found)
