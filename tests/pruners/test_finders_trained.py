"""Every entry of the registry through a stage that moves weights and scores at once."""

import json

import jax
import numpy as np
import pytest
import tiny

import lth_jax
from lth_jax import pruners, tickets, training
from lth_jax.training import methods

TOTAL, EPS = 8, 0.03


@pytest.mark.slow
@pytest.mark.parametrize("name", pruners.PRUNERS)
def test_slices_lanes_counts_and_the_ball_of_a_finder(name):
    problem = tiny.problem(tiny.CONFIG, pruners.PRUNERS[name]())
    arrays = jax.device_put(training.lane_data(tiny.dataset())[0])
    sizes = training.lane_shapes(problem)
    tasks = [training.lane_task(problem, sizes, seed, EPS, 0.75) for seed in (3, 4)]
    tasks = [task._replace(key=jax.random.key(task.key)) for task in tasks]

    def start(task):
        origin = training.initial(problem, task.key)
        return training.start(problem, methods.JOINT, task, origin[:2], origin)

    def advance(state, task, step, until):
        return training.advance(problem, methods.JOINT, state, task, arrays, step, until, TOTAL)

    begin, go = jax.jit(start), jax.jit(advance)
    states = [begin(task) for task in tasks]
    whole = [go(state, task, 0, TOTAL) for state, task in zip(states, tasks, strict=True)]
    sliced = go(go(states[0], tasks[0], 0, 3), tasks[0], 3, TOTAL)
    tiny.assert_same_bits(sliced, whole[0])
    assert go._cache_size() == 1
    stack = lambda *x: jax.numpy.stack(x)  # noqa: E731
    both = jax.tree.map(stack, *states), jax.tree.map(stack, *tasks)
    lanes = jax.jit(lambda pair: jax.lax.map(lambda p: advance(*p, 0, TOTAL), pair))(both)
    for lane, alone in enumerate(whole):
        tiny.assert_same_bits(jax.tree.map(lambda x, i=lane: x[i], lanes), alone)
    kept = jax.tree.leaves(tasks[0].kept)
    state = whole[0]
    ones = problem.pruner.mask(state.scores, tasks[0].kept, None)
    assert [int(m.sum()) for m in jax.tree.leaves(ones)] == kept
    moves = jax.tree.map(lambda c, w: np.abs(np.float64(w) - c).max(), state.center, state.weights)
    assert 0 < max(jax.tree.leaves(moves)) <= tasks[0].eps
    learned = tiny.largest_difference(state.scores, states[0].scores) > 0
    assert learned == (name not in ("random", "magnitude"))
    assert state.diverged == -1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["biprop", "edge_popup"])
def test_a_ticket_is_the_final_network_and_the_row_has_both_moves(name, tmp_path):
    study = lth_jax.Study(
        "lenet", tiny.dataset(), name, tiny.CONFIG, tmp_path / "out", keep_tickets=True
    )
    result = study.run(["joint"], seeds=[0], eps=[0.01], sparsity=[0.5])
    (row,) = map(json.loads, (result.path / "results.jsonl").read_text().splitlines())
    assert row["max_displacement"] <= 0.01 and row["ball_fraction"] <= 1
    kept = tickets.load(result.tickets()[0])
    sizes = [len(set(np.abs(w[w != 0]).ravel())) for w in jax.tree.leaves(kept.weights)]
    if name == "biprop":
        assert row["network_displacement"] > 0.01
        assert sizes == [1, 1, 1]
    else:
        assert "network_displacement" not in row
        assert min(sizes) > 1


def test_bits_of_a_perturbation_are_refused_where_weights_are_made_anew(tmp_path):
    with pytest.raises(lth_jax.InputError, match="ticket_bits must be 0 for 'biprop'"):
        lth_jax.Study(
            "lenet", tiny.dataset(), "biprop", out=tmp_path, keep_tickets=True, ticket_bits=8
        )
