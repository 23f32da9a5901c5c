"""The second level against a real server: two caches stand for two processes."""

import asyncio

import pytest

pytest.importorskip("redis")

from harness import Origin, ask, run

from overdrive.api import CacheConfig, ResponseCacheMiddleware
from overdrive.api._redis import connect
from overdrive.api.redis_store import RedisStore
from overdrive.api.shared import Purge


class Process:
    def __init__(self, url, origin=None, **options):
        self.origin = origin or Origin()
        self.store = RedisStore(url, retry_after=0.02, timeout=2.0, **options)
        config = CacheConfig(store=self.store, strict=False)
        self.cache = ResponseCacheMiddleware(self.origin, config, window=5.0)

    async def get(self, path="/", **options):
        reply = await ask(self.cache, path, **options)
        await self.quiet()
        return reply

    async def quiet(self):
        await asyncio.gather(*self.cache._origin._tasks)


async def until(condition):
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - told by a server
            await asyncio.sleep(0.002)


def scenario(function):
    def test(redis):
        async def play():
            processes = []

            def process(*args, **options):
                processes.append(Process(redis.url, *args, **options))
                return processes[-1]

            try:
                await function(redis, process)
            finally:
                for each in processes:
                    await each.cache.close()
                    await each.cache.close()

        run(play())

    test.__name__ = function.__name__
    return test


@scenario
async def test_what_one_process_stored_another_uses(redis, process):
    origin = Origin(b"hello", headers={"etag": '"1"', "x-mine": "1", "cache-tag": "a"})
    a, b = process(origin), process()
    await a.get()
    reply = await b.get()
    assert reply.body == b"hello"
    assert reply["x-mine"] == "1"
    assert "cache-tag" not in reply
    assert reply.outcome == "hit; detail=shared"
    assert b.origin.count == 0
    assert b.cache.stats().shared_hits == 1
    assert (await b.get()).outcome.startswith("hit; ttl=")


@scenario
async def test_age_goes_on_in_the_other_process(redis, process):
    origin = Origin(headers={"cache-control": "max-age=100", "age": "40"})
    a, b = process(origin), process()
    await a.get()
    reply = await b.get()
    assert 40 <= int(reply["age"]) <= 42


@scenario
async def test_variants_and_unknown_fields_are_kept_apart(redis, process):
    origin = Origin(
        lambda scope: dict(scope["headers"]).get(b"accept-language", b"-"),
        headers={"vary": "accept-language"},
    )
    a, b = process(origin), process(origin)
    for language in ("de", "fr"):
        await a.get(headers={"accept-language": language})
        await a.get(headers={"accept-language": language, "x-tenant": "1"})
    assert origin.count == 4
    for language in ("de", "fr"):
        reply = await b.get(headers={"accept-language": language})
        assert reply.body == language.encode()
    await b.get(headers={"accept-language": "de", "x-tenant": "1"})
    assert origin.count == 4
    await b.get(headers={"accept-language": "de", "x-tenant": "2"})
    assert origin.count == 5


@pytest.mark.parametrize(
    "purge",
    [{}, {"path": "/a"}, {"pattern": "/a*"}, {"tag": "t"}],
    ids=["all", "path", "pattern", "tag"],
)
def test_a_purge_reaches_every_process_and_what_is_shared(redis, purge):
    @scenario
    async def play(redis, process):
        origin = Origin(b"old", headers={"cache-tag": "t"})
        a, b = process(origin), process(origin)
        await a.get("/a")
        await b.get("/a")
        assert origin.count == 1
        await until(lambda: a.store._clients and b.store._clients)
        await asyncio.sleep(0.05)
        await a.get("/a")
        await b.get("/a")
        origin.body = b"new"
        await a.cache.invalidate_cache(**purge)
        await until(lambda: b.cache.stats().entries == 0)
        assert (await b.get("/a")).body == b"new"
        assert (await a.get("/a")).body == b"new"
        fresh = process(origin)
        assert (await fresh.get("/a")).body == b"new"

    play(redis)


