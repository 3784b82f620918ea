"""Which rows the five hypotheses compare, and that only validation chooses them."""

import pytest

from lth_jax.report import hypotheses


def row(method, eps, sparsity, seed, val, test, diverged=None):
    return {
        "method": method,
        "eps": eps,
        "sparsity": sparsity,
        "seed": seed,
        "val_accuracy": None if diverged else val,
        "test_accuracy": None if diverged else test,
        "diverged": diverged,
    }


def grid(change=None):
    """Two eps and two sparsities; validation prefers 0.2 and 0.5, the test split 0.1 and 0.9."""
    rows = []
    for seed in (100, 101):
        for s in (0.5, 0.9):
            rows += [
                row("prune", None, s, seed, 0.5, 0.5),
                row("prune_longer", None, s, seed, 0, 0.6),
            ]
            for eps in (0.1, 0.2):
                val = 0.7 + (eps == 0.2) * 0.01 + (s == 0.5) * 0.1
                test = 0.7 + (eps == 0.1) * 0.05 + (s == 0.9) * 0.1
                rows.append(row("perturb_then_prune", eps, s, seed, val, test))
                rows.append(row("random_then_prune", eps, s, seed, 1 - eps, 0.5 + eps))
                rows.append(row("prune_then_perturb", eps, s, seed, 1 - eps, 0.6 + eps))
                rows.append(row("joint", eps, s, seed, 1 - eps, 0.8 + eps))
                rows.append(row("random_mask_then_perturb", eps, s, seed, eps, 0.5 + eps))
    return [change(r) if change else r for r in rows]


def test_validation_chooses_and_the_test_split_is_compared():
    h1, h2, h3, h4, h5 = hypotheses.of_rows(grid())
    named = "perturb_then_prune(ε = 0.2, s = 0.5)"
    ((name, values),) = h1.parts.items()
    assert name == f"{named} − prune(s = 0.5)"
    assert values == pytest.approx([0.2, 0.2])  # 0.7 - 0.5
    assert list(h2.parts) == [f"{named} − random_then_prune(ε = 0.2, s = 0.5)"]
    assert list(h2.parts.values())[0] == pytest.approx([0, 0])
    assert list(h3.parts.values())[0] == pytest.approx([0.1, 0.1])
    joint = "joint(ε = 0.1, s = 0.5)"
    assert list(h4.parts) == [
        f"{joint} − prune_longer(s = 0.5)",
        f"{joint} − {named}",
        f"{joint} − prune_then_perturb(ε = 0.1, s = 0.5)",
    ]
    assert [v[0] for v in h4.parts.values()] == pytest.approx([0.3, 0.2, 0.2])
    # The ball alone gains 0.2 of joint's 0.4: just half.
    assert list(h5.parts.values())[0] == pytest.approx([0, 0])


def test_what_the_test_split_says_chooses_nothing():
    def shuffled(r):
        return r | {"test_accuracy": hash((r["method"], r["eps"], r["seed"])) % 97 / 97}

    names = [list(h.parts) for h in hypotheses.of_rows(grid())]
    assert [list(h.parts) for h in hypotheses.of_rows(grid(shuffled))] == names


def test_a_run_that_diverged_takes_its_pair_with_it():
    def lost(r):
        gone = r["method"] == "prune_longer" and r["seed"] == 101
        return row(*list(r.values())[:4], 0, 0, diverged=3) if gone else r

    h1, _, h3, h4, _ = hypotheses.of_rows(grid(lost))
    assert len(list(h1.parts.values())[0]) == 2 and len(list(h3.parts.values())[0]) == 1
    assert [len(v) for v in h4.parts.values()] == [1, 2, 2]


def test_what_is_missing_is_named():
    for method, said in (
        ("joint", "rows of joint with eps > 0 at sparsity 0.5"),
        ("prune_longer", r"rows of prune_longer\(s = 0.5\), got none"),
    ):
        rows = [r for r in grid() if r["method"] != method]
        with pytest.raises(ValueError, match=said):
            hypotheses.of_rows(rows)
