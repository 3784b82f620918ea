"""How far a weight may move: the ε-ball, rounding to a known side, moves of a few bits."""
