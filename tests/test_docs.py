"""Every Python block of README, CONTRIBUTING and the docs runs as it stands."""

import re
import sys
import tempfile
import types
from pathlib import Path
from typing import NamedTuple

import pytest

from overdrive.errors import MissingExtraError

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"))
    if path.exists()
)
FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL
)
NOT_RUN = {"console", "json", "text", "toml", "yaml", "sql", "rust"}

pytestmark = pytest.mark.timeout(120)


class Block(NamedTuple):
    language: str
    code: str
    line: int


def blocks(text):
    """Yield the fenced blocks of a page, with the lines they start after."""
    for match in FENCE.finditer(text):
        indent = len(match["indent"])
        code = "\n".join(line[indent:] for line in match["code"].split("\n"))
        yield Block(match["info"].strip(), code, text.count("\n", 0, match.start("code")))


def run(page, monkeypatch):
    """Run the Python blocks of a page in order, in one namespace."""
    module = types.ModuleType(page.stem)
    monkeypatch.setitem(sys.modules, page.stem, module)
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "python":
            # Lines are counted from the top of the page, so that a traceback shows where.
            code = compile("\n" * block.line + block.code, str(page), "exec")
            exec(code, module.__dict__)  # noqa: S102 - this is what is tested


def page_name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.skipif(not PAGES, reason="needs a checkout: an installed package has no pages")
def test_there_are_pages_to_run():
    assert {"README.md", "docs/tutorial.md"} <= set(map(page_name, PAGES))


@pytest.mark.skipif(not PAGES, reason="needs a checkout: an installed package has no pages")
def test_the_navigation_has_every_page_of_the_docs():
    listed = re.findall(
        r"^ *- (?:.*: )?(\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE
    )
    there = [path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")]
    assert sorted(listed) == sorted(there)


@pytest.fixture
def page_directory(open_directory):
    """An empty directory in which the page's server may keep its data, whoever runs the tests."""
    with tempfile.TemporaryDirectory(dir=open_directory, ignore_cleanup_errors=True) as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_the_blocks_of_a_page_run(page, page_directory, monkeypatch):
    monkeypatch.chdir(page_directory)
    try:
        run(page, monkeypatch)
    except MissingExtraError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_block_says_what_it_is(page):
    text = page.read_text(encoding="utf-8")
    found = list(blocks(text))
    assert len(found) * 2 == len(re.findall(r"^ *```", text, re.MULTILINE))
    for block in found:
        assert block.language in NOT_RUN | {"python"}, f"{page.name}:{block.line}"


def test_a_broken_block_fails_with_its_line(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nx = 1\n```\n\nText.\n\n```python\n\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as caught:
        run(page, monkeypatch)
    last = caught.traceback[-1]
    assert (str(last.path), last.lineno + 1) == (str(page), 11)


def test_an_indented_block_runs_too(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("!!! note\n\n    ```python\n    if True:\n        raise KeyError(1)\n    ```\n")
    with pytest.raises(KeyError):
        run(page, monkeypatch)


def test_blocks_of_other_languages_are_left_alone(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("```console\n$ make test\n```\n")
    run(page, monkeypatch)
