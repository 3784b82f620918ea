"""The studies: each module is one command, `python -m experiments.NAME`."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """Ends the process: before main() has begun there is nothing to save."""
    del frame
    name = signal.Signals(number).name
    os.write(2, f"stopped by {name}: the same command continues\n".encode())
    os._exit(128 + number)


# While Python looks for a study's module it calls the program "-m". From here to main(), modules
# are imported for seconds, and what a signal raises within an import may be lost.
if sys.argv[:1] == ["-m"]:
    for _number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(_number) != signal.SIG_IGN:
            signal.signal(_number, _leave)
