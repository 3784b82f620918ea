"""--keep_tickets: what a run leaves behind is the network that its row is about."""

import json
import pathlib
import re

import numpy as np
import pytest
import small_study

from lth_jax import datasets, tickets


@pytest.mark.slow
@pytest.mark.parametrize("bits", [0, 8])
def test_a_kept_ticket_is_the_network_of_its_row(tmp_path, bits):
    out = tmp_path / "run"
    flags = {"keep_tickets": "true", "ticket_bits": str(bits), "seeds": "1"}
    assert small_study.main(out, **flags) == 0
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert len(rows) == len(list((out / "tickets").iterdir())) == 3
    dataset = datasets.load("digits", train_size=128)
    for row in rows:
        axes = [f"{n}-{row[n]}" for n in ("eps", "sparsity", "seed") if row[n] is not None]
        kept = tickets.load(out / "tickets" / ("_".join([row["method"], *axes]) + ".ticket"))
        assert sum(int(np.sum(m["kernel"])) for m in kept.masks.values()) == row["kept"]
        model, note = tickets.model_of(kept.origin), kept.header["note"]
        x = (dataset.test.images - np.float32(note["mean"])) / np.float32(note["std"])
        logits, _ = model.apply(kept.weights, {}, x, train=False)
        accuracy = np.mean(np.argmax(logits, -1) == dataset.test.labels)
        # Exact weights give the row's very number; 8 bits may turn an image or two of 300.
        assert abs(accuracy - row["test_accuracy"]) <= (0 if bits == 0 else 3 / 300)


@pytest.mark.slow
def test_lanes_that_were_run_without_tickets_are_told(tmp_path, capsys):
    assert small_study.main(tmp_path / "run", seeds="1") == 0
    assert small_study.main(tmp_path / "run", seeds="1", keep_tickets="true") == 0
    assert "3 finished lanes were run without tickets" in capsys.readouterr().err


def test_the_readmes_lines_run_a_kept_ticket_on_raw_pixels(tmp_path):
    assert small_study.main(tmp_path / "run", seeds="1", keep_tickets="true") == 0
    text = (pathlib.Path(__file__).parents[2] / "experiments" / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text[text.index("## Tickets") :], re.DOTALL)
    (line,) = (b for b in blocks if "mean, std" in b)
    dataset = datasets.load("digits", train_size=128)
    images = dataset.test.images
    assert images.max() == 16  # Raw.
    for row in map(json.loads, (tmp_path / "run" / "results.jsonl").read_text().splitlines()):
        axes = [f"{n}-{row[n]}" for n in ("eps", "sparsity", "seed") if row[n] is not None]
        name = "_".join([row["method"], *axes]) + ".ticket"
        loaded = tickets.load(tmp_path / "run" / "tickets" / name)
        names = {"np": np, "loaded": loaded, "images": images}
        names["model"] = tickets.model_of(loaded.origin)
        exec(line, names)
        accuracy = np.mean(np.argmax(names["logits"], -1) == dataset.test.labels)
        assert accuracy == row["test_accuracy"]
