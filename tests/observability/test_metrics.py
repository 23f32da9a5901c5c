"""Counters, gauges and histograms, and the names and families they are kept in."""

import math
import os
import threading

import pytest

from overdrive.observability import Counter, Gauge, Histogram, HistogramSnapshot, Metrics
from overdrive.observability.metrics import OVERFLOW

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


def on_threads(count, function):
    start = threading.Barrier(count)

    def run():
        start.wait()
        function()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_counter_counts_on_many_threads():
    counter = Counter()
    on_threads(4, lambda: [counter.inc() for _ in range(20_000)])
    counter.inc(0.5)
    assert counter.value == 80_000.5


@pytest.mark.parametrize("amount", [-1, -0.5, math.nan])
def test_a_counter_does_not_shrink(amount):
    counter = Counter()
    with pytest.raises(ValueError, match="only grows"):
        counter.inc(amount)
    assert counter.value == 0


def test_a_gauge_goes_up_and_down_on_many_threads():
    gauge = Gauge()
    gauge.set(10)

    def change():
        for _ in range(5000):
            gauge.inc(2)
            gauge.dec()

    on_threads(4, change)
    assert gauge.value == 20_010


def test_a_histogram_knows_the_quantiles_to_within_a_64th():
    histogram = Histogram()
    for value in range(1, 1001):
        histogram.record(value / 1000)
    snapshot = histogram.snapshot()
    assert snapshot.count == 1000
    assert snapshot.sum == pytest.approx(500.5)
    assert (snapshot.minimum, snapshot.maximum) == (0.001, 1.0)
    for share in (0.5, 0.9, 0.99, 0.999, 1.0):
        assert snapshot.quantile(share) == pytest.approx(share, rel=1 / 64)


def test_an_empty_snapshot_has_no_quantile():
    snapshot = HistogramSnapshot()
    assert snapshot.quantile(0.5) is None
    assert (snapshot.count, snapshot.minimum, snapshot.maximum) == (0, None, None)


def test_snapshots_are_merged_and_subtracted():
    left, right = Histogram(), Histogram()
    left.record(1)
    right.record(4)
    merged = left.snapshot() + right.snapshot()
    assert (merged.count, merged.sum, merged.maximum) == (2, 5.0, 4.0)
    assert (merged - left.snapshot()).buckets() == right.snapshot().buckets()


def test_buckets_include_their_upper_bounds():
    histogram = Histogram()
    histogram.record(0.5)
    assert histogram.snapshot().buckets() == [(0.5, 1)]
    assert histogram.snapshot().at_most(0.5) == 1


def test_what_is_not_finite_is_rejected_and_counted():
    histogram = Histogram()
    for value in (math.nan, math.inf, -math.inf):
        histogram.record(value)
    assert (histogram.snapshot().count, histogram.snapshot().rejected) == (0, 3)


def test_a_histogram_records_on_many_threads():
    histogram = Histogram()
    on_threads(4, lambda: [histogram.record(1) for _ in range(10_000)])
    assert histogram.snapshot().buckets() == [(1.0, 40_000)]


def test_a_timed_block_is_recorded_once():
    histogram = Histogram()
    with histogram.time() as timing:
        pass
    snapshot = histogram.snapshot()
    assert snapshot.count == 1
    assert snapshot.sum == pytest.approx(timing.seconds)
    assert timing.seconds >= 0


def test_a_block_that_raises_is_recorded_and_counted_as_an_error():
    histogram = Histogram()
    with pytest.raises(KeyError), histogram.time():
        raise KeyError
    assert (histogram.snapshot().count, histogram.errors) == (1, 1)


def test_blocks_nest():
    histogram = Histogram()
    with histogram.time(), histogram.time():
        pass
    assert histogram.snapshot().count == 2


def test_the_tail_tells_the_waiting_of_the_longest():
    histogram = Histogram()
    for _ in range(99):
        histogram.record(0.001)
    histogram.record(1.0, waited=0.75)
    count, mean, collecting, waited = histogram.snapshot().tail(0.999)
    assert (count, mean, collecting, waited) == (1, 1.0, 0.0, 0.75)


def test_a_name_is_one_metric():
    metrics = Metrics()
    assert metrics.counter("jobs_total") is metrics.counter("jobs_total")
    family = metrics.gauge("depth", labels=("queue",))
    assert metrics.gauge("depth", labels=("queue",)) is family


def test_a_name_is_not_two_things():
    metrics = Metrics()
    metrics.counter("jobs_total")
    with pytest.raises(ValueError, match="jobs_total is a counter"):
        metrics.gauge("jobs_total")
    with pytest.raises(ValueError, match="jobs_total is a counter"):
        metrics.counter("jobs_total", labels=("kind",))


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a b", "é"])
def test_a_name_that_exports_cannot_hold_is_refused(name):
    with pytest.raises(ValueError, match="not a name of a metric"):
        Metrics().counter(name)
    with pytest.raises(ValueError, match="not a name of a label"):
        Metrics().counter("fine", labels=(name,))


def test_a_family_tells_labels_apart():
    family = Metrics().counter("requests_total", labels=("method", "status"))
    family.labels("GET", "200").inc()
    family.labels("GET", "200").inc()
    family.labels("GET", "500").inc()
    values = {tuple(labels.values()): metric.value for labels, metric in family.series()}
    assert values == {("GET", "200"): 2, ("GET", "500"): 1}
    assert family.labels("GET", 200) is family.labels("GET", "200")


def test_a_family_wants_a_value_for_each_label():
    family = Metrics().counter("requests_total", labels=("method",))
    with pytest.raises(ValueError, match="labels are"):
        family.labels("GET", "200")


def test_a_full_family_counts_the_rest_together_and_says_so():
    family = Metrics().counter("requests_total", labels=("user",), max_series=2)
    for user in ("a", "b", "c", "d", "a", "c"):
        family.labels(user).inc()
    values = {labels["user"]: metric.value for labels, metric in family.series()}
    assert values == {"a": 2, "b": 1, OVERFLOW: 3}
    assert family.overflowed.value == 3


def test_many_threads_make_one_series_of_a_label():
    family = Metrics().counter("requests_total", labels=("user",), max_series=5)
    on_threads(4, lambda: [family.labels(str(i % 5)).inc() for i in range(5000)])
    assert [metric.value for _, metric in family.series()] == [4000] * 5
    assert family.overflowed.value == 0


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_begins_at_zero_and_its_parent_goes_on():
    metrics = Metrics()
    counter = metrics.counter("jobs_total")
    histogram = metrics.histogram("job_seconds", labels=("kind",)).labels("x")
    counter.inc()
    histogram.record(1)
    child = os.fork()
    if child == 0:
        began = (counter.value, histogram.snapshot().count) == (0, 0)
        counter.inc()
        os._exit(0 if began and counter.value == 1 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (counter.value, histogram.snapshot().count) == (1, 1)
