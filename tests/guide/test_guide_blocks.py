"""The blocks of the guide itself, with `overdrive.` put before their imports, on real services.

The guide is no part of the repository: `OVERDRIVE_GUIDE=/path/to/guide.md pytest tests/guide` names
it. Its blocks are fragments, so that they are given what they use and do not make: the names of
the page's modules, an application, ids of users, a request. Methods whose body is only a comment
get an empty one.
"""

import ast
import asyncio
import gc
import inspect
import os
import re
import threading
from collections import deque
from pathlib import Path
from typing import NamedTuple

import fastapi
import numpy as np
import pytest

from overdrive.agents import optimized_agent_manager
from overdrive.api import performance_middleware
from overdrive.benchmarks import performance_benchmark_suite
from overdrive.database import optimized_db
from overdrive.observability import memory_optimizer, performance_monitor

GUIDE = Path(os.environ["OVERDRIVE_GUIDE"]) if os.environ.get("OVERDRIVE_GUIDE") else None
MODULES = (
    optimized_agent_manager,
    performance_middleware,
    performance_benchmark_suite,
    optimized_db,
    memory_optimizer,
    performance_monitor,
)
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
IMPORT = re.compile(
    r"^(\s*(?:from|import)\s+)(?=(?:agents|api|benchmarks|database|observability)\.)", re.MULTILINE
)


class Block(NamedTuple):
    section: str
    code: str


def blocks(text):
    """Yield the Python blocks of a page with the second-level heading they stand under."""
    heads = [(match.start(), match[1]) for match in re.finditer(r"^## (.*)$", text, re.MULTILINE)]
    for match in FENCE.finditer(text):
        section = [name for start, name in heads if start < match.start()][-1:]
        yield Block("".join(section), match[1])


def runnable(code):
    """Put `overdrive.` before imports, and a body into functions that have none."""
    code = IMPORT.sub(r"\1overdrive.", code)
    while True:
        try:
            return compile(code, "guide", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except IndentationError as error:
            found = re.search(r"after function definition on line (\d+)", str(error))
            if found is None:
                raise
            lines = code.split("\n")
            line = int(found[1])
            indent = len(lines[line - 1]) - len(lines[line - 1].lstrip()) + 4
            lines.insert(line, " " * indent + "pass")
            code = "\n".join(lines)


def names():
    """Return what the blocks use and do not make."""

    async def handler(_):
        return "done"

    scope = {
        "type": "http", "method": "GET", "scheme": "http", "path": "/", "query_string": b"",
        "headers": [(b"host", b"example.org")],
    }  # fmt: skip
    found = {name: getattr(module, name) for module in MODULES for name in module.__all__}
    return found | {
        "app": fastapi.FastAPI(),
        "config": optimized_agent_manager.OptimizationConfig(),
        "deque": deque,
        "handler": handler,
        "np": np,
        "request": fastapi.Request(scope),
        "threading": threading,
        "user_ids": [1, 2],
    }


async def run(page):
    """Run the blocks of a page in order, and return what failed; those of a section share names."""
    section, namespace, failed = None, {}, []
    for number, block in enumerate(page):
        if block.section != section:
            section, namespace = block.section, names()
        try:
            result = eval(runnable(block.code), namespace)  # noqa: S307 - this is what is tested
            if inspect.iscoroutine(result):
                await result
        except Exception as error:  # noqa: BLE001 - all are told
            failed.append(f"block {number} in {section}: {type(error).__name__}: {error}")
        if "manager" in namespace:
            namespace.pop("manager").shutdown()
    await optimized_db.close_optimized_db()
    return failed


@pytest.mark.skipif(GUIDE is None, reason="OVERDRIVE_GUIDE names no guide")
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("tables", "monitor", "optimizer", "quick_benchmarks")
def test_every_block_of_the_guide_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = gc.get_threshold()
    page = list(blocks(GUIDE.read_text(encoding="utf-8")))
    assert page
    try:
        assert asyncio.run(run(page)) == []
    finally:
        gc.set_threshold(*before)


def test_blocks_know_their_sections_and_imports_get_the_package():
    text = "## One\n\n```python\nfrom agents.x import y\n```\n\n## Two\n\n```python\nawait z\n```\n"
    one, two = blocks(text)
    assert (one.section, two.section) == ("One", "Two")
    assert IMPORT.sub(r"\1overdrive.", one.code) == "from overdrive.agents.x import y\n"
    assert runnable(two.code).co_flags & inspect.CO_COROUTINE


def test_functions_of_comments_get_a_body_and_other_mistakes_stay():
    runnable(
        "class A:\n    def one(self):\n        # nothing\n\n    def two(self):\n        # more\n"
    )
    with pytest.raises(SyntaxError):
        runnable("if True:\n# nothing\n")
    with pytest.raises(SyntaxError):
        runnable("x = = 1")
