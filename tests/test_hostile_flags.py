"""Hostile flags: hundreds of combinations; each ends in success or in one line and status 2."""

import collections
import random
import sys

import hostile
import pytest
import study

from experiments import _cli, digits

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
    hidden = ("out", "data_dir", "mirror", "dataset", "offline", "distributed", "lock", "progress")
    return [n for n in _cli._fields([digits.CONFIG, _cli.Machine()]) if n not in hidden]


def combination(choose):
    """Flags of a short study, one to three of them replaced by something generated."""
    given = study.FLAGS | study.SHORT
    for name in choose.sample(fields(), choose.choice([1, 1, 2, 3])):
        given[name] = choose.choice(choose.choice([NUMBERS, WORDS, LISTS]))
    argv = [f"--{name}={value}" for name, value in given.items()]
    if choose.random() < 0.15:
        odd = ["--", "-", "--eps", "---eps=1", "--=3", "stray", "--no", "--eps:1", "--flagfile=x"]
        argv.insert(choose.randrange(len(argv)), choose.choice(odd))
    return argv


def try_flags(count, seed, sandbox):
    choose, counts, bad = random.Random(seed), collections.Counter(), []
    for number in range(count):
        argv = [f"--out={sandbox / 'out' / str(number)}", *combination(choose)]
        ended, wrong = hostile.outcome(digits, argv)
        counts[ended] += 1
        if wrong:
            bad.append((ended, wrong, argv))
        elif ended == "refused" and (sandbox / "out" / str(number)).exists():
            bad.append(("touched", None, argv))
    hostile.check(counts, bad, sandbox)
    assert counts["refused"] > count / 3


def test_generated_flags_end_in_success_or_one_line(sandbox):
    try_flags(12, 1, sandbox)


@pytest.mark.slow
def test_hundreds_of_generated_flags_end_in_success_or_one_line(sandbox):
    try_flags(300, 2, sandbox)


@pytest.mark.slow
def test_generated_flags_to_real_processes(tmp_path):
    choose, counts = random.Random(3), collections.Counter()
    for number in range(8):
        argv = [a for a in combination(choose) if "\0" not in a]
        if number % 4 == 0:  # Few generated ones are good: these are.
            argv = [f"--{n}={v}" for n, v in (study.FLAGS | study.SHORT).items()]
        out = tmp_path / str(number)
        program = [sys.executable, "-m", "experiments.digits", f"--out={out}", *argv]
        with study.start(out, program=program) as process:
            status = process.wait()
            error = process.stderr.read()
        counts[status] += 1
        assert status in (0, 2), (argv, error)
        assert "Traceback" not in error and (status == 0 or error.count("\n") == 1), (argv, error)
    print(f"\n{sum(counts.values())} processes by status: {dict(counts)}")
