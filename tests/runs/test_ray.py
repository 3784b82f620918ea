"""A real Ray cluster of several nodes on this machine: the rows of one process, whoever is lost."""

import contextlib
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
import small_study

from lth_jax.runs import engines, results

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="Ray is not installed: pip install '.[ray]'"
)
DRIVE = """
import os, sys, time
import jax
from experiments import digits
from experiments.cli import flags, program
from lth_jax import sweep

jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_compilation_cache_dir", sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
config, _ = flags.read(sys.argv[2:], [digits.CONFIG, program.Machine()], {})
study = config.make_study("digits", lambda line: print("told", line, flush=True))

def tell(event):
    time.sleep(float(os.environ.get("PAUSE", 0)))  # So that there is time to lose somebody.
    if isinstance(event, sweep.Finished):
        print("lane", flush=True)
    elif isinstance(event, sweep.Progress):
        print("steps", event.lane_steps, event.all_lane_steps, flush=True)

with study.hold():
    study.fill(config.lanes(), tell)
"""
# 4 + 8 trees of some seconds each: a lane that was begun has a checkpoint after its first steps.
SETTINGS = {"seeds": "4", "prune_epochs": "1000", "checkpoint_minutes": "0"}
STEPS = 8 * 4 + 12 * 4000


class Nodes:
    """The cluster's program."""

    def __init__(self, process):
        self.process, self.address = process, process.stdout.readline().strip()

    def do(self, word):
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def workers(self):
        """Process ids of the workers, below the cluster's program; the oldest first."""
        parents, titles, begun = {}, {}, {}
        for place in pathlib.Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                pid = int(place.name)
                titles[pid] = (place / "cmdline").read_bytes()
                stat = (place / "stat").read_text().rpartition(")")[2].split()
                parents[pid], begun[pid] = int(stat[1]), int(stat[19])

        def ours(pid):
            return pid == self.process.pid or (pid in parents and ours(parents[pid]))

        found = [p for p, title in titles.items() if title.startswith(b"ray::Worker") and ours(p)]
        return sorted(found, key=begun.get)


