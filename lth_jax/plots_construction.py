"""Plots of the construction study."""

import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib import figure


def over_parameterization(
    rows: Sequence[dict], proved: Sequence[dict], delta: float, path: str | pathlib.Path
) -> None:
    """Candidates per target weight over ε against the proved width, and how near the network is.

    Args:
        rows: The objects of construction.json.
        proved: {"eps", "n"}: what suffices for all weights at once.
        delta: With what probability that may fail.
        path: Of the PNG.
    """
    canvas = figure.Figure(figsize=(10, 4))
    left, right = canvas.subplots(1, 2)
    epsilons = sorted({row["eps"] for row in rows})
    smallest = min((eps for eps in epsilons if eps > 0), default=1.0)

    def line(axes, name, style, label):
        values = [[row[name] for row in rows if row["eps"] == eps] for eps in epsilons]
        axes.plot(epsilons, [np.mean(v) for v in values], style, label=label)

    halves = rows[0]["halves"]
    left.plot(
        [p["eps"] for p in proved],
        [halves * p["n"] for p in proved],
        "v--",
        label=f"suffices, δ = {delta:g}",
    )
    line(left, "over_parameterization", "o-", "needed here, mean over weights")
    left.set(ylabel="candidates per target weight", xlabel="ε", ylim=(0, None))
    line(right, "certificate", "v--", "certified")
    line(right, "largest_error_found", "o-", "largest found")
    line(right, "largest_error_on_data", "^:", "largest on test images")
    line(right, "largest_logit", "k-", "largest logit of the target")
    right.set(ylabel="|f − g|", xlabel="ε", yscale="log")
    for axes in (left, right):
        axes.set_xscale("symlog", linthresh=smallest)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", loc="upper right")
    canvas.tight_layout()
    canvas.savefig(path, dpi=130)
