"""The study of the paper's baseline, from the committed rows."""

import pathlib

import numpy as np
from scipy import stats

from experiments import cli, mnist, paper_baseline
from experiments.cli import flags
from experiments.published import presets
from lth_jax.report import confirmatory
from lth_jax.runs import archive

README = pathlib.Path(paper_baseline.__file__).with_name("README.md")


def config_of(preset):
    (config,) = flags.read([f"--preset={preset}"], [mnist.CONFIG], presets.PRESETS)
    return config, config.train


def test_the_presets_are_what_the_help_says():
    config, train = config_of("paper_code")
    assert (config.model, config.init, config.hold_out, config.seed) == (
        "redundant",
        "uniform",
        False,
        1,
    )
    assert train.steps_per_epoch(60_000) == 938 and train.skip_at_zero
    assert (train.schedule_per, train.project_per) == ("epoch", "epoch")
    assert (train.shared_shift, train.shift_share) == (True, 0.5)
    assert (train.perturb_epochs, train.perturb_schedule) == (100, "step")  # A tenth from 50 on.
    plain, text = config_of("paper")
    assert (text.project_per, text.schedule_per) == ("step", "step")
    assert (text.shared_shift, text.shift_share, text.last_batch) == (False, 1, False)
    assert not plain.hold_out and text.prune_decay == text.perturb_decay == 5e-4
    config, train = config_of("fair")
    assert (config.model, config.init, train.eps_unit) == ("lenet", "kaiming_normal", "std")
    assert config.hold_out and train.project_per == "step" and not train.shared_shift
    assert {"joint", "prune", "prune_longer", "random_mask_then_perturb"} < set(config.method)
    assert (len(config.eps), len(config.sparsity), len(config.method)) == (5, 3, 7)
    assert (config.seed, config.seeds) == (100, 12)


def test_every_line_of_the_table_stands_in_the_readme():
    rows = paper_baseline.load(paper_baseline.HERE / "results")
    text = README.read_text()
    for line in [*paper_baseline.table(rows), *paper_baseline.gains(rows)]:
        assert line in text, line


def joined(values, form):
    *first, last = (form.format(value) for value in values)
    return f"{', '.join(first)} and {last}"


def test_the_text_tells_what_the_rows_have():
    text = " ".join(README.read_text().split())
    found = paper_baseline.cells(paper_baseline.load(paper_baseline.HERE / "results"))
    wide = [found[1.0, 5e-4, "prune", None, sparsity][0] for sparsity in (0.1, 0.5, 0.8)]
    narrow = sorted(found[0.2, 5e-4, "prune", None, 0.5], key=lambda row: row["seed"])
    for rows in (wide, narrow):
        curves = 100 * np.asarray([row["test_curve"] for row in rows])
        low = curves.argmin(1)
        best = [curve[: min(end, 3)].max() for curve, end in zip(curves, low, strict=True)]
        assert (
            f"{joined(best, '{:.1f}')} % within three epochs, "
            f"falls to {joined(curves.min(1), '{:.1f}')} (epochs {joined(low + 1, '{}')}), "
            f"stands at {joined(curves[:, -2], '{:.1f}')} before the last epoch and "
            f"ends at {joined(curves[:, -1], '{:.1f}')}"
        ) in text
    median, mean, step = (
        np.mean([row[f"{name}_curve"] for row in narrow], 0)
        for name in ("score_median", "score_mean", "step_change")
    )
    assert f"falls by a factor of e^−{np.log(median[0] / median[1]):.2f} an epoch" in text
    assert f"ends at {median[-1]:.1e}" in text
    assert (
        f"({mean[0]:.3f} after the first epoch, {mean[4]:.3f} after the fifth, "
        f"{mean[-1]:.3f} in the end)"
    ) in text
    first, middle, last = 100 * step[[0, 19, -1]]
    assert f"{first:.2f} % of the mask in the first, {middle:.2f} % in the 20th" in text
    assert f"{last:.2f} % in the last" in text
    costs = {}
    for s in (0.1, 0.5, 0.8):
        mine, theirs = (
            {row["seed"]: 100 * row["test_accuracy"] for row in found[0.2, decay, "prune", None, s]}
            for decay in (0, 5e-4)
        )
        costs[str(s)] = [mine[seed] - theirs[seed] for seed in sorted(mine)]
    held = confirmatory.simultaneous(costs).values()
    assert joined([f"{cost.mean:.1f} ± {cost.half:.1f}" for cost in held], "{}") in text


