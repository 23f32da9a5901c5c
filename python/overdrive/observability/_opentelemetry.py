"""The one place that touches OpenTelemetry."""

from collections.abc import Callable, Iterable

from overdrive._core import Histogram, HistogramSnapshot
from overdrive.errors import missing_extra
from overdrive.observability.metrics import Metric, Metrics

try:
    from opentelemetry.metrics import CallbackOptions, Meter, Observation, get_meter
except ImportError as error:
    raise missing_extra("opentelemetry-api", "observability") from error

__all__ = ["observe"]

QUANTILES = (0.5, 0.9, 0.99, 0.999)

_Callback = Callable[[CallbackOptions], Iterable[Observation]]


def observe(metrics: Metrics, meter: Meter | None = None) -> None:
    """Do what `overdrive.observability.to_opentelemetry` says."""
    meter = get_meter("overdrive") if meter is None else meter
    for metric in metrics:
        if metric.kind == "histogram":
            _observe_histogram(metric, meter)
        elif metric.kind == "counter":
            meter.create_observable_counter(
                metric.name, [_values(metric)], description=metric.description
            )
        else:
            meter.create_observable_gauge(
                metric.name, [_values(metric)], description=metric.description
            )


def _values(metric: Metric) -> _Callback:
    def read(_: CallbackOptions) -> Iterable[Observation]:
        for labels, instrument in metric.series():
            if not isinstance(instrument, Histogram):
                yield Observation(instrument.value, labels)

    return read


def _observe_histogram(metric: Metric, meter: Meter) -> None:
    def count(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(snapshot.count, labels) for labels, snapshot in _snapshots(metric)]

    def total(_: CallbackOptions) -> Iterable[Observation]:
        return [Observation(snapshot.sum, labels) for labels, snapshot in _snapshots(metric)]

    def quantiles(_: CallbackOptions) -> Iterable[Observation]:
        for labels, snapshot in _snapshots(metric):
            yield from _quantiles(labels, snapshot)

    name, description = metric.name, metric.description
    meter.create_observable_counter(f"{name}.count", [count], description=description)
    meter.create_observable_counter(f"{name}.sum", [total], description=description)
    meter.create_observable_gauge(f"{name}.quantile", [quantiles], description=description)


def _snapshots(metric: Metric) -> Iterable[tuple[dict[str, str], HistogramSnapshot]]:
    for labels, instrument in metric.series():
        if isinstance(instrument, Histogram):
            yield labels, instrument.snapshot()


def _quantiles(labels: dict[str, str], snapshot: HistogramSnapshot) -> Iterable[Observation]:
    for share in QUANTILES:
        value = snapshot.quantile(share)
        if value is not None:
            yield Observation(value, {**labels, "quantile": str(share)})
