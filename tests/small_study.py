"""A study small enough to be killed often: main() in this process, and the same as a program."""

import json
import os
import pathlib
import subprocess
import sys

import compiled

from experiments import cli, digits

ROOT = pathlib.Path(__file__).parent.parent
FLAGS = {
    "train_size": "128",
    "batch_size": "32",
    "width": "0.05",
    "method": "perturb_then_prune,prune",
    "eps": "0,0.03",
    "sparsity": "0.5",
    "seeds": "2",
    "perturb_epochs": "1",
    "prune_epochs": "2",
    "max_lanes": "2",  # Blocks of one size, whatever the grid: compiled once for all tests.
    "compile_cache": "false",
}
# No epochs: what is tried is what happens before and after training.
SHORT = {"perturb_epochs": "0", "prune_epochs": "0", "seeds": "1", "eps": "0.5", "method": "prune"}
# So that what a test finds out does not depend on what was committed meanwhile.
ASIDE = ("seconds", "git", "check", "run", "devices")


def flags(out, **changed):
    return [f"--{name}={value}" for name, value in (FLAGS | {"out": out} | changed).items()]


def known_by(problem):
    """What a problem made of flags is known by: every study makes its model and pruner anew."""
    return problem.model.architecture, problem.pruner.name, problem.pruner.scope, problem.config


def main(out, **changed):
    with compiled.shared(known_by):
        return cli.main(digits.run, digits.CONFIG, digits.__doc__, flags(out, **changed))


def start(out, cache=None, program=(), **changed):
    """The study as a process of its own, its output in pipes; or any program."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
    if cache is not None:
        environment["XDG_CACHE_HOME"] = str(cache)
        changed["compile_cache"] = "true"
    command = program or [sys.executable, "-m", "experiments.digits", *flags(out, **changed)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, env=environment)


def rows(out):
    lines = (pathlib.Path(out) / "results.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    return [{n: v for n, v in row.items() if n not in ASIDE} for row in found]


def by_lane(some):
    return sorted(some, key=lambda row: json.dumps(row, sort_keys=True))


def tree(folder):
    """All bytes of a folder, by path; the lock's own are of no interest."""
    files = sorted(p for p in pathlib.Path(folder).rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}
