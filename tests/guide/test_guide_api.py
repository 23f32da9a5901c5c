"""The guide's API: the middleware in a FastAPI application, and the deduplicator."""

import asyncio

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from overdrive.api.performance_middleware import (
    CacheConfig,
    CompressionConfig,
    PerformanceConfig,
    PerformanceMiddleware,
    RequestDeduplicator,
    setup_performance_middleware,
)


def answers(app):
    @app.get("/api/v1/agents")
    async def agents():
        return [{"id": i, "beliefs": [0.5] * 10} for i in range(100)]

    with TestClient(app) as client:
        return [client.get("/api/v1/agents") for _ in range(2)]


@pytest.mark.parametrize("monitoring", [{}, {"monitoring_enabled": True}])
def test_the_middleware_caches_and_compresses(monitoring):
    config = PerformanceConfig(
        caching_enabled=True, compression_enabled=True, deduplication_enabled=True, **monitoring
    )
    app = FastAPI()
    app.add_middleware(PerformanceMiddleware, config=config)
    first, second = answers(app)
    assert first.json() == second.json()
    assert "age" in second.headers
    assert first.headers["content-encoding"]


def test_the_cache_takes_a_size_and_times_to_live_by_endpoint():
    cache_config = CacheConfig(
        max_size=1000, default_ttl=300, endpoint_ttl={"/api/v1/agents": 60, "/api/v1/status": 30}
    )
    app = FastAPI()
    app.add_middleware(PerformanceMiddleware, config=PerformanceConfig(cache_config=cache_config))
    assert "age" in answers(app)[1].headers


def test_compression_takes_a_least_size_algorithms_and_a_level():
    compression_config = CompressionConfig(
        min_size=1024, algorithms=["gzip", "deflate", "br"], compression_level=6
    )
    app = FastAPI()
    config = PerformanceConfig(compression_config=compression_config)
    app.add_middleware(PerformanceMiddleware, config=config)
    assert answers(app)[0].headers["content-encoding"] in {"gzip", "deflate", "br"}


async def test_identical_requests_share_one_result():
    calls = []

    async def handler(request):
        calls.append(request)
        await asyncio.sleep(0)
        return "done"

    scope = {
        "type": "http", "method": "GET", "scheme": "http", "path": "/", "query_string": b"",
        "headers": [(b"host", b"example.org")],
    }  # fmt: skip
    deduplicator = RequestDeduplicator(window_seconds=10)
    results = await asyncio.gather(
        *(deduplicator.deduplicate_request(Request(scope), handler) for _ in range(5))
    )
    assert results == ["done"] * 5
    assert len(calls) == 1


def test_an_endpoint_may_show_the_statistics_of_the_middleware():
    app = FastAPI()
    middleware = setup_performance_middleware(app)

    @app.get("/performance/stats")
    async def get_performance_stats():
        return middleware.get_statistics()

    answers(app)
    with TestClient(app) as client:
        assert client.get("/performance/stats").json()["requests"]
