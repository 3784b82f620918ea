"""How a grid is cut into jobs, and in which order rows that come as they like are written."""

import collections
import random

import pytest

from lth_jax import errors, runs, training
from lth_jax.runs import engines, jobs, results
from lth_jax.sweep import events, plan, snapshots

PLAIN = training.TrainConfig()
WANTED = plan.lanes(
    ["perturb_then_prune", "prune_then_perturb", "prune", "dense"], [0.0, 0.1], [0.5, 0.9], range(5)
)
CONFIG = {"study": "s"}


def grid(done=(), saved=()):
    return jobs.Grid(WANTED, done, saved, PLAIN)


def row(lane, **changed):
    fields = lane._asdict() | {"val_accuracy": 0.25, "test_accuracy": 0.5, "diverged": None}
    return fields | changed


def snapshot(nodes, levels=(), step=3):
    names = tuple(map(snapshots.name_of, nodes))
    above = tuple(snapshots.Level(tuple(map(snapshots.name_of, some)), (), {}) for some in levels)
    return snapshots.Snapshot(above, names, step, 0.0, {})


def test_a_job_that_ends_without_news_has_no_steps_left():
    some = jobs.as_many(grid(), 100)
    tally = engines.Tally(some, 100, lambda stage: 10, PLAIN)
    whole = tally.progress(None, None, "").all_lane_steps
    first, second = some[:2]
    news = events.Progress("prune", 7, 9, 1.0, 0, len(second.lanes), None)
    before = tally.progress(second, news, "").all_lane_steps
    assert before < whole
    tally.end(second)
    tally.end(first)  # Found at its last step.
    after = tally.progress(None, None, "")
    alone = engines.Tally([first], 100, lambda stage: 10, PLAIN).progress(None, None, "")
    assert after.all_lane_steps == before - 2 - alone.all_lane_steps and after.lane_steps == 7


@pytest.mark.parametrize("size", [1, 2, 4, 100])
def test_every_lane_has_one_job_and_shared_stages_stay_together(size):
    done = frozenset(WANTED[::7])
    many = jobs.as_many(grid(done), size)
    left = [lane for job in many for lane in job.lanes if lane not in job.done]
    assert collections.Counter(left) == collections.Counter({*WANTED} - done)
    owner = {}
    for index, job in enumerate(many):
        for lane in job.lanes:
            assert owner.setdefault(plan.nodes_of(lane, PLAIN)[0], index) == index
    assert len({job.place for job in many}) == len(many)
    assert [job.place for job in many] == [job.place for job in jobs.as_many(grid(done), size)]


def test_a_job_gets_the_snapshots_of_its_own_trees():
    paths = {lane: plan.nodes_of(lane, PLAIN) for lane in WANTED}
    deep = next(path for path in paths.values() if len(path) == 2)
    inside, other = snapshot([deep[1]], [[deep[0]]]), snapshot([paths[WANTED[-1]][0]])
    for job in jobs.as_many(grid(saved=[inside, other]), 1):
        roots = {paths[lane][0] for lane in job.lanes}
        expected = [inside] * (deep[0] in roots) + [other] * (paths[WANTED[-1]][0] in roots)
        assert list(job.saved) == expected and job.cut is None


def test_what_no_block_can_go_on_from_has_a_job_of_its_own():
    roots = list(dict.fromkeys(plan.nodes_of(lane, PLAIN)[0] for lane in WANTED))
    one, whole = snapshot(roots[:1]), snapshot(roots)
    # A block of four roots needs all four.
    first, rest = jobs.as_one(grid(saved=[one]), 4)
    assert {plan.nodes_of(lane, PLAIN)[0] for lane in first.lanes} == {roots[0]}
    assert first.cut == 1 and first.saved == (one,) and first.done == frozenset()
    assert rest.done == {*first.lanes} and rest.lanes == tuple(WANTED)
    # Blocks of one, or of a snapshot that has more than a block needs, go on as they are.
    assert len(jobs.as_one(grid(saved=[one]), 1)) == len(jobs.as_one(grid(saved=[whole]), 4)) == 1


def test_rows_stand_in_plan_order_however_they_come_and_none_is_lost(tmp_path):
    order = list(jobs.order(grid(), 4))
    assert sorted(order, key=str) == sorted(WANTED, key=str) and order != WANTED
    choose, left, starts = random.Random(3), list(order), 0
    choose.shuffle(left)
    while left:  # The driver is killed now and then: what it had is on the disk.
        folder, starts = runs.Folder(tmp_path, CONFIG), starts + 1
        assert folder.done == {*order} - {*left}
        folder.expect(order)
        for _ in range(min(len(left), choose.randrange(1, 9))):
            folder.append([row(left.pop())])
            stand = [results.lane_of(r) for r in results.read(folder.results)[0]]
            assert stand == order[: len(stand)]
            assert len(stand) == len(order) or order[len(stand)] not in folder.done
    assert starts > 5
    folder.settle()
    assert [results.lane_of(r) for r in folder.rows] == order
    assert {p.name for p in tmp_path.iterdir()} == {"config.json", "results.jsonl"}


@pytest.mark.parametrize("cut", [0, 5])
def test_the_parts_that_an_older_version_left_are_read_once_and_merged(tmp_path, cut):
    order = list(jobs.order(grid(), 4))
    folder = runs.Folder(tmp_path, CONFIG)
    for index in range(3):
        sealed = [results.seal(row(lane, run=folder.run)) for lane in order[index::3]]
        results.append(tmp_path / f"results.part-{index}-of-3.jsonl", sealed)
    torn = tmp_path / "results.part-2-of-3.jsonl"
    torn.write_bytes(torn.read_bytes()[: torn.stat().st_size - cut])
    again = runs.Folder(tmp_path, CONFIG)
    again.expect(order)
    for missing in {*order} - again.done:
        assert cut
        again.append([row(missing)])
    again.settle()
    assert [results.lane_of(r) for r in results.read(again.results)[0]] == order
    assert not list(tmp_path.glob("results.*.jsonl"))


def test_a_merge_that_was_cut_short_is_finished_by_the_next(tmp_path, monkeypatch):
    order = list(jobs.order(grid(), 4))
    folder = runs.Folder(tmp_path, CONFIG)
    folder.expect(order)
    folder.append([row(order[3])])
    with monkeypatch.context() as patch:  # Killed after the rows were written.
        patch.setattr("pathlib.Path.unlink", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            folder.settle()
    assert [p.name for p in tmp_path.glob("results.*.jsonl")] == ["results.early.jsonl"]
    again = runs.Folder(tmp_path, CONFIG)
    again.settle()
    assert len(results.read(again.results)[0]) == 1 and not list(tmp_path.glob("results.*.jsonl"))


def test_a_torn_early_row_is_run_again(tmp_path):
    order = list(jobs.order(grid(), 4))
    folder = runs.Folder(tmp_path, CONFIG)
    folder.expect(order)
    folder.append([row(order[3]), row(order[5])])
    early = tmp_path / "results.early.jsonl"
    early.write_bytes(early.read_bytes()[:-5])
    again = runs.Folder(tmp_path, CONFIG)
    assert again.done == {order[3]}
    again.expect(order)
    again.append([row(order[5])])
    assert runs.Folder(tmp_path, CONFIG).done == {order[3], order[5]}
    early.write_bytes(early.read_bytes().replace(b"0.25", b"0.26"))
    with pytest.raises(errors.InputError, match=r"early.jsonl:1: .*not as it was written"):
        runs.Folder(tmp_path, CONFIG)
