"""The studies: each module is one command, `python -m experiments.NAME`."""
