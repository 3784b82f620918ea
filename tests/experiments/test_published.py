"""The published numbers are whole, and known ones stand where they should."""

import numpy as np
import pytest

from experiments import cifar, mnist
from experiments.cli import flags
from experiments.published import presets, tables
from lth_jax.masks import selection
from lth_jax.training import methods


def test_the_published_tables_are_whole():
    paper = tables.paper()
    assert "2210.16589" in paper.source and list(paper.tables) == [1, 2, 3]
    for table in paper.tables.values():
        assert table.method in methods.METHODS
        assert len(table.cells) == 9 * 11
        assert all(0.09 <= value <= 0.98 for value in table.cells.values())


def test_known_cells_stand_where_they_should():
    first, second, third = (table.cells for table in tables.paper().tables.values())
    assert [first[0, s] for s in (0.1, 0.5, 0.8)] == [0.49, 0.85, 0.73]
    assert (first[0.3, 0.8], second[0.3, 0.8], third[0.3, 0.8]) == (0.17, 0.54, 0.98)
    # At ε = 0 and without pruning nothing was done: all three show the same random net.
    assert first[0, 0] == second[0, 0] == third[0, 0] == 0.12
    # Without pruning the order of stages does not matter.
    assert [first[e, 0] for e in (0.01, 0.1)] == [third[e, 0] for e in (0.01, 0.1)]


def test_recipes_of_other_papers_are_theirs():
    def of(study, presets, name):
        (config,) = flags.read([f"--preset={name}"], [study.CONFIG], presets)
        return config, config.train

    for name, batch, decay in (("edge_popup", 128, 1e-4), ("edge_popup_resnet18", 256, 5e-4)):
        config, train = of(cifar, cifar.PRESETS, name)
        assert (train.batch_size, train.microbatch, train.prune_decay) == (batch, 0, decay)
        assert (train.perturb_epochs, train.prune_epochs, train.augment) == (0, 100, True)
        assert (train.prune_lr, train.momentum, train.prune_schedule) == (0.1, 0.9, "cosine")
        assert (config.init, config.method, config.train_size) == ("signed_constant", ("prune",), 0)
    assert config.model == "resnet18" and config.width == 1
    config, train = of(mnist, presets.ANCHORS, "signed_supermask")
    assert (config.pruner, train.prune_epochs, config.init) == ("signed", 100, "signed_constant")
    # LeNet on MNIST keeps 3.77 %, most of it in the last kernel.
    sizes = ((784, 300), (300, 100), (100, 10))
    kept = selection.tree_kept([np.zeros(size) for size in sizes], config.sparsity[0], config.scope)
    assert sum(kept) / 266_200 == pytest.approx(0.0377, abs=1e-4) and kept[2] > 500
    config, train = of(mnist, presets.ANCHORS, "supsup")
    assert train.prune_epochs * train.steps_per_epoch(60_000) == 469 and not config.hold_out
