"""The public door: a model of one's own in a resumable folder, without a command line."""

import dataclasses
import json
import math
import shutil
import sys

import compiled
import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
import registered
import small_study
import tiny

import lth_jax
from lth_jax import datasets, models, sweep
from lth_jax.report import frames, plots, table
from lth_jax.sweep import plan
from lth_jax.training import methods

GRID = {"methods": ["perturb_then_prune"], "eps": [0.0, 0.03], "sparsity": [0.5], "seeds": [0, 1]}


@pytest.fixture(scope="module", autouse=True)
def _shared_programs():
    with compiled.shared():
        yield


def own_study(out, model=None, pruner=None, dataset=None, **settings):
    pruner = pruner or tiny.noisy_edge_popup()
    model = model or tiny.own_model()
    # Blocks of one size: their programs serve all tests here, and those of the exact resume.
    settings = {"max_lanes": 4} | settings
    dataset = dataset or tiny.dataset()
    return lth_jax.Study(model, dataset, pruner, tiny.CONFIG, out, **settings)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An undisturbed run of a model of one's own, with the events it told."""
    events = []
    out = tmp_path_factory.mktemp("own") / "run"
    return own_study(out, keep_tickets=True).run(**GRID, on_event=events.append), events


def test_a_run_leaves_rows_a_table_a_plot_and_tickets(whole):
    result, _ = whole
    assert [(r["eps"], r["seed"]) for r in result.rows] == [
        (0.0, 0),
        (0.0, 1),
        (0.03, 0),
        (0.03, 1),
    ]
    assert all(row["kept"] == sum(tiny.SIZES) // 2 for row in result.rows)
    assert {row["model"] for row in result.rows} == {"Net"}
    (still, moved) = result.summary()
    assert (still.eps, moved.eps) == (0.0, 0.03) and moved.against["eps=0"].n == 2
    assert "perturb_then_prune" in result.table() and result.plot().axes
    files = {path.name for path in result.path.iterdir()}
    files = {path.name for path in result.path.iterdir()}
    assert {"config.json", "results.jsonl", "summary.csv", "tickets"} <= files
    plots = {
        f"{name}.{end}" for name in ("accuracy", "validation", "loss") for end in ("png", "svg")
    }
    assert plots <= files
    assert result.plot_curves("train_loss_curve").axes
    for row, file in zip(result.rows, result.tickets(), strict=True):
        kept = lth_jax.tickets.load(file)
        assert sum(int(m.sum()) for m in jax.tree.leaves(kept.masks)) == row["kept"]
        x = (tiny.dataset().test.images - tiny.dataset().mean) / tiny.dataset().std
        logits, _ = tiny.own_model().apply(kept.weights, {}, x, train=False)
        right = (logits.argmax(-1) == tiny.dataset().test.labels).mean()
        assert float(right) == pytest.approx(row["test_accuracy"], abs=1e-6)


@pytest.mark.slow
def test_plots_are_drawn_again_only_for_new_rows_or_if_one_is_missing(whole, tmp_path, monkeypatch):
    drawn, save = [], plots.save
    monkeypatch.setattr(plots, "save", lambda d, path: (drawn.append(path.name), save(d, path)))
    shutil.copytree(whole[0].path, tmp_path / "run")
    own_study(tmp_path / "run").run(**GRID)
    assert drawn == []
    (tmp_path / "run" / "validation.svg").unlink()
    own_study(tmp_path / "run").run(**GRID)
    assert drawn == ["validation.png"] and (tmp_path / "run" / "validation.svg").exists()
    own_study(tmp_path / "run").run(**GRID | {"seeds": [0, 1, 2]})
    assert drawn[1:] == ["accuracy.png", "validation.png", "loss.png"]


def test_rows_and_summary_are_pandas_where_pandas_is_there(whole):
    pandas = pytest.importorskip("pandas")
    result, _ = whole
    rows, cells = result.to_pandas(), result.to_pandas("summary")
    assert isinstance(rows, pandas.DataFrame) and len(rows) == len(result.rows)
    means = rows.groupby("eps")["test_accuracy"].mean()
    assert cells["eps"].tolist() == [0.0, 0.03]
    assert cells["test_accuracy"].tolist() == pytest.approx(means.tolist())
    header = (result.path / "summary.csv").read_text().splitlines()[0]
    assert ",".join(cells.columns) == header
    assert frames.frame([{"eps": "inf"}])["eps"].tolist() == [math.inf]
    with pytest.raises(ValueError, match="what must be rows or summary, got 'all'"):
        result.to_pandas("all")


def test_without_pandas_there_is_one_clear_line(whole, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="^pandas is not installed, .*: pip install pandas"):
        whole[0].to_pandas()


def test_events_tell_how_far_it_is(whole):
    result, events = whole
    assert events[0] == lth_jax.Started(4, 4, "map", 2)
    finished = [e.lane for e in events if isinstance(e, lth_jax.Finished)]
    assert finished == sweep.lanes(GRID["methods"], GRID["eps"], GRID["sparsity"], GRID["seeds"])
    last = [e for e in events if isinstance(e, lth_jax.Progress)][-1]
    assert last.lane_steps == last.all_lane_steps == 4 * (4 + 8)
    assert len(result.rows) == len(finished)


def test_what_a_caller_raises_ends_the_run_and_the_next_goes_on(tmp_path, whole):
    steps = []

    def stop(event):
        if isinstance(event, lth_jax.Progress):
            steps.append(event.lane_steps)
            if len(steps) == 5:
                raise InterruptedError("enough")

    with pytest.raises(InterruptedError, match="enough"):
        own_study(tmp_path).run(**GRID, on_event=stop)
    assert (tmp_path / "checkpoints" / "000001").is_dir()
    first = []
    result = own_study(tmp_path).run(**GRID, on_event=first.append)
    ours = [{n: v for n, v in r.items() if n not in small_study.ASIDE} for r in result.rows]
    theirs = [{n: v for n, v in r.items() if n not in small_study.ASIDE} for r in whole[0].rows]
    assert ours == theirs
    # It did not begin anew: fewer steps were left than the whole has.
    progress = [e for e in first if isinstance(e, lth_jax.Progress)]
    assert 0 < progress[-1].all_lane_steps < 4 * (4 + 8)
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.slow
def test_without_held_out_images_the_test_split_is_watched_and_chooses_nothing(tmp_path):
    # All that the published code does otherwise, at once: also across a stop in the middle.
    train = dataclasses.replace(
        tiny.CONFIG, batch_size=48, last_batch=True, schedule_per="epoch", project_per="epoch"
    )
    train = dataclasses.replace(train, skip_at_zero=True, curves=True, shared_shift=True)
    dataset = datasets.load("digits", train_size=128, hold_out=False)
    methods = ["perturb_then_prune", "prune_then_perturb"]
    grid = GRID | {"methods": methods, "sparsity": [0.5, 0.75], "seeds": [0]}

    def study(out):
        return lth_jax.Study(tiny.own_model(), dataset, train=train, out=out, max_lanes=4)

    def stop(event):
        if isinstance(event, lth_jax.Progress) and event.lane_steps >= 22:
            raise InterruptedError

    whole = study(tmp_path / "whole").run(**grid)
    with pytest.raises(InterruptedError):
        study(tmp_path / "cut").run(**grid, on_event=stop)
    again = study(tmp_path / "cut").run(**grid)
    ours, theirs = (
        [{n: v for n, v in row.items() if n not in small_study.ASIDE} for row in result.rows]
        for result in (again, whole)
    )
    assert ours == theirs and len(ours) == 8
    for row in ours:
        assert (row["val_accuracy"], row["val_curve"], row["dense_val_accuracy"]) == (
            None,
            [],
            None,
        )
        epochs = 2 if row["eps"] == 0 else 3
        assert len(row["test_curve"]) == epochs and row["test_curve"][-1] == row["test_accuracy"]
        known = [value is not None for value in row["epoch_change_curve"]]
        first = row["method"] == "prune_then_perturb" or row["eps"] == 0
        assert known == ([True, True, False] if first else [False, True, True])[:epochs]
        assert [value is not None for value in row["score_median_curve"]] == known
    assert all(cell.validation == {} for cell in again.summary())
    assert table.best_lines(again.summary()) == [] and "nan" not in again.table()
    with pytest.raises(lth_jax.InputError, match="hold_out"):
        lth_jax.Study(tiny.own_model(), "digits", train=train, out=tmp_path / "cut", max_lanes=4)


def test_the_same_call_again_runs_nothing_and_changes_no_byte(whole):
    result, _ = whole
    before = small_study.tree(result.path)
    events = []
    # As another script would: from functions that jax has not seen.
    model, pruner = tiny.own_model.__wrapped__(), tiny.noisy_edge_popup.__wrapped__()
    study = own_study(result.path, model, pruner, keep_tickets=True)
    again = study.run(**GRID, on_event=events.append)
    assert events == [lth_jax.Started(4, 0, "map", 2)]
    assert again.rows == result.rows and small_study.tree(result.path) == before


def test_a_folder_is_of_one_program(whole):
    result, _ = whole
    for model, pruner in (
        (tiny.own_model(slope=0.1), None),
        (tiny.own_model(), lth_jax.edge_popup()),
        (tiny.problem().model, None),
    ):
        with pytest.raises(lth_jax.InputError, match="belongs to other settings"):
            own_study(result.path, model, pruner)
    with pytest.raises(lth_jax.InputError, match="width: None there, 1.0 now"):
        lth_jax.Study("lenet", tiny.dataset(), train=tiny.CONFIG, out=result.path)


@pytest.mark.slow
def test_a_folder_is_of_one_optimizer(tmp_path):
    def study_of(**changed):
        train = dataclasses.replace(tiny.CONFIG, **changed)
        return lth_jax.Study("lenet", tiny.dataset(), train=train, out=tmp_path / "run")

    def adam_of(b1):
        return lambda rate: optax.adam(rate, b1)

    with study_of(prune_optimizer=adam_of(0.8)).hold():
        pass
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["prune_optimizer"] == "own: <lambda>" and config["prune_decay"] is None
    with study_of(prune_optimizer=adam_of(0.8)).hold():  # Another function that does the same.
        pass
    others = ({"prune_optimizer": adam_of(0.9)}, {"prune_optimizer": "adam"}, {})
    for other in (*others, others[0] | {"prune_schedule": lambda done: 1 - done}):
        with pytest.raises(lth_jax.InputError, match="belongs to other settings"):
            study_of(**other)
    named = dataclasses.replace(tiny.CONFIG, prune_optimizer="adam", perturb_schedule="linear")
    assert "program" not in lth_jax.Study("lenet", tiny.dataset(), train=named).settings


@pytest.mark.parametrize(
    "change, said",
    [
        ({"scope": "layer"}, "scope must be"),
        ({"strategy": "pmap"}, "strategy must be one of auto, map, vmap, hybrid, got 'pmap'"),
        ({"max_lanes": 0}, "max_lanes must be at least 1"),
        ({"max_lanes": math.inf}, "max_lanes must be at least 1"),
        ({"max_lanes": math.nan}, "max_lanes must be at least 1"),
        ({"ticket_bits": None}, "ticket_bits must be 0 or 2 to 16"),
        ({"name": "../../elsewhere"}, "name must be letters, digits"),
        ({"name": None}, "name must be letters, digits"),
        ({"ticket_bits": 17}, "ticket_bits must be 0 or 2 to 16"),
        ({"lock": "never"}, "lock must be leave or wait"),
        ({"checkpoint_minutes": -1.0}, "checkpoint_minutes must be at least 0"),
        ({"model": "lenet5"}, "model must be one of lenet"),
        ({"pruner": "magic"}, "pruner must be one of edge_popup"),
        ({"dataset": "cifar100"}, "dataset must be one of digits"),
    ],
)
def test_bad_values_are_named_before_any_work(tmp_path, change, said):
    given = {"model": "lenet", "dataset": tiny.dataset(), "train": tiny.CONFIG} | change
    with pytest.raises(lth_jax.InputError, match=said):
        lth_jax.Study(**given, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change, said",
    [
        ({"methods": ["pruning"]}, "method must be one of prune, "),
        ({"methods": []}, "method must not be an empty list"),
        ({"eps": [-1.0]}, "eps must be at least 0"),
        ({"eps": [math.nan]}, "eps must be at least 0"),
        ({"eps": [True]}, "must be numbers, got True"),
        ({"eps": ["inf"]}, "must be numbers, got 'inf'"),
        ({"eps": 0.1}, "eps must be a list, got 0.1"),
        ({"methods": "prune"}, "method must be a list, got 'prune'"),
        ({"methods": ["random_then_prune"], "eps": [math.inf]}, "eps must be finite"),
        ({"seeds": [0.5]}, "seeds must be integers"),
        ({"eps": []}, "eps must not be an empty list"),
        ({"sparsity": [1.0]}, r"sparsity must lie in \[0, 1\)"),
        ({"seeds": []}, "seeds must not be an empty list"),
        ({"seeds": [-1]}, r"seeds must lie in \[0, 2\^32\)"),
        ({"seeds": range(10**7)}, "is more than 1000000"),
    ],
)
def test_bad_axes_are_named_before_any_work(tmp_path, change, said):
    with pytest.raises(lth_jax.InputError, match=said):
        own_study(tmp_path / "out").run(**GRID | change)
    assert not (tmp_path / "out").exists()


def test_lanes_made_by_hand_are_checked_before_any_work(tmp_path):
    study, good = own_study(tmp_path / "out"), sweep.Lane("joint", 0.1, 0.5, 0)
    with study.hold():
        before = small_study.tree(tmp_path)
        for bad in (good._replace(eps=math.nan), good._replace(eps=-1.0), good._replace(seed=0.5)):
            with pytest.raises(lth_jax.InputError, match="^(eps|seeds) must be "):
                study.fill([good, bad])
            with pytest.raises(ValueError, match="^(eps|seeds) must be "):
                study._local.runner.run([good, bad])
    assert small_study.tree(tmp_path) == before


@pytest.mark.parametrize("scope", ["tensor", "global"])
def test_a_model_of_which_nothing_is_pruned_is_one_line(tmp_path, scope):
    def untouched(x):
        return x.reshape(len(x), -1)[:, :10]

    bare = lth_jax.Model(lambda key: ({}, {}), lambda w, s, x, train=False: (untouched(x), s))
    given = {"train": tiny.CONFIG, "out": tmp_path / "out", "scope": scope}
    for model, more in ((bare, {}), ("lenet", {"prunable": lambda path, leaf: False})):
        with pytest.raises(lth_jax.InputError, match="^model: .* has nothing that 'edge_popup'"):
            lth_jax.Study(model, tiny.dataset(), **given, **more)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_method_and_a_kind_of_stage_of_ones_own(tmp_path):
    free = methods.StageKind(
        "free", ("weights",), methods.through_fixed_mask, masked=True, in_ball=False
    )
    stages = (lth_jax.Stage(methods.PRUNE, False, True), lth_jax.Stage(free, True, False))
    with pytest.raises(ValueError, match="eps=inf"):
        methods.register(lth_jax.Method("prune_then_roam", stages))
    roam = lth_jax.Method("prune_then_roam", stages, eps=math.inf)
    with registered.meanwhile():
        result = own_study(tmp_path).run(["prune", roam], seeds=[0, 1], sparsity=[0.5])
        for prune, ours in zip(result.rows[:2], result.rows[2:], strict=True):
            assert (prune["eps"], ours["eps"]) == (None, "inf")
            assert prune["max_displacement"] == 0 < ours["max_displacement"]
            assert prune["kept"] == ours["kept"] and len(ours["val_curve"]) == 2 + 1
        with pytest.raises(ValueError, match="free"):
            methods.register(roam._replace(name="joint"))
        # Another method of this name, and another kind of stage of that one, are told apart.
        other = roam._replace(stages=stages[::-1])
        with pytest.raises(lth_jax.InputError, match=r"METHODS.remove\('prune_then_roam'\) first"):
            own_study(tmp_path).run([other], seeds=[0], sparsity=[0.5])
        methods.METHODS.remove("prune_then_roam")
        with pytest.raises(lth_jax.InputError, match="'prune_then_roam' was another one"):
            own_study(tmp_path).run([other], seeds=[0], sparsity=[0.5])
        methods.METHODS.remove("prune_then_roam")
        with pytest.raises(lth_jax.InputError, match="'prune_then_roam' is not registered"):
            own_study(tmp_path).run(["prune"], seeds=[0], sparsity=[0.5])
        methods.register(roam)
        assert plan.Lane("prune_then_roam", math.inf, 0.5, 0) in {
            lth_jax.runs.lane_of(row) for row in result.rows
        }


def test_a_folder_is_of_one_data_set(tmp_path):
    def study(**changed):
        dataset = tiny.dataset()._replace(**changed)
        return own_study(tmp_path, dataset=dataset)

    study().run(["prune"], seeds=range(4), sparsity=[0.5])
    study()
    test = lth_jax.Split(tiny.dataset().test.images // 2, tiny.dataset().test.labels)
    for change in ({"mean": tiny.dataset().mean + 1}, {"test": test}):
        with pytest.raises(lth_jax.InputError, match="arrays_sha256"):
            study(**change)
    with pytest.raises(lth_jax.InputError, match="10 outputs for 9 classes"):
        study(classes=9)


def test_a_model_that_was_changed_is_not_taken_for_the_built_one():
    model = lth_jax.build_model("lenet", (8, 8, 1), 10)
    assert models.built_as(model) == model.architecture
    assert models.built_as(model._replace(apply=lambda *args, **_: args)) is None
    assert models.built_as(model._replace(init=lambda key: ({}, {}))) is None


def test_lanes_that_are_done_are_kept_when_the_caller_stops_at_the_first(tmp_path):
    def stop(event):
        if isinstance(event, lth_jax.Finished):
            raise InterruptedError

    study = own_study(tmp_path)
    with pytest.raises(InterruptedError):
        study.run(["prune"], seeds=range(4), sparsity=[0.5], on_event=stop)
    events = []
    study.run(["prune"], seeds=range(4), sparsity=[0.5], on_event=events.append)
    assert events == [lth_jax.Started(4, 0, "map", 2)]  # A block of four lanes: all have rows.


@pytest.mark.parametrize(
    "kind, said",
    [
        ({"moves": ("weight",)}, "moves of weights and scores"),
        ({"moves": ("scores",), "masked": False}, "expected a mask"),
        ({"in_ball": False, "random_start": True}, "expected a ball to start in"),
        ({"in_ball": False}, "eps=inf"),
    ],
)
def test_a_kind_of_stage_that_contradicts_itself_is_refused(kind, said):
    stage = lth_jax.Stage(methods.JOINT._replace(**kind), True, True)
    with pytest.raises(ValueError, match=said):
        methods.register(lth_jax.Method("contradiction", (stage,)))
    for eps in (-1.0, math.nan):
        with pytest.raises(ValueError, match="radius of a ball"):
            methods.register(lth_jax.Method("odd", methods.METHODS["joint"].stages, eps))
    assert not {"contradiction", "odd"} & set(methods.METHODS)


def test_numbers_of_numpy_are_rows_as_well(tmp_path):
    axes = {"eps": [np.float32(0.03)], "sparsity": [np.float64(0.5)], "seeds": np.arange(4)}
    rows = own_study(tmp_path).run(["perturb_then_prune"], **axes).rows
    found = [(row["eps"], row["sparsity"], row["seed"]) for row in rows]
    assert found == [(0.03, 0.5, seed) for seed in range(4)]


def test_what_is_pruned_is_a_table_and_stands_in_the_folder(whole, tmp_path):
    result, _ = whole
    study = own_study(result.path)
    stored = json.loads((result.path / "config.json").read_text())["pruned"]
    assert stored == [
        {"path": "Dense_0/kernel", "shape": [64, 16], "size": 1024, "fan_in": 64},
        {"path": "Dense_1/kernel", "shape": [16, 10], "size": 160, "fan_in": 16},
    ]
    text = study.pruned()
    assert "1,184 of 1,210 weights; Net on digits" in text
    rows = [[cell.strip() for cell in line.split("│")] for line in text.splitlines()]
    assert ["", "Dense_0/bias", "16", "", "16", "no", ""] in rows
    assert ["", "Dense_0/kernel", "64 × 16", "64", "1,024", "yes", ""] in rows
    # A folder from before the entry goes on; one that says another thing does not.
    for entry, refused in ((None, False), (stored[:1], True)):
        shutil.copytree(result.path, tmp_path / str(refused))
        file = tmp_path / str(refused) / "config.json"
        config = json.loads(file.read_text()) | {"pruned": entry}
        if entry is None:
            del config["pruned"]
        file.write_text(json.dumps(config))
        if refused:
            with pytest.raises(lth_jax.InputError, match="other settings .pruned: "):
                own_study(tmp_path / str(refused))
        else:
            own_study(tmp_path / str(refused))


def first_kernel(path, leaf):
    return path[0].key == "Dense_0" and leaf.ndim == 2


def chosen_study(out, model="lenet", **settings):
    given = {"train": tiny.CONFIG, "prunable": first_kernel, "max_lanes": 4} | settings
    return lth_jax.Study(model, tiny.dataset(), out=out, **given)


def test_a_choice_of_ones_own_is_what_a_study_prunes(tmp_path):
    made = chosen_study(tmp_path / "out")
    assert [leaf.path for leaf in made.leaves if leaf.fan_in] == ["Dense_0/kernel"]
    assert [leaf["size"] for leaf in made.config["pruned"]] == [64 * 300]
    assert chosen_study(None).path != chosen_study(None, prunable=None).path
    with pytest.raises(lth_jax.InputError, match="prunable must be None for a Pruner"):
        chosen_study(None, pruner=lth_jax.edge_popup())
    with pytest.raises(lth_jax.InputError, match="ticket_bits must be 0"):
        chosen_study(None, keep_tickets=True, ticket_bits=4)


@pytest.mark.slow
def test_lanes_of_a_choice_keep_of_what_was_chosen_only(tmp_path):
    made = chosen_study(tmp_path, tiny.own_model(), keep_tickets=True)
    result = made.run(["prune", "perturb_then_prune"], [0], eps=[0.03], sparsity=[0.5])
    for row, file in zip(result.rows, result.tickets(), strict=True):
        assert (row["kept"], row["total"]) == (tiny.SIZES[0] // 2, tiny.SIZES[0])
        masks = lth_jax.tickets.load(file).masks
        assert [int(m.sum()) for m in jax.tree.leaves(masks)] == [row["kept"]]


class Heads(nn.Module):
    """A kernel under a name that says nothing, (in, heads, dim), with its bias of two axes."""

    @nn.compact
    def __call__(self, x):
        x = nn.DenseGeneral((2, 4), name="heads")(x.reshape(len(x), -1))
        return nn.DenseGeneral(10, axis=(-2, -1), name="last")(x)


def test_a_pruner_that_goes_by_names_is_warned_of_where_the_model_knows_better(tmp_path):
    model = lth_jax.from_flax(Heads(), np.zeros((1, 8, 8, 1), np.float32))
    given = {"train": tiny.CONFIG, "out": tmp_path / "out"}
    lines = []
    lth_jax.Study(model, tiny.dataset(), lth_jax.edge_popup(), tell=lines.append, **given)
    (line,) = lines
    assert "heads/kernel (64, 2, 4) for a kernel of fan-in 128" in line
    assert "the model knows for one of fan-in 64" in line
    knowing = lth_jax.edge_popup(kernel_axes=model.kernel_axes)
    for pruner in ("edge_popup", knowing):
        study = lth_jax.Study(model, tiny.dataset(), pruner, tell=lines.append, **given)
        fans = {leaf.path: leaf.fan_in for leaf in study.leaves}
        assert fans == {
            "heads/bias": None,
            "heads/kernel": 64,
            "last/bias": None,
            "last/kernel": 8,
        }
    assert len(lines) == 1
