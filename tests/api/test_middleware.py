"""The guide's names on FastAPI and Starlette."""

import asyncio
import logging
import subprocess
import sys

import httpx2 as httpx
import pytest
from fastapi import FastAPI, HTTPException, WebSocket
from fastapi.responses import FileResponse, StreamingResponse
from fastapi.testclient import TestClient
from harness import Origin, ask, run, scope_of
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from overdrive.api import operators_router
from overdrive.api.performance_middleware import (
    CacheConfig,
    CompressionConfig,
    PerformanceConfig,
    PerformanceMiddleware,
    RequestDeduplicator,
    setup_performance_middleware,
)

KEYS = {
    "requests": {"total", "errors", "active", "average_ms", "p50_ms", "p95_ms", "p99_ms"},
    "cache": {
        "hits", "misses", "stale_hits", "revalidations", "bypasses", "hit_rate", "stores",
        "evictions", "purged", "entries", "size_bytes", "max_bytes", "faults",
        "shared_hits", "shared_errors",
    },
    "compression": {"responses", "bytes_in", "bytes_out", "bytes_saved", "ratio"},
    "deduplication": {"leaders", "deduplicated", "released"},
}  # fmt: skip


def client_of(app):
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://example.org")


def make_app():
    app = FastAPI()
    app.calls = 0

    @app.get("/agents")
    async def agents():
        app.calls += 1
        return [{"id": number, "call": app.calls} for number in range(100)]

    @app.get("/fails")
    async def fails():
        raise RuntimeError("broken")

    @app.get("/missing")
    async def missing():
        raise HTTPException(404)

    @app.get("/stream")
    async def stream():
        async def lines():
            for number in range(3):
                yield f"{number}\n"

        return StreamingResponse(lines(), media_type="text/plain")

    @app.websocket("/socket")
    async def socket(websocket: WebSocket):
        await websocket.accept()
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    return app


def test_the_guides_setup_returns_the_middleware_that_serves():
    app = make_app()
    middleware = setup_performance_middleware(app)

    @app.get("/performance/stats")
    async def get_performance_stats():
        return middleware.get_statistics()

    async def scenario():
        async with client_of(app) as client:
            first, second = [await client.get("/agents") for _ in range(2)]
            stats = [(await client.get("/performance/stats")).json() for _ in range(2)]
        assert first.json() == second.json()
        assert app.calls == 1
        assert second.headers["cache-status"].startswith("Overdrive; hit")
        assert {part: set(values) for part, values in stats[0].items()} == KEYS
        assert stats[0]["cache"]["hits"] == 1
        assert stats[0]["cache"]["misses"] == 1
        # Statistics themselves are not cached.
        assert stats[1]["requests"]["total"] == stats[0]["requests"]["total"] + 1
        assert stats[1]["requests"]["active"] == 1

    run(scenario())


def test_the_guides_other_way_adds_the_class():
    app = make_app()
    config = PerformanceConfig(
        caching_enabled=True, compression_enabled=True, deduplication_enabled=True
    )
    app.add_middleware(PerformanceMiddleware, config=config)

    async def scenario():
        async with client_of(app) as client:
            replies = await asyncio.gather(*(client.get("/agents") for _ in range(20)))
            assert len({reply.text for reply in replies}) == 1
        assert app.calls == 1

    run(scenario())


def test_the_guides_configurations():
    cache_config = CacheConfig(
        max_size=1000,
        default_ttl=300,
        endpoint_ttl={"/api/v1/agents": 60, "/api/v1/status": 30},
    )
    compression_config = CompressionConfig(
        min_size=1024, algorithms=["gzip", "deflate", "br"], compression_level=6
    )
    config = PerformanceConfig(
        monitoring_enabled=True, cache_config=cache_config, compression_config=compression_config
    )
    app = PerformanceMiddleware(Origin(b"x" * 5000), config)
    reply = run(ask(app, "/api/v1/agents", headers={"accept-encoding": "br, gzip"}))
    assert reply["content-encoding"] == "gzip"
    hits = {
        path: run(ask(app, path)) and run(ask(app, path)).outcome
        for path in ("/api/v1/agents", "/api/v1/status", "/other")
    }
    assert hits == {
        "/api/v1/agents": "hit; ttl=60",
        "/api/v1/status": "hit; ttl=30",
        "/other": "hit; ttl=300",
    }


def test_the_guides_deduplicator():
    async def scenario():
        app = make_app()
        deduplicator = RequestDeduplicator(window_seconds=10)

        async def handler(request):
            app.calls += 1
            return app.calls

        request = Request(scope_of("/"))
        assert await deduplicator.deduplicate_request(request, handler) == 1
        assert await deduplicator.deduplicate_request(request, handler) == 1

    run(scenario())


def test_starlette_works_the_same():
    calls = []

    async def home(request):
        calls.append(request)
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/", home)])
    middleware = setup_performance_middleware(app)
    client = TestClient(app)
    with client:
        assert client.get("/").text == client.get("/").text == "hello"
        assert client.head("/").headers["content-length"] == "5"
    assert len(calls) == 1
    assert middleware.get_statistics()["cache"]["hits"] == 2


