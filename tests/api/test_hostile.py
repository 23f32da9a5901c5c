"""Clients that mean harm: memory stays within its bounds and others are served."""

import asyncio
import gc
import gzip
import tracemalloc

import pytest
from harness import Origin, ask, run, scope_of
from hypothesis import given, settings
from hypothesis import strategies as st

from overdrive.api import (
    CacheConfig,
    CompressionConfig,
    PerformanceConfig,
    PerformanceMiddleware,
    ResponseCacheMiddleware,
)
from overdrive.api.memory import MemoryStore

MEGABYTE = 2**20


def grown(work):
    """Return what work has left in memory, in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        kept = work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0], kept
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("size", [0, 100, 5_000, 100_000])
def test_memory_stays_within_the_configured_bytes_under_cache_busting(size):
    limit = MEGABYTE
    origin = Origin(b"")

    def fill():
        cache = ResponseCacheMiddleware(origin, CacheConfig(max_bytes=limit, max_size=10**6))

        async def bust():
            for number in range(4 * limit // (size + 1500)):
                # A body of its own for every answer, as an application makes them.
                origin.body = bytes(size)
                await ask(cache, query=f"bust={number}")
            origin.requests.clear()

        run(bust())
        assert cache.stats().size_bytes <= limit
        assert cache.stats().evictions > 0
        return cache

    taken, cache = grown(fill)
    assert taken < 1.1 * limit + 300_000, f"{taken:,} bytes for {len(cache.store)} entries"


def test_variants_that_vary_by_whatever_a_client_sends_are_bounded():
    origin = Origin(b"x" * 1000, headers={"vary": "user-agent"})
    cache = ResponseCacheMiddleware(origin, CacheConfig(max_variants=8))

    async def vary():
        for number in range(500):
            await ask(cache, headers={"user-agent": f"evil {number}"})
            await ask(cache, headers={"x-made-up": f"evil {number}"})

    run(vary())
    stats = cache.stats()
    assert stats.entries == 1
    assert stats.size_bytes < 8 * 6000


def test_entries_are_bounded_too():
    cache = ResponseCacheMiddleware(Origin(), CacheConfig(max_size=10))
    for number in range(50):
        run(ask(cache, f"/{number}"))
    assert cache.stats().entries == 10
    assert len(cache.store.paths()) == 10
    assert run(ask(cache, "/49")).is_hit


def test_bodies_that_are_too_long_pass_without_being_kept():
    async def scenario():
        held = 0
        most = 0

        async def endless(scope, receive, send):
            nonlocal held, most
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(100):
                await send({"type": "http.response.body", "body": bytes(10_000), "more_body": True})
                most = max(most, tracemalloc.get_traced_memory()[0])
            await send({"type": "http.response.body", "body": b""})

        app = PerformanceMiddleware(
            endless, PerformanceConfig(cache_config=CacheConfig(max_body_bytes=50_000))
        )

        async def send(_):
            pass

        tracemalloc.start()
        await app(scope_of(), None, send)
        tracemalloc.stop()
        assert most < 300_000
        assert app.stats().cache.entries == 0

    run(scenario())


def test_a_slow_client_cannot_make_the_pump_hold_more_than_a_body():
    async def scenario():
        sent = 0
        stuck = asyncio.Event()

        async def app(scope, receive, send):
            nonlocal sent
            headers = [(b"content-length", b"1000000")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for number in range(100):
                await send(
                    {"type": "http.response.body", "body": bytes(10_000), "more_body": number < 99}
                )
                sent += 1

        config = PerformanceConfig(
            cache_config=CacheConfig(max_body_bytes=1_000_000, max_bytes=2_000_000)
        )
        middleware = PerformanceMiddleware(app, config)

        async def stick(_):
            await stuck.wait()

        asking = asyncio.create_task(ask(middleware, on_message=stick))
        for _ in range(500):
            await asyncio.sleep(0)
        assert sent <= 100
        stuck.set()
        assert len((await asking).body) == 1_000_000

    run(scenario())


def test_many_slow_clients_cannot_make_it_hold_more_than_the_configured_bytes():
    async def scenario():
        stuck = asyncio.Event()
        sent = 0

        async def app(scope, receive, send):
            nonlocal sent
            headers = [(b"content-length", b"100000")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for number in range(10):
                message = {"type": "http.response.body", "body": bytes(10_000)}
                await send({**message, "more_body": number < 9})
                sent += 10_000

        config = PerformanceConfig(cache_config=CacheConfig(max_bytes=500_000))
        middleware = PerformanceMiddleware(app, config)

        async def stick(_):
            await stuck.wait()

        asking = [
            asyncio.create_task(ask(middleware, query=str(number), on_message=stick))
            for number in range(100)
        ]
        for _ in range(300):
            await asyncio.sleep(0)
        assert 0 < middleware._cache._origin._held_bytes <= 500_000
        assert sent <= 500_000
        stuck.set()
        replies = await asyncio.gather(*asking)
        assert {len(reply.body) for reply in replies} == {100_000}
        assert middleware._cache._origin._held_bytes == 0

    run(scenario())


@pytest.mark.parametrize("length", [5_000, 100_000])
def test_huge_queries_and_paths_go_past_the_cache(length):
    cache = ResponseCacheMiddleware(Origin())
    for options in ({"query": "x" * length}, {"path": "/" + "x" * length}):
        for _ in range(2):
            assert not run(ask(cache, **options)).is_hit
    assert cache.stats().entries == 0


def test_floods_of_header_fields_are_survived():
    cache = ResponseCacheMiddleware(Origin())
    flood = [(f"x-{number}", "y" * 50) for number in range(2_000)]
    assert run(ask(cache, headers=flood)).status == 200
    same = [("cookie", "a=b")] * 2_000
    assert run(ask(cache, headers=same)).status == 200
    assert run(ask(cache, headers=[("accept-encoding", "gzip")] * 2_000)).status == 200


@pytest.mark.parametrize(
    "value",
    [
        "bytes=" + ",".join(f"{n}-{n}" for n in range(5_000)),
        "bytes=" + ",".join(["0-"] * 5_000),
        "bytes=-" + "9" * 5_000,
    ],
    ids=["many", "overlapping", "huge"],
)
def test_range_bombs_get_the_whole_body_at_most(value):
    cache = ResponseCacheMiddleware(Origin(b"x" * 1000))
    run(ask(cache))
    reply = run(ask(cache, headers={"range": value}))
    assert len(reply.body) <= 1000


def test_aborted_downloads_leave_nothing_behind():
    async def scenario():
        gate = asyncio.Event()

        async def app(scope, receive, send):
            await gate.wait()
            await Origin(chunks=[b"x"] * 10)(scope, receive, send)

        middleware = PerformanceMiddleware(app)
        asking = [asyncio.create_task(ask(middleware, query=str(n % 10))) for n in range(100)]
        await asyncio.sleep(0)
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        cache = middleware._cache
        assert not cache.store._tickets
        assert len(cache._origin._flights.of(asyncio.get_running_loop())) == 0
        assert middleware.stats().requests.active == 0
        gate.set()
        assert (await ask(middleware)).body == b"x" * 10
        assert len(asyncio.all_tasks()) == 2

    run(scenario())


def test_a_bomb_that_is_compressed_already_is_never_opened():
    bomb = gzip.compress(bytes(10 * MEGABYTE))
    app = PerformanceMiddleware(Origin(bomb, headers={"content-encoding": "gzip"}))
    for _ in range(2):
        assert run(ask(app, headers={"accept-encoding": "br"})).body == bomb
    assert app.stats().compression.responses == 0


# Keys made to collide, as a smuggler would


def test_no_two_requests_that_differ_share_a_key():
    options = [
        {"path": "/a", "query": "b"},
        {"path": "/a?b", "raw_path": b"/a%3Fb"},
        {"path": "/a", "query": "b?"},
        {"path": "/a", "raw_path": b"/a/", "query": "b"},
        {"path": "/a", "query": "b", "host": "example.org:1"},
        {"path": "/a", "query": "b", "root_path": "/x"},
        {"path": "/x/a", "query": "b"},
        {"path": "//example.org/a", "query": "b"},
        {"path": "/a", "query": "b#c"},
        {"path": "/a", "query": b"b\x00"},
        {"path": "/A", "query": "b"},
        {"path": "/a/../a", "query": "b"},
        {"path": "/a;x", "query": "b"},
        {"path": "/a", "query": "B"},
        {"path": "/a", "query": ""},
    ]
    cache = ResponseCacheMiddleware(Origin(headers={"cache-control": "max-age=60"}), window=5.0)

    async def scenario():
        for option in options:
            assert not (await ask(cache, **option)).is_hit, option
        assert all([(await ask(cache, **option)).is_hit for option in options])

    run(scenario())


FIELD = st.tuples(
    st.sampled_from(
        b"host cookie authorization range if-none-match if-range cache-control accept-encoding "
        b"pragma content-length transfer-encoding x-forwarded-host vary age connection te expect "
        b"HOST".split()
    ),
    st.binary(max_size=30),
)


@settings(deadline=None, max_examples=150)
@given(
    fields=st.lists(FIELD, max_size=6),
    method=st.sampled_from(["GET", "HEAD", "POST", "get", "", "\x00"]),
    path=st.text(max_size=20),
    query=st.binary(max_size=20),
    answer=st.lists(FIELD, max_size=4),
)
def test_malformed_requests_and_answers_are_answered_without_a_fault(
    fields, method, path, query, answer
):
    async def app(scope, receive, send):
        kept = [(n, v) for n, v in answer if n != b"content-length"]
        await send({"type": "http.response.start", "status": 200, "headers": kept})
        await send({"type": "http.response.body", "body": b"hello"})

    async def scenario():
        middleware = PerformanceMiddleware(app)
        for _ in range(3):
            scope = scope_of("/", method=method, query=query, host=None)
            scope |= {"path": path, "raw_path": path.encode("utf-8", "replace"), "headers": fields}
            sent = []

            async def send(message, sent=sent):
                sent.append(message)

            async def receive():
                return {"type": "http.request", "body": b""}

            await middleware(scope, receive, send)
            assert sent[0]["status"] in {200, 206, 304, 406, 416, 504}
        assert middleware.stats().cache.faults == 0
        await middleware.close()

    run(scenario())


def test_compression_of_a_long_stream_holds_one_piece_at_a_time():
    async def scenario():
        piece = bytes(200_000)
        most = 0

        async def app(scope, receive, send):
            headers = [(b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for _ in range(50):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

        async def send(message):
            nonlocal most
            most = max(most, len(message.get("body", b"")))

        config = PerformanceConfig(
            cache_config=CacheConfig(max_body_bytes=1000),
            compression_config=CompressionConfig(algorithms=["gzip"]),
        )
        middleware = PerformanceMiddleware(app, config)
        await middleware(scope_of(headers={"accept-encoding": "gzip"}), None, send)
        assert most < 10_000
        await middleware.close()

    run(scenario())


# The store by itself


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["get", "purge", "pattern", "tag", "clear"]),
            st.integers(0, 8),
            st.integers(0, 4000),
        ),
        max_size=40,
    )
)
def test_the_store_never_exceeds_its_bounds_and_forgets_what_it_should(steps):
    async def scenario():
        origin = Origin(headers=lambda scope: {"cache-tag": f"t{scope['path'][2:]}"})
        cache = ResponseCacheMiddleware(origin, CacheConfig(max_bytes=20_000, max_size=5))
        for kind, number, size in steps:
            path = f"/p{number}"
            if kind == "get":
                origin.body = bytes(size)
                await ask(cache, path)
            elif kind == "purge":
                await cache.invalidate_cache(path=path)
                assert path not in cache.store.paths()
            elif kind == "pattern":
                await cache.invalidate_cache(f"*{number}")
                assert path not in cache.store.paths()
            elif kind == "tag":
                await cache.invalidate_cache(tag=f"t{number}")
                assert path not in cache.store.paths()
            else:
                assert await cache.invalidate_cache() <= 5
                assert not cache.store.paths()
            store: MemoryStore = cache.store
            assert len(store) == len(store.paths()) <= 5
            assert store.size_bytes <= 20_000
            assert bool(len(store)) == bool(store.size_bytes)
            assert set(store._by_tag) == {f"t{p[2:]}" for p in store.paths()}
            assert not store._tickets

    run(scenario())
