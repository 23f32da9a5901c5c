"""The tables of `docs/guide/http-caching.md` name tests that exist, and count right."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parent.parent / "docs" / "guide" / "http-caching.md"
pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="needs a checkout: reads the docs")
SECTION = re.compile(r"^## (RFC \d+).*?$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def rows(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_every_test_that_the_page_names_exists():
    sources = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text(encoding="utf-8")))
    assert len(named) > 60
    assert [name for name in sorted(named) if f"def {name}(" not in sources] == []


def test_every_clause_has_a_test_or_a_reason_and_the_counts_are_right():
    text = PAGE.read_text(encoding="utf-8")
    counted = {}
    for name, section in SECTION.findall(text):
        kept = unused = 0
        for clause, asked, shown in rows(section):
            assert clause
            assert asked
            is_reason = shown.startswith("not used: ")
            assert is_reason or re.fullmatch(r"`test_\w+`", shown), shown
            kept += not is_reason
            unused += is_reason
        counted[name] = (kept, unused)
    told = {
        cells[0].split(",")[0]: (int(cells[1]), int(cells[2]))
        for cells in rows(text.split("## ", 1)[0])
    }
    assert told == counted