def test_a_test_client_may_start_and_end_the_application_again_and_again():
    app = make_app()
    setup_performance_middleware(app)
    for _ in range(3):
        with TestClient(app) as client:
            assert client.get("/agents").status_code == 200


def test_websockets_and_streams_work():
    app = make_app()
    setup_performance_middleware(app)
    with TestClient(app) as client:
        with client.websocket_connect("/socket") as socket:
            socket.send_text("hello")
            assert socket.receive_text() == "hello"
        for _ in range(2):
            assert client.get("/stream").text == "0\n1\n2\n"


def test_files_are_served_whole_in_part_and_conditionally(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"0123456789" * 300)
    app = FastAPI()

    @app.get("/file")
    async def file():
        return FileResponse(path)

    setup_performance_middleware(app)
    with TestClient(app) as client:
        for _ in range(2):
            whole = client.get("/file")
            assert whole.content == path.read_bytes()
            part = client.get("/file", headers={"range": "bytes=10-14"})
            assert (part.status_code, part.content) == (206, b"01234")
            same = client.get("/file", headers={"if-none-match": whole.headers["etag"]})
            assert same.status_code == 304
        assert whole.headers["cache-status"].startswith("Overdrive; hit")


def test_failures_are_raised_and_counted():
    app = make_app()
    middleware = setup_performance_middleware(app)
    client = TestClient(app, raise_server_exceptions=False)
    assert client.get("/fails").status_code == 500
    assert client.get("/missing").status_code == 404
    assert client.get("/missing").status_code == 404
    stats = middleware.get_statistics()
    assert stats["requests"]["errors"] == 1
    assert stats["requests"]["active"] == 0
    assert stats["cache"]["entries"] == 0


def test_every_part_can_be_switched_off():
    for names in (
        {"caching_enabled"},
        {"compression_enabled"},
        {"deduplication_enabled"},
        {"monitoring_enabled"},
        {"caching_enabled", "deduplication_enabled"},
        {"caching_enabled", "compression_enabled", "deduplication_enabled", "monitoring_enabled"},
    ):
        origin = Origin(b"x" * 5000)
        app = PerformanceMiddleware(origin, PerformanceConfig(**dict.fromkeys(names, False)))
        for _ in range(2):
            reply = run(ask(app, headers={"accept-encoding": "gzip"}))
        assert origin.count == (2 if "caching_enabled" in names else 1)
        assert ("content-encoding" in reply) == ("compression_enabled" not in names)
        assert ("x-response-time" in reply) == ("monitoring_enabled" not in names)
        assert ("server-timing" in reply) == ("monitoring_enabled" not in names)


def test_times_are_told_and_percentiles_kept():
    app = PerformanceMiddleware(Origin())
    for _ in range(50):
        reply = run(ask(app))
        assert reply["x-response-time"].endswith("ms")
        assert float(reply["x-response-time"].removesuffix("ms")) > 0
    assert reply["server-timing"].startswith("cache;desc=hit;dur=")
    requests = app.stats().requests
    assert requests.total == 50
    assert 0 < requests.p50_ms <= requests.p95_ms <= requests.p99_ms
    assert requests.average_ms > 0


def test_a_fault_of_the_cache_is_survived_logged_and_counted(caplog, monkeypatch):
    def broken(*_, **__):
        raise ZeroDivisionError

    targets = [
        ("_reader", "read_plain"),
        ("_reader", "read"),
        ("store", "get"),
        ("store", "put"),
    ]
    for owner, name in targets:
        app = PerformanceMiddleware(Origin(b"x" * 5000))
        cache = app._cache
        target = getattr(cache, owner)
        if name == "get":
            cache._lookup = broken
        elif owner == "store":
            monkeypatch.setattr(type(target), name, broken)
        else:
            monkeypatch.setattr(type(target), name, broken)
        with caplog.at_level(logging.WARNING, "overdrive.api.performance_middleware"):
            for headers in ({}, {"cache-control": "no-cache"}, {"accept-encoding": "gzip"}):
                assert run(ask(app, headers=headers)).status == 200
        monkeypatch.undo()
        assert app.get_statistics()["cache"]["faults"] > 0, name
    assert "ZeroDivisionError" in caplog.text


# Purging and warming


def test_cached_responses_can_be_forgotten_by_path_pattern_and_tag():
    async def scenario():
        origin = Origin(headers=lambda scope: {"cache-tag": f"agents, id-{scope['path'][-1]}"})
        app = PerformanceMiddleware(origin)
        paths = ["/agents/1", "/agents/2", "/other/3"]

        async def stored():
            before = origin.count
            replies = [await ask(app, path) for path in paths]
            assert all("cache-tag" not in reply for reply in replies)
            return 3 - (origin.count - before)

        await stored()
        for arguments, options, left in (
            ((), {"path": "/agents/1"}, 2),
            (("/agents/*",), {}, 1),
            ((), {"tag": "id-3"}, 2),
            ((), {"tag": "agents"}, 0),
            ((), {"tag": "unknown"}, 3),
            ((), {}, 0),
        ):
            assert await stored() >= 0
            assert await app.invalidate_cache(*arguments, **options) == 3 - left
            assert await stored() == left
        with pytest.raises(ValueError, match="give one of pattern, path and tag"):
            await app.invalidate_cache("/a", tag="b")

    run(scenario())


