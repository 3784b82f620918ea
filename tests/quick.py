"""Which of many parameters the quick tests take."""

import pytest


def first(count, values):
    """The values as parameters, of which all after the first `count` are slow.

    For those that say little more than the first ones, but compile programs of their own.
    """
    later = (value if isinstance(value, tuple) else (value,) for value in values[count:])
    return [*values[:count], *(pytest.param(*value, marks=pytest.mark.slow) for value in later)]
