"""Metrics for others: the text that Prometheus reads, OpenTelemetry, and JSON."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from overdrive._core import Histogram
from overdrive.observability.metrics import Metric, Metrics

__all__ = ["CONTENT_TYPE", "dashboard_file", "to_json", "to_opentelemetry", "to_prometheus"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
"""The type of what `to_prometheus` returns, for the header of a response."""

_PREFIX = "overdrive_"
_INVALID = re.compile(r"[^a-zA-Z0-9_:]")


def to_prometheus(
    *sources: Metrics,
    current: Mapping[str, float] | None = None,
    totals: Mapping[str, float] | None = None,
) -> str:
    """Return metrics in the text format of Prometheus, version 0.0.4.

    Args:
        sources: The metrics. Of a name that several of them have, the first counts.
        current: Figures of the moment, such as `current_metrics`, exported as gauges. Those that
            are not known are left out.
        totals: Figures that only grow, exported as counters; their names end in `_total`.
    """
    lines: list[str] = []
    seen: set[str] = set()
    for metric in (metric for source in sources for metric in source):
        if metric.name not in seen:
            seen.add(metric.name)
            lines.extend(_metric(metric))
    for kind, figures in (("counter", totals or {}), ("gauge", current or {})):
        for name, value in figures.items():
            full = _PREFIX + _INVALID.sub("_", name)
            if full not in seen and not math.isnan(value):
                seen.add(full)
                lines += [f"# TYPE {full} {kind}", f"{full} {_number(value)}"]
    return "\n".join([*lines, ""])


def _metric(metric: Metric) -> Iterator[str]:
    name = metric.name
    if metric.kind == "counter" and not name.endswith("_total"):
        name += "_total"
    if metric.description:
        yield f"# HELP {name} {_escaped(metric.description)}"
    yield f"# TYPE {name} {metric.kind}"
    for labels, instrument in metric.series():
        if isinstance(instrument, Histogram):
            yield from _histogram(name, labels, instrument, metric.bounds)
        else:
            yield f"{name}{_labels(labels)} {_number(instrument.value)}"
    if metric.family is not None and metric.family.overflowed.value:
        lost = f"{name.removesuffix('_total')}_overflowed_total"
        yield f"# TYPE {lost} counter"
        yield f"{lost} {_number(metric.family.overflowed.value)}"


def _histogram(
    name: str, labels: Mapping[str, str], histogram: Histogram, bounds: Iterable[float]
) -> Iterator[str]:
    snapshot = histogram.snapshot()
    for bound in sorted(bounds):
        count = snapshot.at_most(bound)
        yield f"{name}_bucket{_labels({**labels, 'le': _number(bound)})} {count}"
    yield f"{name}_bucket{_labels({**labels, 'le': '+Inf'})} {snapshot.count}"
    yield f"{name}_sum{_labels(labels)} {_number(snapshot.sum)}"
    yield f"{name}_count{_labels(labels)} {snapshot.count}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_quoted(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', '\\"')


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return "NaN" if math.isnan(value) else repr(float(value))


def dashboard_file() -> Path:
    """Return the file with a dashboard of Grafana, to be imported there, for what is exported."""
    return Path(__file__).with_name("grafana.json")


def to_opentelemetry(metrics: Metrics, meter: Any = None) -> None:
    """Have the metrics that there are now read through a meter of OpenTelemetry.

    Counters and gauges become observable ones. Observable histograms do not exist there, so that a
    histogram becomes the counters `NAME.count` and `NAME.sum`, and the gauge `NAME.quantile`, whose
    attribute `quantile` says which.

    Args:
        metrics: The metrics.
        meter: The meter; by default one named `overdrive` of the global provider.

    Raises:
        MissingExtraError: If opentelemetry-api is not installed.
    """
    from overdrive.observability._opentelemetry import observe  # noqa: PLC0415 - optional

    observe(metrics, meter)


def to_json(report: Mapping[str, Any], *, indent: int | None = None) -> str:
    """Return a report as JSON. What is not known becomes `null`."""
    return json.dumps(_plain(report), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
