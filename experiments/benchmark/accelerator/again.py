"""A process of its own that goes on where another one stopped: NET STRATEGY SMALL BEFORE AFTER."""

import sys

from experiments.benchmark.accelerator import lane_laws

if __name__ == "__main__":
    lane_laws.go_on(sys.argv[1], sys.argv[2], sys.argv[3] == "1", *sys.argv[4:])
