"""What a study shows while it runs, from events that are made up."""

import io
import re
import sys
import time

import pytest
import rich.console
import small_study

from experiments.cli import display
from lth_jax import study, sweep

ROW = {"method": "joint", "eps": 0.02, "sparsity": 0.5, "val_accuracy": 0.875}
SLICE = sweep.Progress("joint", 3000, 9000, 2.0, 4, 12, 30.0)


def finished(**changed):
    return sweep.Finished(None, ROW | changed, None, None, None, None)


def test_a_line_says_what_is_known():
    clock = [100.0]
    status = display.Status(lambda: clock[0])
    assert status.line() == "starting, 0 % of the gradient steps"
    status.take(sweep.Compiling("advance_joint"))
    clock[0] += 17
    assert status.line().startswith("compiling advance_joint for 17 s, 0 %")
    status.take(sweep.Compiled("advance_joint", 17.0))
    status.take(SLICE)
    for row in (ROW, {"val_accuracy": 0.75}, {"val_accuracy": None}):
        status.take(finished(**row))
    clock[0] += 10
    expected = (
        "joint, 7/12 lanes, 33 % of the gradient steps, 1,500 gradient steps a second, "
        "best 87.5 % validation (joint, eps 0.02, sparsity 0.5), about 20 s left"
    )
    assert status.line() == expected
    assert status.short() == "joint, 7/12 lanes, about 20 s left, best 87.5 %, 1,500 steps/s"
    clock[0] += 1e6  # Whoever is late is not early.
    assert "about 0 s left" in status.line()
    for _ in range(5):
        status.take(finished())
    assert status.short() == "table and plots, 12/12 lanes, best 87.5 %, 1,500 steps/s"


def test_the_time_left_waits_while_something_compiles_longer_than_was_foreseen():
    clock = [0.0]
    status = display.Status(lambda: clock[0])

    def after(seconds):
        clock[0] += seconds
        return status.short().split(", ")[-2]

    status.take(SLICE)  # 30 s are left.
    assert after(4) == "about 26 s left"
    status.take(sweep.Compiling("start_prune", 3.0))
    assert after(3) == "about 23 s left"
    assert after(50) == "about 23 s left"
    status.take(sweep.Compiled("start_prune", 53.0))
    assert after(0) == after(0) == "about 23 s left"
    status.take(sweep.Compiling("advance_prune", 10.0))
    assert after(9) == "about 14 s left"
    status.take(sweep.Compiled("advance_prune", 9.0))
    status.take(SLICE)
    assert after(5) == "about 25 s left"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (89, "89 s"), (100, "2 min"), (5300, "88 min"), (9000, "2.5 h")],
)
def test_durations(seconds, said):
    assert display.duration(seconds) == said


def shown(monkeypatch, mode, terminal, events, seconds=0.15):
    monkeypatch.setattr(display, "_SECONDS_PER_LINE", 0.05)
    out = io.StringIO()
    console = rich.console.Console(file=out, force_terminal=terminal, width=80)
    with display.Display(mode, console) as watcher:
        for event in events:
            watcher(event)
        time.sleep(seconds)
    return out.getvalue()


EVENTS = [study.Started(12, 12, "map", 2), SLICE, finished(), sweep.Compiling("advance_joint")]


def test_without_a_terminal_there_are_plain_lines_also_while_something_compiles(monkeypatch):
    lines = shown(monkeypatch, "auto", False, EVENTS).splitlines()
    assert 1 <= len(lines) <= 4
    assert all(
        line.startswith("compiling advance_joint for 0 s, 5/12 lanes, 33 %") for line in lines
    )
    assert all(c.isprintable() for line in lines for c in line)


def test_plain_is_lines_on_a_terminal_too_and_quiet_is_nothing(monkeypatch):
    lines = shown(monkeypatch, "plain", True, EVENTS)
    assert "compiling advance_joint" in lines and "\x1b[?25l" not in lines
    for terminal in (False, True):
        assert shown(monkeypatch, "quiet", terminal, EVENTS) == ""


def test_on_a_terminal_a_bar_fits_a_line_of_80(monkeypatch):
    said = shown(monkeypatch, "auto", True, [*EVENTS, sweep.Compiled("advance_joint", 1.0)])
    last = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", said).replace("\r", "\n").strip().splitlines()[-1]
    assert "33%" in last and "5/12 lanes" in last and "best 87.5 %" in last and "left" in last
    assert len(last) <= 80


def test_tensorboard_is_refused_before_any_work_where_it_is_missing(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert small_study.main(tmp_path / "run", tensorboard="true") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: --tensorboard needs tensorboardX") and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
