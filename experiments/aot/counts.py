"""What a compiled program does, counted in the text that XLA prints of it.

A program is computations; one is called by another as a loop's body, a branch or a fusion. Counted
is one step of the training loop: loops of known length count as often as they run, of a conditional
the branch that costs least (an epoch's end and the search for ties are the others), and loops whose
length only the data say are counted apart, once per pass. Where lanes are mapped, a step of the
block is one step of each.
"""

import math
import re
from collections.abc import Iterator
from typing import NamedTuple

_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2}
_BYTES |= {"s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
_COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
# What costs nothing by itself, or is counted by what it calls.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional"}
_FREE |= {"call", "after-all", "partition-id", "replica-id", "opt-barrier", "domain"}
_ALL = 2**62
_HEAD = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$")
_LINE = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_SHAPE = re.compile(r"\b(pred|[su]\d+|bf16|f\d+)\[([\d,]*)\]")


class Instruction(NamedTuple):
    """A line of a computation."""

    name: str
    operation: str
    size: int  # bytes of its result
    operands: tuple[str, ...]
    cycles: int  # that XLA expects; 0 where it does not say
    called: dict[str, tuple[str, ...]]  # computations, by their part
    trips: int | None  # of a loop whose length its line says
    value: int | None  # of a constant, or a parameter's place
    fused: str | None  # the computation of a fusion


class Counts(NamedTuple):
    """One step of the training loop, and what the whole program has."""

    cycles: int | None  # of a step, None where the compiler expects none
    search_cycles: int | None  # of one pass of each loop of unknown length within a step
    bytes: int  # that a step's kernels read and write
    kernels: int  # launched in a step
    dynamic_loops: int  # within a step
    collectives: int  # in the whole program


def of(text: str, mapped: int | None = None, around: int = 1) -> Counts:
    """Counts a program.

    Args:
        text: From `compiled.as_text()`.
        mapped: Lanes that a device runs one after the other, more than one; None where they step
            together.
        around: Loops around that of the steps: one of lanes or of epochs, none of a mapped lane.

    Returns:
        The counts of its training loop, the one of most instructions, or of all of it where there
        is no loop.

    Raises:
        ValueError: If it is not the text of a program.
    """
    program = dict(_computations(text))
    collectives = sum(
        i.operation.removesuffix("-start") in _COLLECTIVES for c in program.values() for i in c
    )
    found = re.search(r"^ENTRY %?([\w.\-]+)", text, re.MULTILINE)
    if found is None:
        raise ValueError("expected the text of a program, got none with an ENTRY.")
    body = found[1]
    for _ in range(1 + around):
        body = max(_loops(program, body), key=lambda name: _length(program, name), default=body)
    step = _Cost().plus(_cost(program, body), mapped or 1)
    says = any(i.cycles for c in program.values() for i in c)
    cycles = (step.cycles, step.search_cycles) if says else (None, None)
    return Counts(*cycles, step.bytes, step.kernels, step.loops, collectives)


def _loops(program: dict[str, list["Instruction"]], name: str) -> Iterator[str]:
    """The bodies of a computation's own loops, and of those of what it calls by name."""
    for each in program[name]:
        if each.operation == "while":
            yield each.called["body"][0]
        elif each.operation == "call":
            yield from _loops(program, each.called["calls"][0])


def _length(program: dict[str, list["Instruction"]], name: str) -> int:
    """Instructions of a computation and of all that it calls, fusions aside."""
    called = [c for each in program[name] for names in each.called.values() for c in names]
    return len(program[name]) + sum(_length(program, c) for c in called)


class _Cost(NamedTuple):
    cycles: int = 0
    bytes: int = 0
    kernels: int = 0
    search_cycles: int = 0
    loops: int = 0

    def plus(self, other: "_Cost", times: int = 1) -> "_Cost":
        return _Cost(*(a + times * b for a, b in zip(self, other, strict=True)))


def _cost(program: dict[str, list[Instruction]], name: str) -> _Cost:
    total = _Cost()
    sizes = {i.name: i.size for i in program[name]}
    for each in program[name]:
        inner = {part: [_cost(program, c) for c in names] for part, names in each.called.items()}
        if each.operation == "while":
            body, condition = inner["body"][0], inner["condition"][0]
            trips = each.trips or _limit(program[each.called["condition"][0]])
            if trips is None:
                once = body.plus(condition)
                search = once.cycles + once.search_cycles
                total = total.plus(_Cost(search_cycles=search, loops=1 + once.loops))
            else:
                total = total.plus(body.plus(condition), trips)
        elif each.operation == "conditional":
            total = total.plus(min(inner["branches"]))
        elif each.operation == "call":
            total = total.plus(inner["calls"][0])
        elif each.operation not in _FREE:
            total = total.plus(_Cost(each.cycles, _moved(program, each, sizes), 1))
    return total


def _moved(program: dict[str, list[Instruction]], each: Instruction, sizes: dict[str, int]) -> int:
    """Bytes read and written; where rows of an array are taken or replaced, only those."""
    read = [sizes.get(operand, 0) for operand in each.operands]
    if each.fused is None:
        places = {name: [(each, place)] for place, name in enumerate(each.operands)}
        return _written(each, sizes) + sum(
            min(_read_of(places, name), size)
            for name, size in zip(each.operands, read, strict=True)
        )
    body = program[each.fused]
    inner = {i.name: i for i in body}
    places = {}
    for user in body:
        for place, name in enumerate(user.operands):
            places.setdefault(name, []).append((user, place))
    taken = {i.value: _read_of(places, i.name) for i in body if i.operation == "parameter"}
    root = body[-1]
    ends = [inner[name] for name in root.operands] if root.operation == "tuple" else [root]
    own = {name: i.size for name, i in inner.items()}
    while any(end.operation == "bitcast" for end in ends):
        ends = [inner[e.operands[0]] if e.operation == "bitcast" else e for e in ends]
    return sum(min(taken.get(n, size), size) for n, size in enumerate(read)) + sum(
        _written(end, own) for end in ends
    )


def _read_of(places: dict[str, list[tuple[Instruction, int]]], name: str) -> int:
    """Bytes of an array that its users read, without a limit if one of them reads all of it."""
    total = 0
    for user, place in places.get(name, []):
        if user.operation == "bitcast":
            total += _read_of(places, user.name)
        elif place or user.operation not in ("dynamic-slice", "gather", "dynamic-update-slice"):
            return _ALL
        elif user.operation != "dynamic-update-slice":
            total += user.size
    return total


def _written(each: Instruction, sizes: dict[str, int]) -> int:
    replaced = each.operation == "dynamic-update-slice"
    return sizes.get(each.operands[1], 0) if replaced else each.size


def _limit(condition: list[Instruction]) -> int | None:
    """The number that a loop's counter is compared with; a loop over lanes begins at 0."""
    values = {i.name: i.value for i in condition if i.operation == "constant"}
    compared = [i for i in condition if i.operation == "compare"][-1:]
    return next((v for i in compared for o in i.operands if (v := values.get(o))), None)


def _computations(text: str) -> Iterator[tuple[str, list[Instruction]]]:
    name, lines = "", []
    for line in text.splitlines():
        if head := _HEAD.match(line):
            name, lines = head[1], []
        elif line.startswith("}") and name:
            yield name, lines
            name = ""
        elif name and (found := _LINE.match(line)):
            lines.append(_instruction(found[1], found[2]))


def _instruction(name: str, rest: str) -> Instruction:
    shape, after = _split_shape(rest)
    operation, _, arguments = after.partition("(")
    size = sum(
        _BYTES.get(kind, 4) * math.prod(int(n) for n in dimensions.split(",") if n)
        for kind, dimensions in _SHAPE.findall(shape)
    )
    operands = tuple(re.findall(r"%([\w.\-]+)", arguments.partition(")")[0]))
    called = {
        part: tuple(re.findall(r"[\w.\-]+", names))
        for part, names in (
            ("body", _named("body", arguments)),
            ("condition", _named("condition", arguments)),
            ("calls", _named("to_apply", arguments) if operation == "call" else ""),
            ("branches", _branches(arguments)),
        )
        if names
    }
    value = arguments.partition(")")[0]
    cycles = re.search(r'"estimated_cycles":"(\d+)"', arguments)
    trips = re.search(r'"known_trip_count":\{"n":"(\d+)"', arguments)
    return Instruction(
        name,
        operation,
        size,
        operands,
        int(cycles[1]) if cycles else 0,
        called,
        int(trips[1]) if trips else None,
        int(value) if operation in ("constant", "parameter") and value.isdigit() else None,
        _named("calls", arguments) or None if operation == "fusion" else None,
    )


def _named(part: str, text: str) -> str:
    found = re.search(rf"\b{part}=%?([\w.\-]+)", text)
    return found[1] if found else ""


def _branches(text: str) -> str:
    if several := re.search(r"branch_computations=\{([^}]*)\}", text):
        return several[1]
    return f"{_named('true_computation', text)} {_named('false_computation', text)}".strip()


def _split_shape(rest: str) -> tuple[str, str]:
    """The shape that a line begins with, and what follows it."""
    if not rest.startswith("("):
        shape, _, after = rest.partition(" ")
        return shape, after
    depth = 0
    for place, letter in enumerate(rest):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return rest[: place + 1], rest[place + 2 :]
    return rest, ""
