"""OpenTelemetry's own SDK reads what the recorders have."""

import pytest

from overdrive.observability import Metrics, to_opentelemetry

sdk = pytest.importorskip("opentelemetry.sdk.metrics")


@pytest.fixture
def reader():
    return pytest.importorskip("opentelemetry.sdk.metrics.export").InMemoryMetricReader()


@pytest.fixture
def meter(reader):
    provider = sdk.MeterProvider([reader])
    yield provider.get_meter("test")
    provider.shutdown()


def read(reader):
    """Return {name: {attributes: value}}."""
    [resource] = reader.get_metrics_data().resource_metrics
    [scope] = resource.scope_metrics
    return {
        metric.name: {
            frozenset(point.attributes.items()): point.value for point in metric.data.data_points
        }
        for metric in scope.metrics
    }


def test_it_reads_counters_gauges_and_histograms(reader, meter):
    metrics = Metrics()
    jobs = metrics.counter("jobs_total", "Jobs done.", labels=("kind",))
    depth = metrics.gauge("depth")
    seconds = metrics.histogram("job_seconds")
    to_opentelemetry(metrics, meter)
    jobs.labels("fast").inc(3)
    depth.set(7)
    for _ in range(99):
        seconds.record(0.5)
    seconds.record(8)
    found = read(reader)
    assert found["jobs_total"] == {frozenset({("kind", "fast")}): 3}
    assert found["depth"] == {frozenset(): 7}
    assert found["job_seconds.count"] == {frozenset(): 100}
    assert found["job_seconds.sum"][frozenset()] == pytest.approx(57.5)
    quantiles = {
        dict(labels)["quantile"]: value for labels, value in found["job_seconds.quantile"].items()
    }
    assert quantiles["0.5"] == pytest.approx(0.5, rel=1 / 64)
    assert quantiles["0.999"] == pytest.approx(8, rel=1 / 64)


def test_counters_stay_cumulative(reader, meter):
    metrics = Metrics()
    jobs = metrics.counter("jobs_total")
    to_opentelemetry(metrics, meter)
    for expected in (1, 2):
        jobs.inc()
        assert read(reader)["jobs_total"] == {frozenset(): expected}


def test_an_empty_histogram_has_no_quantiles(reader, meter):
    metrics = Metrics()
    metrics.histogram("job_seconds")
    to_opentelemetry(metrics, meter)
    assert not read(reader).get("job_seconds.quantile")
