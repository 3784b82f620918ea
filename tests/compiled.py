"""Compiled programs: how many there were, and how several tests share them."""

import collections
import contextlib
import functools
from unittest import mock

import jax

from lth_jax.sweep import programs

_asked = collections.Counter()
_made = {}


def _count(event, duration, **about):
    if event == "/jax/core/compile/backend_compile_duration":
        _asked[about["fun_name"].removeprefix("jit(").removesuffix(")")] += 1


jax.monitoring.register_event_duration_secs_listener(_count)


def counts():
    """How often XLA was asked for a program so far, by its name."""
    return collections.Counter(_asked)


@contextlib.contextmanager
def shared(name=lambda problem: problem):
    """Within it a study whose problem was seen before gets the programs that were made for it.

    name: What a problem is known by; by default it is the problem itself, that is, the very
    functions of its model and pruner.
    """
    make = programs.Programs

    @functools.wraps(make)
    def known(problem, strategy="auto"):
        devices = tuple(jax.local_devices())
        key = name(problem), programs.strategy_for(strategy), devices
        if key not in _made:
            _made[key] = make(problem, strategy)
        return _made[key]

    with mock.patch.object(programs, "Programs", known):
        yield
