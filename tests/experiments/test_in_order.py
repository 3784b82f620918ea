"""Work of a command that is done two at a time and handed out in order."""

import os
import signal
import threading
import time

import pytest

from experiments.cli import in_order, signals
from lth_jax import errors


def test_results_come_in_order_whatever_ends_first():
    def work(n):
        time.sleep(0.02 * (3 - n))
        return n * n

    assert list(in_order.made(work, range(4))) == [(0, 0), (1, 1), (2, 4), (3, 9)]


def test_what_fails_is_handed_out_and_the_rest_is_made():
    def work(n):
        if n == 1:
            raise errors.RunError("one")
        return n

    (_, first), (_, second), (_, third) = in_order.made(work, range(3))
    assert (first, third) == (0, 2) and str(second) == "one"


def test_a_bug_ends_it_without_beginning_more():
    begun = []

    def work(n):
        begun.append(n)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(in_order.made(work, range(100)))
    assert len(begun) < 100


def test_a_signal_lets_what_is_at_work_end_and_begins_no_more(capsys):
    both, told, seen = threading.Barrier(2), threading.Event(), []

    def work(n):
        both.wait(10)  # Two are at work,
        if n == 0:
            os.kill(os.getpid(), signal.SIGTERM)
            told.set()
        told.wait(10)
        time.sleep(0.5)  # for longer than it takes to hear of it.
        return n

    with pytest.raises(signals.Stopped) as stopped, signals.raised():
        for item, result in in_order.made(work, range(6)):
            seen.append((item, result))
    assert seen == [(0, 0), (1, 1)] and stopped.value.status == 143
    assert capsys.readouterr().err == "stopping: what is at work ends first\n"