@scenario
async def test_a_purge_of_something_else_changes_nothing(redis, process):
    origin = Origin(headers={"cache-tag": "t"})
    a, b = process(origin), process(origin)
    await a.get("/a")
    for purge in ({"path": "/b"}, {"pattern": "/b*"}, {"tag": "other"}):
        await a.cache.invalidate_cache(**purge)
    assert (await b.get("/a")).outcome == "hit; detail=shared"


@scenario
async def test_a_change_through_one_process_is_seen_by_the_others(redis, process):
    origin = Origin(b"old")
    a, b = process(origin), process(origin)
    await a.get("/agents/7")
    await b.get("/agents/7")
    await asyncio.sleep(0.05)
    await b.get("/agents/7")
    origin.body = b"new"
    await a.get("/agents/7", method="PUT")
    await until(lambda: b.cache.stats().entries == 0)
    assert (await b.get("/agents/7")).body == b"new"


@scenario
async def test_what_was_asked_for_before_a_purge_elsewhere_is_not_shared_after_it(redis, process):
    arrived, go_on = asyncio.Event(), asyncio.Event()
    origin = Origin(b"old")

    async def slow(scope, receive, send):
        arrived.set()
        await go_on.wait()
        await origin(scope, receive, send)

    a, b = process(slow), process(Origin(b"new"))
    asking = asyncio.create_task(a.get("/a"))
    await arrived.wait()
    await b.store.purge(Purge("paths", ("/a",)))
    go_on.set()
    await asking
    assert (await b.get("/a")).body == b"new"


@scenario
async def test_without_the_server_the_api_works_and_purges_are_made_up_for(redis, process):
    origin = Origin(b"old")
    a, b = process(origin), process(origin)
    await a.get("/a")
    await b.get("/a")
    redis.stop()
    origin.body = b"new"
    await a.cache.invalidate_cache(path="/a")
    assert (await a.get("/a")).body == b"new"
    assert (await a.get("/b")).body == b"new"
    assert (await a.get("/b")).is_hit
    assert a.cache.stats().shared_errors > 0
    assert a.cache.stats().faults == 0
    redis.start()
    # Whatever it missed, it forgets.
    await until(lambda: b.cache.stats().entries == 0)
    await until(lambda: asyncio.get_running_loop().time() > a.store._resting_until)
    await a.get("/c")
    assert not a.store._pending
    assert (await b.get("/a")).body == b"new"


@scenario
async def test_rubbish_in_the_server_is_a_miss(redis, process):
    a, b = process(), process()
    await a.get("/a")
    client = connect(redis.url, 2.0)
    for key in await client.keys("overdrive:entry:*"):
        for field in await client.hkeys(key):
            await client.hset(key, field, b"rubbish")
    await client.aclose()
    assert (await b.get("/a")).body == b"hello"
    assert b.origin.count == 1
    assert b.cache.stats().shared_errors == 1


@scenario
async def test_variants_and_patterns_in_the_server_are_bounded(redis, process):
    origin = Origin(headers={"vary": "user-agent"})
    a = process(origin, max_variants=4)
    client = connect(redis.url, 2.0)
    for number in range(12):
        await a.get("/a", headers={"user-agent": str(number)})
        (key,) = await client.keys("overdrive:entry:*") or [None]
        assert key is None or await client.hlen(key) <= 4
    for number in range(300):
        await a.cache.invalidate_cache(f"/{number}/*")
    assert await client.hlen("overdrive:patterns") <= 256
    await client.aclose()


@scenario
async def test_everything_in_the_server_expires(redis, process):
    a = process(Origin(headers={"cache-tag": "t"}))
    await a.get("/a")
    for purge in ({}, {"path": "/b"}, {"pattern": "/b*"}, {"tag": "b"}):
        await a.cache.invalidate_cache(**purge)
    await a.get("/a")
    client = connect(redis.url, 2.0)
    keys = await client.keys("*")
    assert len(keys) >= 5
    assert all([await client.pttl(key) > 0 for key in keys])
    await client.aclose()


def test_senseless_options_are_refused(redis_program):
    with pytest.raises(ValueError, match="timeout must be positive, got 0"):
        RedisStore("redis://localhost", timeout=0)
