"""Reports show all that was measured, the losses first, and the claims as they came out."""

import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser

import made
import pytest

from overdrive.benchmarks import BenchmarkResult, Regression, Results, html, page
from overdrive.benchmarks.claims import CLAIMS, check, losses
from overdrive.benchmarks.figures import amount, times
from overdrive.benchmarks.plots import WIDTH, chart, forest
from overdrive.errors import OptionError


@pytest.fixture(scope="module")
def results():
    return made.results()


def test_every_claim_names_a_comparison_that_there_is(results):
    findings = check(results.benchmarks)
    assert len(findings) == len(CLAIMS)
    for one in findings:
        assert (one.measured is None) == (not one.claim.benchmark)


@pytest.mark.parametrize(
    ("mine", "verdict"),
    [(0.5, "reproduced"), (1.1, "in part"), (4.0, "not reproduced")],
)
def test_a_claim_is_reproduced_only_if_all_of_the_interval_is_beyond_it(mine, verdict):
    findings = {one.claim.claimed: one for one in check(made.results(mine).benchmarks)}
    assert findings["response time -50 to 70 %"].verdict == verdict
    assert findings["processor use from 85 to 65 %"].verdict == "not measured"


def test_claims_whose_benchmark_failed_are_not_made():
    failed = BenchmarkResult(suite="api", name="compression", error="no")
    assert {one.claim.benchmark for one in check([failed])} == {""}


def test_losses_are_all_that_is_worse_for_sure_the_worst_first(results):
    found = losses(results.benchmarks)
    assert len(found) == 19
    assert all(one.over.role == "peer" and one.high < 1 for _, _, one in found)
    ratios = [one.ratio for _, _, one in losses(made.results(3.0).benchmarks)]
    assert ratios == sorted(ratios)


class Checker(HTMLParser):
    """Fails on tags that do not close each other, and keeps addresses."""

    VOID = ("meta", "br", "circle", "line")

    def __init__(self):
        super().__init__()
        self.open, self.addresses = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_report_is_one_file_that_asks_for_no_other(results):
    regression = Regression("api", "compression", "bytes", 1.0, 1.2, 0.001, confirmed=True)
    failed = BenchmarkResult(suite="api", name="broken", error="<script>alert(1)</script>")
    all_of_it = replace(results, benchmarks=(*results.benchmarks, failed))
    text = html.render(all_of_it, [regression])
    checker = Checker()
    checker.feed(text)
    assert checker.open == checker.addresses == []
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    assert "<script>" not in text
    assert "peer <b>" not in text
    assert "peer &lt;b&gt;" in text
    assert regression.message in text
    assert text.count("<svg") == 7 + 1
    for result in results.benchmarks:
        for comparison in result.comparisons:
            assert f"<title>{comparison.what}:" in text
    for claim in CLAIMS:
        assert claim.claimed in text


def test_everything_in_a_plot_is_inside_it(results):
    plot = forest(results.benchmarks)
    for dot in plot.dots:
        assert plot.left <= dot.low <= dot.x <= dot.high <= plot.right
        assert 0 < dot.y < plot.height
    assert plot.left < plot.one < plot.right
    places = [x for x, _ in plot.ticks]
    assert all(b - a >= 40 for a, b in itertools.pairwise(places))
    drawn = chart(results.benchmarks[-2].tables[0] if results.benchmarks[-2].tables else
                  next(t for r in results.benchmarks for t in r.tables))  # fmt: skip
    for line in drawn.lines:
        assert all(0 <= x <= WIDTH and 0 <= y <= drawn.height for x, y, _ in line.dots)
    assert abs(drawn.lines[0].label_y - drawn.lines[1].label_y) >= 16


def test_the_page_opens_with_the_run_then_the_losses_then_the_claims(results):
    text = page.render(results)
    assert text.startswith("Overdrive ")
    assert "$ overdrive bench\n" in text
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert heads == ["Where we lose", "The guide's claims", "By size", "All comparisons"]
    assert all(line.count("|") == 8 for line in text.splitlines() if "reproduced |" in line)


def test_only_what_is_between_the_marks_of_a_page_is_replaced(tmp_path, results):
    path = tmp_path / "page.md"
    path.write_text(f"# Page\n\n{page.BEGIN}\nold\n{page.END}\n\nMethod.\n")
    page.write(path, results)
    once = path.read_text()
    assert once.startswith(f"# Page\n\n{page.BEGIN}\n")
    assert once.endswith(f"{page.END}\n\nMethod.\n")
    assert "old" not in once
    page.write(path, results)
    assert path.read_text() == once


def test_a_page_without_marks_is_left_alone(tmp_path):
    path = tmp_path / "page.md"
    path.write_text("# Page\n")
    with pytest.raises(OptionError, match=r"page\.md has no lines"):
        page.write(path, made.results())
    assert path.read_text() == "# Page\n"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (2.5, "s", "2.5 s"),
        (0.0123, "s", "12.3 ms"),
        (5e-6, "s", "5 us"),
        (3e-10, "s", "0.3 ns"),
        (12345.6, "requests/s", "12,346 requests/s"),
        (1.0, "bytes", "1 bytes"),
    ],
)
def test_figures_are_short(value, unit, text):
    assert amount(value, unit) == text


def test_ratios_are_short_too():
    assert [times(ratio) for ratio in (0.5, 1.234, 99.5, 1234.0)] == [
        "0.50x", "1.23x", "99.50x", "1,234x",
    ]  # fmt: skip


def test_a_report_of_nothing_is_still_one():
    assert "<h1>" in html.render(Results(made.results().environment, ()))
    assert "Nowhere in this run." in page.render(Results(made.results().environment, ()))
