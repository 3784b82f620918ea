"""What a study shows while it runs: a bar on a terminal, plain lines elsewhere, or nothing."""

import contextlib
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal

import rich.console
import rich.progress
import rich.text

from lth_jax import study, sweep

Mode = Literal["auto", "plain", "quiet"]
_SECONDS_PER_LINE = 10.0


class Status:
    """What is known of a run, from its events."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """Knows nothing yet.

        Args:
            clock: Gives seconds.
        """
        self._clock = clock
        self._compiling: tuple[sweep.Compiling, float] | None = None  # and since when
        self._last: tuple[sweep.Progress, float] | None = None  # and when
        self._overrun = 0.0  # seconds since then that compiling took beyond what was expected
        self._best: dict[str, Any] | None = None
        self._lanes = 0

    def take(self, event: study.Event) -> None:
        """Adds what an event tells."""
        if isinstance(event, sweep.Compiling):
            self._compiling = (event, self._clock())
        elif isinstance(event, sweep.Compiled):
            self._overrun, self._compiling = self._beyond(), None
        elif isinstance(event, sweep.Progress):
            self._last, self._overrun = (event, self._clock()), 0.0
            self._lanes = event.lanes
        elif isinstance(event, sweep.Finished):
            self._lanes += 1
            accuracy, best = event.row["val_accuracy"], self._best
            if accuracy is not None and (best is None or accuracy > best["val_accuracy"]):
                self._best = event.row

    def share(self) -> float:
        """The share of gradient steps that is done."""
        if self._last is None:
            return 0.0
        return self._last[0].lane_steps / max(self._last[0].all_lane_steps, 1)

    def short(self) -> str:
        """For a bar that has a line of a terminal: what matters least comes last, for it is cut."""
        return ", ".join(self._now() + self._left() + self._found() + self._speed("steps/s"))

    def line(self) -> str:
        """For a line of its own."""
        done = [f"{100 * self.share():.0f} % of the gradient steps"]
        speed, found = self._speed("gradient steps a second"), self._found()
        if self._best is not None:
            row, axes = self._best, ("eps", "sparsity")
            names = [f"{name} {row[name]}" for name in axes if row[name] is not None]
            found = [f"{found[0]} validation ({', '.join([row['method'], *names])})"]
        return ", ".join(self._now() + done + speed + found + self._left())

    def _now(self) -> list[str]:
        if self._compiling is not None:
            event, since = self._compiling
            doing = [f"compiling {event.program} for {duration(self._clock() - since)}"]
        elif self._is_done():
            doing = ["table and plots"]
        else:
            doing = [self._last[0].stage] if self._last else ["starting"]
        return doing + ([f"{self._lanes}/{self._last[0].all_lanes} lanes"] if self._last else [])

    def _is_done(self) -> bool:
        return self._last is not None and self._lanes >= self._last[0].all_lanes

    def _speed(self, unit: str) -> list[str]:
        if self._last is None or not self._last[0].seconds:
            return []
        return [f"{self._last[0].lane_steps / self._last[0].seconds:,.0f} {unit}"]

    def _found(self) -> list[str]:
        return [] if self._best is None else [f"best {100 * self._best['val_accuracy']:.1f} %"]

    def _left(self) -> list[str]:
        if self._last is None or self._last[0].left is None or self._is_done():
            return []
        event, at = self._last
        passed = self._clock() - at - self._beyond()
        return [f"about {duration(max(event.left - passed, 0))} left"]

    def _beyond(self) -> float:
        """Seconds since the last estimate that went into compiling and that it did not foresee."""
        if self._compiling is None:
            return self._overrun
        event, since = self._compiling
        return self._overrun + max(self._clock() - since - event.expected, 0.0)


class _StatusColumn(rich.progress.ProgressColumn):
    def __init__(self, status: Status):
        super().__init__()
        self.status = status

    def render(self, task: rich.progress.Task) -> rich.text.Text:
        del task
        return rich.text.Text(self.status.short(), no_wrap=True, overflow="ellipsis")


class Display:
    """Shows events as long as the context lasts; is called with each of them."""

    def __init__(self, mode: Mode, console: rich.console.Console):
        """Shows nothing yet.

        Args:
            mode: "auto" is a bar if the console is a terminal, else lines.
            console: Where to.
        """
        self.status, self._console = Status(), console
        bar = mode == "auto" and console.is_terminal
        columns = (rich.progress.BarColumn(12), rich.progress.TaskProgressColumn())
        self._bar = rich.progress.Progress(
            *columns, _StatusColumn(self.status), console=console, disable=not bar
        )
        self._task = self._bar.add_task("", total=1.0, visible=False)
        self._ended = threading.Event()
        self._lines = threading.Thread(target=self._print_lines, daemon=True)
        self._has_lines = mode != "quiet" and not bar

    def __enter__(self) -> "Display":
        self._bar.start()
        if self._has_lines:
            self._lines.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del kind, error, trace
        self._ended.set()
        if self._has_lines:
            self._lines.join()
        self._bar.stop()

    def __call__(self, event: study.Event) -> None:
        """Takes an event."""
        self.status.take(event)
        if isinstance(event, study.Started):
            self._bar.update(self._task, visible=event.missing > 0)
        self._bar.update(self._task, completed=self.status.share())

    def _print_lines(self) -> None:
        """A thread of its own: a program may compile for minutes without any event."""
        with contextlib.suppress(OSError, SystemExit):  # Nobody reads them any more.
            while not self._ended.wait(_SECONDS_PER_LINE):
                say(self._console, self.status.line())


def say(console: rich.console.Console, text: str) -> None:
    """Prints text as it is: rich would break its lines and take [words] for markup."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
