"""Hostile flags: hundreds of combinations; each ends in success or in one line and status 2."""

import collections
import random
import sys

import hostile
import numpy as np
import pytest
import small_study

from experiments import construction, digits, subset_sum
from experiments.cli import flags, program

NUMBERS = ["-1", "0", "1", "nan", "inf", "-inf", "1e308", "1e-320", "", " ", "abc", "0x10", "1_0"]
NUMBERS += [
    "9" * 30,
    "-0",
    "٣",
    "1.5",
    "true",
    "None",
    "1e999",
    "--",
    "=",
    "%s",
    "{}",
    "2147483648",
]
WORDS = [
    "",
    "none",
    "../../etc/passwd",
    "a\nb",
    "\x1b[31m",
    "é" * 50,
    "x" * 5000,
    "\udcff",
    "prune",
]
WORDS += ["tensor", "global", "map", "vmap", "digits", "'", "$(id)", "-rf", "*", "a\0b", "std"]
LISTS = [
    ",",
    ",,",
    "0,0",
    "0,",
    ",0",
    "0 1",
    "0;1",
    "[0,1]",
    "0.5,nan",
    "0.5,-1",
    "0,1e400",
    "0.1,inf",
]
LISTS += ["prune,prune", "prune,dense", "dense", "joint,", "all"]


def fields():
    hidden = (
        "plugin",
        "out",
        "data_dir",
        "mirror",
        "dataset",
        "offline",
        "engine",
        "ray_address",
        "lock",
        "progress",
    )
    return [n for n in flags.of([digits.CONFIG, program.Machine()]) if n not in hidden]


def combination(choose, short=None, names=None):
    """Flags of a short study, one to three of them replaced by something generated."""
    given = dict(short or small_study.FLAGS | small_study.SHORT)
    for name in choose.sample(names or fields(), choose.choice([1, 1, 2, 3])):
        given[name] = choose.choice(choose.choice([NUMBERS, WORDS, LISTS]))
    argv = [f"--{name}={value}" for name, value in given.items()]
    if choose.random() < 0.15:
        odd = ["--", "-", "--eps", "---eps=1", "--=3", "stray", "--no", "--eps:1", "--flagfile=x"]
        argv.insert(choose.randrange(len(argv)), choose.choice(odd))
    return argv


def try_flags(made, sandbox, say):
    """Runs (study, flags) after (study, flags)."""
    counts, bad = collections.Counter(), []
    for number, (of, argv) in enumerate(made):
        out = sandbox / "out" / str(number)
        ended, wrong = hostile.outcome(of, [f"--out={out}", *argv])
        counts[ended] += 1
        if wrong:
            bad.append((ended, wrong, argv))
        elif ended == "refused" and out.exists():
            bad.append(("touched", None, argv))
    hostile.check(counts, bad, sandbox, say)
    assert counts["success"] and counts["refused"] > sum(counts.values()) / 3


def of_digits(count, seed):
    choose = random.Random(seed)
    return [(digits, combination(choose)) for _ in range(count)]


def of_theory(count, seed, sandbox):
    """The same for the studies that read a network; what takes hours when it is large is left."""
    choose, file = random.Random(seed), sandbox / "data" / "target.npz"
    rng = np.random.default_rng(0)
    np.savez(file, a=rng.normal(0, 0.2, (3, 64)), b=rng.normal(0, 0.2, (10, 3)))
    found = {
        subset_sum: {"solve": "true", "n": "5", "eta": "0.3", "highs": "0"},
        construction: {"dataset": "digits", "eps": "0.1", "eta": "0.3", "width": "3"},
    }
    left = ("out", "data_dir", "dataset", "trials", "draws", "keys", "solve", "figure2", "lock")
    for of in choose.choices([subset_sum, subset_sum, construction], k=count):
        names = [n for n in flags.of([of.Config(), program.Machine()]) if n not in left]
        yield of, combination(choose, found[of] | {"target": str(file)}, names)


def test_generated_flags_end_in_success_or_one_line(sandbox, say):
    good = [f"--{n}={v}" for n, v in (small_study.FLAGS | small_study.SHORT).items()]
    # One generated run in 40 is good: this one is.
    try_flags([(digits, good), *of_digits(12, 11)], sandbox, say)


@pytest.mark.slow
def test_hundreds_of_generated_flags_end_in_success_or_one_line(sandbox, say):
    try_flags(of_digits(300, 2), sandbox, say)


@pytest.mark.slow
def test_generated_flags_of_theory_studies_end_in_success_or_one_line(sandbox, say):
    try_flags(of_theory(150, 10, sandbox), sandbox, say)


@pytest.mark.slow
def test_generated_flags_to_real_processes(tmp_path, say):
    choose, counts = random.Random(3), collections.Counter()
    for number in range(8):
        argv = [a for a in combination(choose) if "\0" not in a]
        if number % 4 == 0:  # Few generated ones are good: these are.
            argv = [f"--{n}={v}" for n, v in (small_study.FLAGS | small_study.SHORT).items()]
        out = tmp_path / str(number)
        program = [sys.executable, "-m", "experiments.digits", f"--out={out}", *argv]
        with small_study.start(out, program=program) as process:
            status = process.wait()
            error = process.stderr.read()
        counts[status] += 1
        assert status in (0, 2), (argv, error)
        assert "Traceback" not in error and (status == 0 or error.count("\n") == 1), (argv, error)
    say(f"{sum(counts.values())} processes by status: {dict(counts)}")