@pytest.fixture(scope="module")
def nodes():
    command = [sys.executable, str(small_study.ROOT / "tests" / "ray_cluster.py"), "2"]
    pipe = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    place = {"cwd": small_study.ROOT, "env": os.environ | {"PYTHONPATH": str(small_study.ROOT)}}
    with subprocess.Popen(command, text=True, **pipe, **place) as process:
        yield Nodes(process)
        process.stdin.close()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with the compiled programs of all runs here, and the rows of one process."""
    folder = tmp_path_factory.mktemp("alone")
    with drive(folder / "run", folder) as process:
        assert process.wait() == 0, process.stderr.read()
    return folder


def drive(out, folder, **changed):
    argv = small_study.flags(out, **SETTINGS | changed)
    program = [sys.executable, "-c", DRIVE, str(folder / "compiled"), *argv]
    return small_study.start(out, program=program)


def on(nodes):
    return {"engine": "ray", "ray_address": nodes.address}


def lines(process, word):
    """The numbers of the lines that begin with a word, as they come."""
    for line in process.stdout:
        if line.startswith(word):
            yield line.split()[1:]


def ended(process):
    """What was told of losses; that a worker is waited for may be told on a busy machine."""
    told = [line for line in process.stdout if line.startswith("told") and "lost" in line]
    assert process.wait() == 0, process.stderr.read()
    assert "Traceback" not in process.stderr.read()
    return told


def kept(out):
    """The lanes whose rows are safe, in their turn or before it."""
    files = sorted(out.glob("results*.jsonl"))
    return {results.lane_of(row) for file in files for row in results.read(file)[0]}


def held(out):
    """Steps that checkpoints hold, at least: those of one lane of each, in its last stage.

    A driver that is killed as a lane ends may leave a checkpoint of that lane, which holds nothing.
    """
    done = {(lane.method.partition("_")[0], lane.eps, lane.seed) for lane in kept(out)}
    steps = {}
    for file in sorted(out.glob("checkpoints-*/0*/meta.json")):
        with contextlib.suppress(OSError):  # One that was replaced meanwhile.
            meta = json.loads(file.read_text())["meta"]
            nodes = [json.loads(node) for node in meta["nodes"]]
            if any((stages[0][0], eps, seed) not in done for stages, eps, _, seed in nodes):
                steps[file.parents[1]] = meta["step"]
    return sum(steps.values())


@needs_ray
@pytest.mark.slow
def test_two_nodes_give_the_rows_of_one_process(tmp_path, place, nodes):
    with drive(tmp_path, place, **on(nodes)) as process:
        assert ended(process) == []
    # Every field bit for bit, and the same order; seconds and the number of devices aside.
    assert small_study.rows(tmp_path) == small_study.rows(place / "run")
    left = {path.name for path in tmp_path.iterdir()}
    assert "summary.csv" in left and not [n for n in left if n.startswith(("check", "results.e"))]
    assert not nodes.workers()


@needs_ray
@pytest.mark.slow
def test_whoever_joins_and_whoever_is_lost_the_rows_are_the_same(
    tmp_path, place, nodes, say, monkeypatch
):
    monkeypatch.setenv("PAUSE", "0.3")
    with drive(tmp_path, place, **on(nodes)) as process:
        assert next(lines(process, "lane"), None) is not None, process.stderr.read()
        for _ in range(2):
            nodes.do("add")
        for _ in lines(process, "steps"):
            if len(nodes.workers()) == 4:
                break
        os.kill(nodes.workers()[0], signal.SIGKILL)
        next(lines(process, "told"))
        nodes.do("remove")
        for taken, whole in lines(process, "steps"):
            assert int(taken) <= int(whole)
        assert process.wait() == 0, process.stderr.read()
    assert small_study.rows(tmp_path) == small_study.rows(place / "run")
    say(f"of {STEPS} steps {STEPS - int(whole)} were not taken again")
    assert int(whole) <= STEPS
    nodes.do("remove")


@needs_ray
@pytest.mark.slow
def test_a_driver_that_was_killed_goes_on_on_either_engine(
    tmp_path, place, nodes, say, monkeypatch
):
    monkeypatch.setenv("PAUSE", "0.1")
    left, engines_used = [], ({}, on(nodes))
    with drive(tmp_path, place, **on(nodes)) as process:
        seen = lines(process, "lane")
        for _ in range(2):
            assert next(seen, None) is not None, process.stderr.read()
        for _ in lines(process, "steps"):
            if held(tmp_path):
                break
        os.kill(process.pid, signal.SIGKILL)
    for number, engine in enumerate(engines_used):
        before, spared = kept(tmp_path), held(tmp_path)
        whole = 0  # A lane may end without a step more.
        assert len(before) >= 2 + number
        with drive(tmp_path, place, **engine) as process:
            for line in process.stdout:
                assert "lost" not in line
                if line.startswith("steps"):
                    whole = int(line.split()[2])
                elif number == 0 and line.startswith("lane"):
                    os.kill(process.pid, signal.SIGKILL)
                    break
            assert process.wait() == (-signal.SIGKILL, 0)[number], process.stderr.read()
        assert before < kept(tmp_path) and (whole or number == 0)
        missing = [lane for lane in kept(place / "run") if lane not in before]
        ahead = sum(4004 if lane.method == "perturb_then_prune" else 4000 for lane in missing)
        left.append(f"{whole} of {ahead}")
        # What checkpoints hold is not taken again; one that was killed had not come to it yet.
        assert whole <= ahead - number * spared
    assert small_study.rows(tmp_path) == small_study.rows(place / "run")
    say(f"steps that two more drivers took: {', '.join(left)}")


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize(
    "given, said",
    [
        ({"ray_address": "127.0.0.2:9"}, "--ray_address: no cluster at 127.0.0.2:9: Connection"),
        ({"ray_gpus": "1"}, "ask for 1 CPU, 1 GPU on one node; those of the cluster have: "),
        ({"XLA_FLAGS": "--xla_cpu_enable_fast_math=false"}, "differ: xla_flags [] and ['--xla_cpu"),
    ],
)
def test_a_cluster_that_does_not_fit_is_one_line(tmp_path, place, nodes, given, said, monkeypatch):
    if flags := given.pop("XLA_FLAGS", None):  # As another version of a library would be.
        monkeypatch.setenv("XLA_FLAGS", flags)
    with small_study.start(tmp_path / "out", place / "cache", **on(nodes) | given) as process:
        assert process.wait() == 2, process.stderr.read()
        error = process.stderr.read()
    assert said in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_without_ray_the_engine_is_refused_in_a_line(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert engines.Engine().engine == "local"
    with pytest.raises(ValueError, match="ray is not installed"):
        engines.Engine("ray")
    assert small_study.main(tmp_path / "out", engine="ray") == 2
    error = capsys.readouterr().err
    assert "error: --engine: ray is not installed here; pip install" in error
    assert error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_an_engine_that_is_none_is_refused():
    for given in ({"engine": "spark"}, {"ray_address": "x"}, {"ray_cpus": 1.5}, {"ray_gpus": -1}):
        with pytest.raises(ValueError, match=f"^{next(iter(given))} must be "):
            engines.Engine(**given)
