"""Hostile tickets: mutated, or forged with a right check sum; each is read or refused in a line."""

import collections
import hashlib
import json
import pathlib
import random
import sys

import hostile
import numpy as np
import pytest

from lth_jax import errors, tickets
from lth_jax.tickets import origin

TICKETS = pathlib.Path(__file__).parent
VALUES = [None, True, -1, 0, 1, 3, 17, 2**31, 2**63, 10**30, 0.5, 1e308, "", "x", [], {}, [[]], "é"]
VALUES += ["conv8", "lenet", "normal", "construction", [2, 2], [-1], [2**40, 2**40], {"a": {}}]


def places(tree, path=()):
    """All paths into nested JSON."""
    yield path
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for name, value in entries:
        if isinstance(value, dict | list):
            yield from places(value, (*path, name))
        else:
            yield (*path, name)


def sealed(header, payload, length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    length = len(text) if length is None else length
    content = tickets.MAGIC + (length % 2**64).to_bytes(8, "little") + text + payload
    return content + hashlib.sha256(content).digest()


def forged(choose, content):
    """A ticket with a right check sum and something else wrong."""
    start = len(tickets.MAGIC) + 8
    end = start + int.from_bytes(content[start - 8 : start], "little")
    head, payload = content[start:end], content[end:-32]
    kind = choose.randrange(4)
    if kind == 0:
        return sealed(hostile.mutate(choose, head), payload)
    if kind == 1:
        return sealed(json.loads(head), hostile.mutate(choose, payload))
    if kind == 2:
        return sealed(head, payload, choose.choice([0, 1, len(head) - 1, len(head) + 1, -1, 2**63]))
    header = json.loads(head)
    for _ in range(choose.choice([1, 1, 2])):
        path = choose.choice([p for p in places(header) if p])
        place = header
        for step in path[:-1]:
            place = place[step]
        if choose.random() < 0.2:
            del place[path[-1]]
        else:
            place[path[-1]] = choose.choice(VALUES)
    return sealed(header, payload)


def good_tickets(folder):
    """One of each kind: drawn again from a seed with and without moves, embedded with a state."""
    drawn = TICKETS / "uniform.ticket"
    found = tickets.load(drawn)
    state = {"norm": {"mean": np.zeros(4, np.float32)}, "count": np.int32(3)}
    for name, kind in (("embedded", {"embed_weights": True, "state": state}), ("still", {})):
        init = found.origin
        center = (
            found.weights
            if name == "embedded"
            else origin.regenerate(init, {k: {"kernel": True} for k in found.weights})
        )
        tickets.save(folder / name, center, center, found.masks, init, **kind)
    return [drawn.read_bytes(), (folder / "embedded").read_bytes(), (folder / "still").read_bytes()]


def try_tickets(count, seed, sandbox, say):
    choose, counts, bad = random.Random(seed), collections.Counter(), []
    good = good_tickets(sandbox / "data")

    def load(file, out):
        try:
            found = tickets.load(file)
            out.mkdir(parents=True)
            tickets.export(out / "a.safetensors", found.weights)
        except errors.InputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        return 0

    for number in range(count):
        # The check sum finds all of the first kind; the second comes from somebody who knows it.
        blob = choose.choice(good)
        blob = (hostile.mutate if number % 4 == 0 else forged)(choose, blob)
        file, out = sandbox / "data" / f"{number}.ticket", sandbox / "out" / str(number)
        file.write_bytes(blob)
        ended, wrong = hostile.ending(lambda file=file, out=out: load(file, out))
        counts[ended] += 1
        if wrong:
            bad.append((ended, wrong, number, blob[:300]))
        elif ended == "refused" and out.exists():
            bad.append(("touched", None, number, blob[:300]))
    hostile.check(counts, bad, sandbox, say)
    assert counts["success"] and counts["refused"] > count / 2


def test_mutated_tickets_end_in_success_or_one_line(sandbox, say):
    try_tickets(20, 8, sandbox, say)


@pytest.mark.slow
def test_hundreds_of_mutated_tickets_end_in_success_or_one_line(sandbox, say):
    try_tickets(400, 9, sandbox, say)
