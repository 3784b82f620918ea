"""The published numbers are whole, and known ones stand where they should."""

from experiments.published import tables
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