def test_the_front_page_tells_the_gains_of_the_rows():
    _, _, *lines, _ = paper_baseline.gains(paper_baseline.load(paper_baseline.HERE / "results"))
    told = [
        [cell.strip().replace("+", "").replace("-", "−") for cell in line.split("|")]
        for line in lines
    ]
    first, last = ([line[at] for line in told] for at in (6, 8))
    text = (README.parents[1] / "README.md").read_text()
    assert f"gains {joined(last, '{}')}: hardly" in text.replace(" points", "")
    assert f"`perturb_then_prune` {joined(first, '{}')}: no gain" in text
    page = " ".join(README.read_text().split())
    assert f"gains {told[0][7]} points at ε = .01 and {last[0]} at .1" in page


def test_gains_are_paired_by_seed_and_their_intervals_hold_together():
    rows = paper_baseline.load(paper_baseline.HERE / "results")
    row = next(row for row in rows if row["method"] == "prune" and row["sparsity"] == 0.5)
    accuracy = {
        ("prune", None): (0.80, 0.82, 0.90, 0.99),
        ("perturb_then_prune", 0.01): (0.81, 0.84, 0.93, None),
        ("perturb_then_prune", 0.1): (0.83, 0.86, 0.95),
        ("prune_then_perturb", 0.1): (0.85,),
    }
    made = [
        row
        | {"method": method, "eps": eps, "seed": seed, "test_accuracy": value}
        | {"diverged": None if value else 9}
        for (method, eps), values in accuracy.items()
        for seed, value in enumerate(values)
    ]
    *_, ours, published = paper_baseline.gains(reversed(made))
    half = stats.t.ppf(1 - 0.05 / 2 / 2, 2) / 3**0.5  # of three in steps of 1 point; two intervals
    assert ours.endswith(f"| +2.0 ± {half:.1f} | +4.0 ± {half:.1f} | +5.0 |")
    assert published.endswith("| 85 | +4 | +5 | +11 |")


def test_archives_name_their_commands_and_a_clean_commit():
    files = sorted((paper_baseline.HERE / "results").glob(f"*{archive.SUFFIX}"))
    assert files
    for file in files:
        commands, config, rows = archive.load(file)
        assert rows and commands and all(c.startswith("python -m experiments.") for c in commands)
        for row in rows:
            assert row["git"] and "dirty" not in row["git"]
        assert config["device"] and config["jax"]


def test_a_picture_is_drawn_and_what_is_missing_is_told(tmp_path, capsys):
    argv = [f"--picture={tmp_path / 'x.png'}", "--nocompile_cache"]
    run, config = paper_baseline.run, paper_baseline.Config()
    assert cli.main(run, config, "", argv) == 0
    assert (tmp_path / "x.png").stat().st_size > 10_000
    assert cli.main(run, config, "", [*argv, f"--results={tmp_path}"]) == 2
    assert capsys.readouterr().err.startswith("error: --results: no archives")


def test_runs_that_diverged_are_counted_and_not_averaged():
    row = paper_baseline.load(paper_baseline.HERE / "results")[0]
    lost = row | {"diverged": 9, "test_accuracy": None}
    assert "(+1 diverged)" in paper_baseline.table([row, lost])[2]
    assert "0 (+1 diverged)" in paper_baseline.table([lost])[2]
    assert paper_baseline.picture([row, lost]).axes