def test_warming_asks_the_application_itself():
    app = make_app()

    @app.get("/state")
    async def state(request: Request):
        return {"title": request.app.title}

    middleware = setup_performance_middleware(app)
    with TestClient(app, base_url="https://example.org") as client:
        paths = ["/agents", "/agents?page=2", "/missing"]
        warmed = client.portal.call(
            lambda: middleware.warm_cache(
                paths, base_url="https://example.org", headers=[("Accept-Encoding", "br")]
            )
        )
        assert warmed == 2
        reply = client.get("/agents?page=2", headers={"accept-encoding": "br"})
        assert reply.headers["cache-status"].startswith("Overdrive; hit")
        assert app.calls == 2


# The operators' router


def test_the_routers_paths_are_only_for_whom_the_dependency_lets_in():
    app = make_app()
    middleware = setup_performance_middleware(app)

    async def check(key: str = ""):
        if key != "secret":
            raise HTTPException(403)

    app.include_router(operators_router(middleware, dependency=check))
    client = TestClient(app)
    client.get("/agents")
    for method, path in (("GET", "/stats"), ("GET", "/health"), ("POST", "/purge")):
        assert client.request(method, f"/performance{path}").status_code == 403
        assert client.request(method, f"/performance{path}?key=wrong").status_code == 403
    secret = {"key": "secret"}
    stats = client.get("/performance/stats", params=secret)
    assert stats.json()["cache"]["entries"] == 1
    assert stats.headers["cache-control"] == "no-store"
    assert client.get("/performance/health", params=secret).json()["status"] == "ok"
    assert client.post("/performance/purge", params=secret).status_code == 422
    two = {**secret, "path": "/a", "everything": True}
    assert client.post("/performance/purge", params=two).status_code == 422
    purge = client.post("/performance/purge", params={**secret, "path": "/agents"})
    assert purge.json() == {"purged": 1}
    assert client.post("/performance/purge", params={**secret, "everything": True}).json() == {
        "purged": 0
    }


def test_there_is_no_router_without_a_dependency():
    middleware = PerformanceMiddleware(Origin())
    with pytest.raises(TypeError, match="dependency"):
        operators_router(middleware)
    with pytest.raises(TypeError, match="got None"):
        operators_router(middleware, dependency=None)
    assert TestClient(make_app()).get("/performance/stats").status_code == 404


# Misuse


def test_misuse_is_told():
    with pytest.raises(TypeError, match="got function"):
        setup_performance_middleware(lambda: None)
    app = FastAPI()
    TestClient(app).get("/")
    with pytest.raises(RuntimeError, match="after an application has started"):
        setup_performance_middleware(app)
    middleware = setup_performance_middleware(FastAPI())
    with pytest.raises(RuntimeError, match="has not started"):
        run(ask(middleware))


@pytest.mark.parametrize(
    "options",
    [
        {"max_size": 0},
        {"max_bytes": 0},
        {"default_ttl": -1},
        {"max_body_bytes": -1},
        {"max_variants": 0},
    ],
)
def test_senseless_cache_options_are_refused_with_their_value(options):
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=f"{name} must be at least .*, got {value}"):
        CacheConfig(**options)
    with pytest.raises(ValueError, match="endpoint_ttl of '/a' must be at least 0, got -1"):
        CacheConfig(endpoint_ttl={"/a": -1})


@pytest.mark.parametrize("option", ["deduplication_window", "max_followers"])
def test_senseless_options_are_refused_with_their_value(option):
    with pytest.raises(ValueError, match=f"{option} must be at least 0, got -1"):
        PerformanceConfig(**{option: -1})


def test_a_coding_whose_package_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.delitem(sys.modules, "overdrive.api._brotli", raising=False)
    with pytest.raises(
        ImportError, match=r'brotli is not installed; run: pip install "overdrive\[api\]"'
    ):
        PerformanceMiddleware(
            Origin(), PerformanceConfig(compression_config=CompressionConfig(algorithms=["br"]))
        )
    # What is not asked for is not missed.
    reply = run(
        ask(PerformanceMiddleware(Origin(b"x" * 2000)), headers={"accept-encoding": "br, gzip"})
    )
    assert reply["content-encoding"] == "gzip"
    monkeypatch.undo()
    sys.modules.pop("overdrive.api._brotli", None)


def test_importing_the_package_loads_nothing_third_party():
    code = (
        "import sys, overdrive.api; "
        "print({'fastapi', 'starlette', 'brotli', 'zstandard', 'redis'} & {*sys.modules})"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout == "set()\n"
