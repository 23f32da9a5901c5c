"""The endpoint speaks ASGI, and Prometheus's parser reads what it says."""

import asyncio

import pytest

from overdrive.observability import PerformanceMonitor
from overdrive.observability.endpoint import PrometheusEndpoint

pytest.importorskip("psutil")
parser = pytest.importorskip("prometheus_client.parser")


@pytest.fixture
def monitor():
    return PerformanceMonitor()


def call(app, scope, messages=()):
    sent, queue = [], iter(messages)

    async def receive():
        return next(queue)

    async def send(message):
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def request(app, method):
    start, body = call(app, {"type": "http", "method": method, "path": "/"})
    return start["status"], dict(start["headers"]), body["body"]


def test_it_answers_with_the_metrics(monitor):
    with monitor.time_api_request("/agents"):
        pass
    status, headers, body = request(PrometheusEndpoint(monitor), "GET")
    assert status == 200
    assert headers[b"content-type"].startswith(b"text/plain; version=0.0.4")
    assert int(headers[b"content-length"]) == len(body)
    families = {f.name: f for f in parser.text_string_to_metric_families(body.decode())}
    [count] = [
        sample.value
        for sample in families["overdrive_api_request_seconds"].samples
        if sample.name.endswith("_count") and sample.labels == {"endpoint": "/agents"}
    ]
    assert count == 1


def test_head_has_no_body(monitor):
    status, headers, body = request(PrometheusEndpoint(monitor), "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers[b"content-length"]) > 0


def test_other_methods_are_refused(monitor):
    status, headers, _ = request(PrometheusEndpoint(monitor), "POST")
    assert (status, headers[b"allow"]) == (405, b"GET, HEAD")


def test_it_takes_part_in_the_lifespan(monitor):
    messages = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent = call(PrometheusEndpoint(monitor), {"type": "lifespan"}, messages)
    assert [message["type"] for message in sent] == [
        "lifespan.startup.complete",
        "lifespan.shutdown.complete",
    ]


def test_a_websocket_is_not_answered(monitor):
    with pytest.raises(ValueError, match="only HTTP is answered"):
        call(PrometheusEndpoint(monitor), {"type": "websocket"})
