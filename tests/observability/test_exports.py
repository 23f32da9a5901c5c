"""What is exported, Prometheus's own parser and JSON's read."""

import json
import math
import re
import sys
from itertools import pairwise

import pytest

from overdrive.observability import Metrics, PerformanceMonitor
from overdrive.observability.exports import dashboard_file, to_json, to_prometheus
from overdrive.observability.metrics import OVERFLOW

HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
parser = pytest.importorskip("prometheus_client.parser")


def parsed(text):
    """Return {sample name: {labels: value}} and {family: (type, help)}."""
    samples, families = {}, {}
    for family in parser.text_string_to_metric_families(text):
        families[family.name] = (family.type, family.documentation)
        for sample in family.samples:
            labels = frozenset(sample.labels.items())
            values = samples.setdefault(sample.name, {})
            assert labels not in values, "a series is there twice"
            values[labels] = sample.value
    return samples, families


@pytest.fixture
def metrics():
    return Metrics()


def test_counters_and_gauges(metrics):
    metrics.counter("jobs_total", "Jobs done.").inc(3)
    metrics.counter("starts").inc()
    metrics.gauge("depth", "Jobs that wait.").set(-1.5)
    samples, families = parsed(to_prometheus(metrics))
    assert samples["jobs_total"][frozenset()] == 3
    assert samples["starts_total"][frozenset()] == 1
    assert samples["depth"][frozenset()] == -1.5
    assert families["jobs"] == ("counter", "Jobs done.")
    assert families["depth"] == ("gauge", "Jobs that wait.")


def test_buckets_of_a_histogram_are_cumulative_and_exact(metrics):
    histogram = metrics.histogram("job_seconds", bounds=(0.25, 0.5, 1.0))
    for value in (0.25, 0.3, 0.5, 0.7, 5.0):
        histogram.record(value)
    samples, families = parsed(to_prometheus(metrics))
    buckets = {dict(labels)["le"]: value for labels, value in samples["job_seconds_bucket"].items()}
    assert buckets == {"0.25": 1, "0.5": 3, "1.0": 4, "+Inf": 5}
    assert samples["job_seconds_count"][frozenset()] == 5
    assert samples["job_seconds_sum"][frozenset()] == pytest.approx(6.75)
    assert families["job_seconds"][0] == "histogram"


def test_the_buckets_of_seconds_never_shrink(metrics):
    histogram = metrics.histogram("job_seconds")
    for number in range(1, 500):
        histogram.record(number**2 * 1e-5)
    samples, _ = parsed(to_prometheus(metrics))
    buckets = {
        float(dict(labels)["le"]): value for labels, value in samples["job_seconds_bucket"].items()
    }
    counts = [buckets[bound] for bound in sorted(buckets)]
    assert counts == sorted(counts)
    assert counts[-1] == 499


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb", "é{},=", ""])
def test_any_label_survives(metrics, value):
    metrics.counter("jobs_total", 'With \\ and\nnew "lines".', labels=("kind",)).labels(value).inc()
    samples, families = parsed(to_prometheus(metrics))
    assert samples["jobs_total"] == {frozenset({("kind", value)}): 1}
    assert families["jobs"][1] == 'With \\ and\nnew "lines".'


def test_what_overflowed_is_told(metrics):
    family = metrics.counter("jobs_total", labels=("user",), max_series=1)
    for user in ("a", "b", "c"):
        family.labels(user).inc()
    samples, _ = parsed(to_prometheus(metrics))
    assert samples["jobs_total"][frozenset({("user", OVERFLOW)})] == 2
    assert samples["jobs_overflowed_total"][frozenset()] == 2


def test_a_name_is_exported_once(metrics):
    other = Metrics()
    metrics.counter("jobs_total").inc()
    other.counter("jobs_total").inc(5)
    samples, _ = parsed(to_prometheus(metrics, other))
    assert samples["jobs_total"][frozenset()] == 1


def test_nothing_is_an_empty_text(metrics):
    assert parsed(to_prometheus(metrics)) == ({}, {})


def test_a_whole_monitor_is_exported():
    pytest.importorskip("psutil")
    monitor = PerformanceMonitor()
    monitor.add_source("db.main", lambda: {"size": 3})
    with monitor.time_api_request("/agents"), monitor.time_db_query('SELECT "x"'):
        pass
    text = to_prometheus(
        monitor.metrics, current=monitor.get_performance_report()["current_metrics"]
    )
    samples, _ = parsed(text)
    endpoint = frozenset({("endpoint", "/agents")})
    assert samples["overdrive_api_request_seconds_count"][endpoint] == 1
    assert samples["overdrive_db_main_size"][frozenset()] == 3
    assert samples["overdrive_thread_count"][frozenset()] >= 1
    assert "overdrive_gil_contention" not in samples
    samples, families = parsed(monitor.to_prometheus())
    assert families["overdrive_process_cpu_seconds"][0] == "counter"
    assert samples["overdrive_process_cpu_seconds_total"][frozenset()] > 0
    assert samples["overdrive_api_errors_total"][frozenset()] == 0
    assert monitor.to_prometheus().startswith("# HELP overdrive_api_request_seconds")


def test_what_a_monitor_counts_never_shrinks():
    pytest.importorskip("psutil")
    with PerformanceMonitor(gil_interval=0.001) as monitor:
        readings = []
        for _ in range(3):
            with pytest.raises(LookupError), monitor.time_api_request():
                raise LookupError
            samples, families = parsed(monitor.to_prometheus())
            readings.append(
                {
                    name: sum(values.values())
                    for name, values in samples.items()
                    if families.get(name.removesuffix("_total"), ("",))[0] == "counter"
                }
            )
    assert "overdrive_gc_pause_seconds_total" in readings[0]
    for before, after in pairwise(readings):
        assert all(after[name] >= value for name, value in before.items())
    assert readings[2]["overdrive_api_errors_total"] == 3


def test_the_dashboard_shows_what_is_exported():
    pytest.importorskip("psutil")
    dashboard = json.loads(dashboard_file().read_text(encoding="utf-8"))
    with PerformanceMonitor(gil_interval=0.001) as monitor:
        for time in (monitor.time_api_request, monitor.time_db_query, monitor.time_agent_step):
            with time():
                pass
        monitor._lag.record(0.001)
        monitor.sample()
        samples, _ = parsed(monitor.to_prometheus())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = {name for text in expressions for name in re.findall(r"overdrive_\w+", text)}
    only_with_gil = {name for name in used if "_gil_" in name and not HAS_GIL}
    assert len(used) > 10
    assert used - only_with_gil <= set(samples)


def test_the_panels_of_the_dashboard_do_not_overlap():
    dashboard = json.loads(dashboard_file().read_text(encoding="utf-8"))
    cells = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in cells, panel["title"]
                assert x < 24
                cells.add((x, y))
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_a_report_is_json():
    pytest.importorskip("psutil")
    monitor = PerformanceMonitor(thresholds={"memory_usage": {"warning": 0, "critical": 0}})
    monitor.set_thresholds({"memory_usage": {"warning": 0, "critical": 0, "for_seconds": 0}})
    monitor.sample()
    monitor.sample()
    report = json.loads(to_json(monitor.get_performance_report(), indent=2))
    assert report["current_metrics"]["gil_contention"] is None
    assert report["alerts"][0]["metric"] == "memory_usage"


def test_what_json_cannot_say_is_null():
    assert json.loads(to_json({"a": [math.nan, math.inf, (1, None)]})) == {
        "a": [None, None, [1, None]]
    }
