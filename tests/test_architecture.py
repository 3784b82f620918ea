"""The rules of the layout: what stands where, what imports what, and how long a function may be."""

import ast
import functools
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "lth_jax").rglob("*.py"))
EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.py"))
# A part of the library imports only from those above it.
ORDER = (
    *(
        "errors",
        "files",
        "numerics",
        "names",
        "perturb",
        "masks",
        "pruners",
        "models",
        "datasets",
        "training",
        "sweep",
    ),
    *("runs", "theory", "tickets", "report", "study"),
)
GRAB_BAGS = ("util", "utils", "helper", "helpers", "common", "misc", "shared", "stuff", "tools")


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@functools.cache
def tree(path):
    return ast.parse(path.read_text())


@functools.cache
def imports(path):
    """Dotted names of the modules that a file imports, the project's as full module names."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports relative to itself"
            for alias in node.names:
                inner = ROOT / node.module.replace(".", "/") / alias.name
                is_module = inner.is_dir() or inner.with_suffix(".py").exists()
                found.add(f"{node.module}.{alias.name}" if is_module else node.module)
    return found


def of_project(path, package):
    return {name for name in imports(path) if name.split(".")[0] == package}


def part_of(name):
    """The part of the library that a module belongs to: perturb for lth_jax.perturb.ball."""
    return (name.split(".") + [""])[1]


def test_every_part_of_the_library_has_its_place():
    files = {p.stem for p in (ROOT / "lth_jax").glob("*.py")}
    folders = {name_of(p).split(".")[1] for p in LIBRARY if p.parent != ROOT / "lth_jax"}
    assert files <= {"__init__", "errors", "files", "names", "numerics", "study"}
    assert folders <= set(ORDER) - files and files - {"__init__"} <= set(ORDER)
    assert {"errors", "files", "numerics"} <= files and len(folders) >= 10


@pytest.mark.parametrize(
    "path",
    [p for p in LIBRARY if p.parent != ROOT / "lth_jax" or p.stem != "__init__"],
    ids=name_of,
)
def test_a_part_imports_only_what_stands_above_it(path):
    own = part_of(name_of(path))
    above = ORDER[: ORDER.index(own)]
    for name in of_project(path, "lth_jax"):
        # "" is the package itself, whose names are for users.
        assert part_of(name) in (*above, own), f"{own} stands above {name}"


def test_no_imports_go_in_a_circle():
    graph = {name_of(p): of_project(p, "lth_jax") for p in LIBRARY}
    done, path = set(), []

    def visit(name):
        assert name not in path, f"import cycle: {' -> '.join([*path, name])}"
        if name in done:
            return
        path.append(name)
        for other in graph[name]:
            visit(other)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)
    assert done == set(graph)


THEORY = [p for p in LIBRARY if part_of(name_of(p)) == "theory"]


@pytest.mark.parametrize("path", THEORY, ids=name_of)
def test_theory_knows_nothing_of_training(path):
    parts = {part_of(name) for name in of_project(path, "lth_jax")}
    assert not parts & {"training", "sweep", "runs"}


def test_no_folder_is_crowded():
    folders = {path.parent for path in LIBRARY + EXPERIMENTS}
    for folder in folders:
        modules = [p for p in folder.glob("*.py") if p.stem != "__init__"]
        assert len(modules) <= 12, folder


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_the_library_neither_prints_nor_reads_the_command_line(path):
    nodes = list(ast.walk(tree(path)))
    names = {n.id for n in nodes if isinstance(n, ast.Name)}
    attributes = {n.attr for n in nodes if isinstance(n, ast.Attribute)}
    assert not names & {"print", "input"}
    assert "argv" not in attributes
    packages = {name.split(".")[0] for name in imports(path)}
    assert not packages & {"absl", "argparse", "experiments"}


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_the_librarys_errors_name_values_and_never_flags(path):
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Raise):
            said = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant)]
            assert not any(re.search(r"--[a-z]", x) for x in said if isinstance(x, str)), said


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_only_plots_need_matplotlib_and_never_its_global_state(path):
    nodes = ast.walk(tree(path))
    named = [n for n in nodes if isinstance(n, ast.Import | ast.ImportFrom)]
    assert not any("pyplot" in alias.name for node in named for alias in node.names)
    if not (part_of(name_of(path)) == "report" and path.stem.startswith("plots")):
        assert not any(name.split(".")[0] == "matplotlib" for name in imports(path))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_of)
def test_studies_stand_alone(path):
    folder = path.parent.relative_to(ROOT / "experiments").as_posix()
    for part in ("/accelerator", "/construction"):  # Of the benchmark, of the command line.
        folder = folder.removesuffix(part)
    assert folder in (".", "aot", "cli", "benchmark", "finders", "planted", "published")
    assert not path.stem.startswith("_") or path.stem in ("__init__", "__main__")
    # A study may use the command line's package; that uses itself alone. What was
    # published is for all studies; the benchmark counts a program's bytes as aot does.
    may = {".": ("cli", "published"), "cli": ("cli",), "benchmark": ("cli", folder, "aot")}
    may = may.get(folder, ("cli", folder))
    for name in of_project(path, "experiments"):
        assert part_of(name) in may, f"{name_of(path)} imports {name}"


@pytest.mark.parametrize("path", LIBRARY + EXPERIMENTS, ids=name_of)
def test_files_say_what_they_are(path):
    assert ast.get_docstring(tree(path))


def test_no_name_is_a_grab_bag():
    for path in LIBRARY + EXPERIMENTS + sorted((ROOT / "tests").rglob("*.py")):
        parts = set(path.relative_to(ROOT).with_suffix("").parts)
        assert not {part.strip("_") for part in parts} & set(GRAB_BAGS), path


def lines_of(function):
    """Its lines from `def` on, without the docstring's."""
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


@pytest.mark.parametrize("path", LIBRARY + EXPERIMENTS, ids=name_of)
def test_a_function_fits_a_screen(path):
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    functions = [n for n in ast.walk(tree(path)) if isinstance(n, kinds)]
    long = {f.name: lines_of(f) for f in functions if lines_of(f) > 60}
    assert not long


def test_importing_the_library_starts_no_backend():
    modules = ", ".join(name_of(path) for path in LIBRARY)
    code = (
        f"import {modules}, jax._src.xla_bridge as bridge\n"
        "assert not bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)
