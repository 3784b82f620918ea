"""The rules of the layout: layers, one importer of matplotlib, no backend at import."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "lth_jax").rglob("*.py"))
EXPERIMENTS = sorted((ROOT / "experiments").rglob("*.py"))


def imports(path):
    """Dotted names of the modules that a file imports, the project's as full module names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = ROOT / node.module.replace(".", "/") / alias.name
                is_module = inner.is_dir() or inner.with_suffix(".py").exists()
                found.add(f"{node.module}.{alias.name}" if is_module else node.module)
    return found


def name_of(path):
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_the_library_imports_in_one_direction():
    graph = {name_of(p): {i for i in imports(p) if i.startswith("lth_jax.")} for p in LIBRARY}
    package = {
        name: name in {name_of(p.parent / "x").rpartition(".")[0] for p in LIBRARY}
        for name in graph
    }
    done, path = set(), []

    def visit(name):
        assert name not in path, f"import cycle: {' -> '.join([*path, name])}"
        if name in done or name not in graph:
            return
        path.append(name)
        for other in graph[name]:
            visit(other)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)
    assert len(done) == len(graph) and package


@pytest.mark.parametrize("path", LIBRARY, ids=name_of)
def test_the_library_neither_prints_nor_reads_the_command_line(path):
    tree = ast.parse(path.read_text())
    calls = {
        n.func.id
        for n in ast.walk(tree)
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    }
    assert "print" not in calls
    assert not imports(path) & {"absl", "absl.flags", "absl.app", "argparse", "experiments"}
    if not path.name.startswith("plots"):
        assert not any(name.startswith("matplotlib") for name in imports(path))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=name_of)
def test_studies_do_not_import_each_other(path):
    others = {i for i in imports(path) if i.startswith("experiments.")}
    assert all(name.startswith("experiments._") for name in others)


@pytest.mark.parametrize("path", LIBRARY + EXPERIMENTS, ids=name_of)
def test_files_are_short_and_say_what_they_are(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text))
    assert path.stem not in ("util", "utils", "helpers", "common", "misc")


def test_importing_the_library_starts_no_backend():
    code = (
        "import lth_jax, lth_jax.sweep, jax._src.xla_bridge as bridge\n"
        "assert not bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=120)
