import asyncio
import itertools

import pytest
from harness import Origin, ask, run, scope_of, settle

from overdrive.api import (
    CacheConfig,
    CoalescingMiddleware,
    PerformanceConfig,
    PerformanceMiddleware,
    ResponseCacheMiddleware,
)


class Gate:
    """An application that answers only when it is let to."""

    def __init__(self, origin=None):
        self.origin = origin or Origin()
        self.arrived = 0
        self.changed = asyncio.Condition()
        self.opened = asyncio.Event()

    async def __call__(self, scope, receive, send):
        async with self.changed:
            self.arrived += 1
            self.changed.notify_all()
        await self.opened.wait()
        await self.origin(scope, receive, send)

    async def wait_for(self, count):
        async with self.changed:
            await self.changed.wait_for(lambda: self.arrived >= count)


def caching(app, **options):
    return ResponseCacheMiddleware(app, **{"window": 10.0, **options})


BOTH = pytest.mark.parametrize("wrap", [CoalescingMiddleware, caching, PerformanceMiddleware])


@BOTH
def test_a_thousand_identical_requests_run_the_handler_once(wrap):
    async def scenario():
        gate = Gate(Origin(itertools.count().__next__().__repr__().encode()))
        app = wrap(gate)
        asking = [asyncio.create_task(ask(app)) for _ in range(1000)]
        await gate.wait_for(1)
        await settle()
        gate.opened.set()
        replies = await asyncio.gather(*asking)
        assert gate.arrived == 1
        assert {reply.body for reply in replies} == {b"0"}
        collapsed = sum("collapsed" in reply.outcome for reply in replies)
        assert collapsed == (0 if wrap is CoalescingMiddleware else 999)

    run(scenario())


@pytest.mark.parametrize("chunked", [False, True])
def test_followers_get_an_answer_in_pieces_whose_length_is_told(chunked):
    async def scenario():
        origin = (
            Origin(chunks=[b"one", b"two"], headers={"content-length": "6"})
            if chunked
            else Origin(b"onetwo")
        )
        gate = Gate(origin)
        app = CoalescingMiddleware(gate)
        asking = [asyncio.create_task(ask(app)) for _ in range(10)]
        await settle()
        gate.opened.set()
        replies = await asyncio.gather(*asking)
        assert gate.arrived == 1
        assert {reply.body for reply in replies} == {b"onetwo"}

    run(scenario())


@BOTH
@pytest.mark.parametrize(
    "options",
    [
        {"headers": {"set-cookie": "a=1"}},
        {"headers": {"cache-control": "private"}},
        {"headers": {"cache-control": "no-store"}},
        {"headers": {"cache-control": "max-age=0"}},
        {"headers": {"vary": "*"}},
        {"status": 500},
        {"status": 401},
        {"headers": {"content-type": "text/event-stream"}, "chunks": [b"data: 1\n\n"]},
        {"chunks": [b"who knows", b"how long"]},
    ],
)
def test_followers_of_an_answer_that_is_not_for_them_all_ask_at_the_same_time(wrap, options):
    async def scenario():
        gate = Gate(Origin(**options))
        app = wrap(gate)
        asking = [asyncio.create_task(ask(app)) for _ in range(20)]
        await gate.wait_for(1)
        await settle()
        assert gate.arrived == 1
        gate.opened.set()
        gate.opened = asyncio.Event()
        # All of them are in the application before any of them is answered.
        await gate.wait_for(20)
        gate.opened.set()
        await asyncio.gather(*asking)

    run(scenario())


def test_once_known_as_private_an_answer_is_not_waited_for():
    async def scenario():
        gate = Gate(Origin(headers={"set-cookie": "a=1"}))
        gate.opened.set()
        app = CoalescingMiddleware(gate)
        await ask(app)
        gate.opened.clear()
        asking = [asyncio.create_task(ask(app)) for _ in range(5)]
        await gate.wait_for(6)
        gate.opened.set()
        await asyncio.gather(*asking)

    run(scenario())


@BOTH
def test_a_leader_that_is_cancelled_is_followed_by_another(wrap):
    async def scenario():
        gate = Gate()
        app = wrap(gate)
        asking = [asyncio.create_task(ask(app)) for _ in range(10)]
        await gate.wait_for(1)
        await settle()
        asking[0].cancel()
        await gate.wait_for(2)
        await settle()
        assert gate.arrived == 2
        gate.opened.set()
        replies = await asyncio.gather(*asking[1:])
        assert {reply.body for reply in replies} == {b"hello"}
        assert asking[0].cancelled()

    run(scenario())


def test_a_follower_that_is_cancelled_disturbs_nobody():
    async def scenario():
        gate = Gate()
        app = CoalescingMiddleware(gate)
        asking = [asyncio.create_task(ask(app)) for _ in range(10)]
        await gate.wait_for(1)
        await settle()
        asking[5].cancel()
        await settle()
        gate.opened.set()
        del asking[5]
        assert len(await asyncio.gather(*asking)) == 9
        assert gate.arrived == 1

    run(scenario())


@BOTH
def test_a_leader_that_fails_takes_nobody_with_it(wrap):
    async def scenario():
        gate = Gate()
        failing = True

        async def app(scope, receive, send):
            nonlocal failing
            await gate.wait_and_count()
            if failing:
                failing = False
                raise RuntimeError("first one fails")
            await gate.origin(scope, receive, send)

        async def wait_and_count():
            gate.arrived += 1
            await gate.opened.wait()

        gate.wait_and_count = wait_and_count
        wrapped = wrap(app)
        asking = [asyncio.create_task(ask(wrapped)) for _ in range(10)]
        await settle()
        assert gate.arrived == 1
        gate.opened.set()
        replies = await asyncio.gather(*asking, return_exceptions=True)
        assert isinstance(replies[0], RuntimeError)
        assert {reply.body for reply in replies[1:]} == {b"hello"}

    run(scenario())


def disconnecting_app(gate):
    """Stop when the client leaves, as a streaming response of Starlette does."""

    async def app(scope, receive, send):
        gate.arrived += 1

        async def answer():
            headers = [(b"content-length", b"6"), (b"content-type", b"text/plain")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            await gate.opened.wait()
            await send({"type": "http.response.body", "body": b"two"})

        async def leave():
            while (await receive())["type"] != "http.disconnect":
                pass

        work = {asyncio.ensure_future(answer()), asyncio.ensure_future(leave())}
        await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)

    return app


@pytest.mark.parametrize("followers", [0, 3])
def test_a_disconnect_of_the_leader_stops_the_application_only_if_nobody_else_waits(followers):
    async def scenario():
        gate = Gate()
        app = CoalescingMiddleware(disconnecting_app(gate))
        left = asyncio.Event()
        asked = False

        async def receive():
            nonlocal asked
            if asked:
                await left.wait()
                return {"type": "http.disconnect"}
            asked = True
            return {"type": "http.request", "body": b"", "more_body": False}

        sent = []

        async def send(message):
            sent.append(message)

        leader = asyncio.create_task(app(scope_of(), receive, send))
        await settle()
        others = [asyncio.create_task(ask(app)) for _ in range(followers)]
        await settle()
        left.set()
        await settle()
        assert leader.done() == (followers == 0)
        gate.opened.set()
        replies = await asyncio.gather(*others)
        await leader
        assert gate.arrived == 1
        assert all(reply.body == b"onetwo" for reply in replies)
        # Cut off, so it must not be stored or given to anybody.
        assert (await ask(app)).body == b"onetwo"

    run(scenario())


def test_a_truncated_answer_is_never_stored():
    async def scenario():
        gate = Gate()
        cache = caching(disconnecting_app(gate))

        async def gone():
            return {"type": "http.disconnect"}

        async def send(_):
            pass

        await cache(scope_of(), gone, send)
        assert cache.stats().entries == 0
        gate.opened.set()
        assert (await ask(cache)).body == b"onetwo"
        assert cache.stats().entries == 1

    run(scenario())


@pytest.mark.parametrize("chunks", [None, [b"hel", b"lo"]])
def test_a_slow_client_of_the_leader_holds_nobody_back(chunks):
    async def scenario():
        stuck = asyncio.Event()

        async def slow(_):
            await stuck.wait()

        gate = Gate(Origin(chunks=chunks, headers={"content-length": "5"}))
        app = CoalescingMiddleware(gate)
        leader = asyncio.create_task(ask(app, on_message=slow))
        await gate.wait_for(1)
        others = [asyncio.create_task(ask(app)) for _ in range(5)]
        await settle()
        gate.opened.set()
        replies = await asyncio.gather(*others)
        assert {reply.body for reply in replies} == {b"hello"}
        assert gate.arrived == 1
        assert not leader.done()
        stuck.set()
        assert (await leader).body == b"hello"

    run(scenario())


@pytest.mark.parametrize("chunks", [None, [b"hel", b"lo"]])
def test_a_leader_whose_connection_breaks_takes_nobody_with_it(chunks):
    async def scenario():
        async def broken(_):
            raise OSError("connection lost")

        gate = Gate(Origin(chunks=chunks, headers={"content-length": "5"}))
        app = CoalescingMiddleware(gate)
        leader = asyncio.create_task(ask(app, on_message=broken))
        await gate.wait_for(1)
        others = [asyncio.create_task(ask(app)) for _ in range(5)]
        await settle()
        gate.opened.set()
        replies = await asyncio.gather(*others)
        assert {reply.body for reply in replies} == {b"hello"}
        with pytest.raises(OSError, match="connection lost"):
            await leader

    run(scenario())


def test_followers_do_not_wait_longer_than_the_window():
    async def scenario():
        gate = Gate()
        app = CoalescingMiddleware(gate, window_seconds=0.05)
        asking = [asyncio.create_task(ask(app)) for _ in range(5)]
        await gate.wait_for(5)
        gate.opened.set()
        await asyncio.gather(*asking)
        assert app.stats().deduplicated == 0

    run(scenario())


def test_the_number_of_followers_is_bounded():
    async def scenario():
        gate = Gate()
        app = CoalescingMiddleware(gate, max_followers=3)
        asking = [asyncio.create_task(ask(app)) for _ in range(10)]
        await gate.wait_for(7)
        await settle()
        assert gate.arrived == 7
        gate.opened.set()
        await asyncio.gather(*asking)
        assert app.stats().deduplicated == 3

    run(scenario())


def test_different_requests_do_not_wait_for_each_other():
    async def scenario():
        gate = Gate()
        app = CoalescingMiddleware(gate)
        options = [
            {},
            {"path": "/b"},
            {"query": "a"},
            {"host": "b.org"},
            {"scheme": "https"},
            {"method": "POST"},
            {"headers": {"cookie": "a"}},
            {"headers": {"authorization": "a"}},
            {"headers": {"x-unknown": "a"}},
            {"headers": {"range": "bytes=0-1"}},
            {"headers": {"content-length": "5"}},
            {"headers": {"transfer-encoding": "chunked"}},
        ]
        asking = [asyncio.create_task(ask(app, **o)) for o in options]
        await gate.wait_for(len(options))
        gate.opened.set()
        await asyncio.gather(*asking)

    run(scenario())


def test_followers_whose_selecting_fields_differ_ask_for_themselves():
    async def scenario():
        def language(scope):
            return dict(scope["headers"])[b"accept-language"]

        gate = Gate(Origin(language, headers={"vary": "accept-language"}))
        app = CoalescingMiddleware(gate)
        asking = [
            asyncio.create_task(ask(app, headers={"accept-language": name}))
            for name in ("de", "fr", "de", "fr")
        ]
        await settle()
        gate.opened.set()
        assert [reply.body for reply in await asyncio.gather(*asking)] == [
            b"de",
            b"fr",
            b"de",
            b"fr",
        ]

    run(scenario())


def test_a_condition_of_one_client_is_not_that_of_all():
    async def scenario():
        gate = Gate(Origin(headers={"etag": '"1"', "cache-control": "max-age=60"}))
        app = CoalescingMiddleware(gate)
        fields = [{"if-none-match": '"1"'}, {}, {"if-none-match": '"2"'}]
        asking = [asyncio.create_task(ask(app, headers=f)) for f in fields]
        await settle()
        gate.opened.set()
        replies = await asyncio.gather(*asking)
        assert [(r.status, r.body) for r in replies] == [
            (304, b""),
            (200, b"hello"),
            (200, b"hello"),
        ]
        assert gate.arrived == 1

    run(scenario())


@pytest.mark.parametrize(
    "purge",
    [{}, {"path": "/"}, {"pattern": "/*"}, {"tag": "a"}],
    ids=["all", "path", "pattern", "tag"],
)
def test_a_purge_keeps_what_was_asked_for_before_out_of_the_store(purge):
    async def scenario():
        gate = Gate(Origin(b"old", headers={"cache-tag": "a"}))
        cache = caching(gate)
        early = asyncio.create_task(ask(cache))
        await gate.wait_for(1)
        await cache.invalidate_cache(**purge)
        gate.origin.body = b"new"
        late = asyncio.create_task(ask(cache))
        # Does not join the one from before.
        await gate.wait_for(2)
        gate.origin.body = b"old"
        gate.opened.set()
        await asyncio.gather(early, late)
        assert "stored" not in (await early).outcome
        assert cache.stats().stores == 1

    run(scenario())


def test_a_purge_of_something_else_changes_nothing():
    async def scenario():
        gate = Gate(Origin(headers={"cache-tag": "a"}))
        cache = caching(gate)
        asking = asyncio.create_task(ask(cache))
        await gate.wait_for(1)
        for purge in ({"path": "/b"}, {"pattern": "/b*"}, {"tag": "b"}):
            await cache.invalidate_cache(**purge)
        gate.opened.set()
        assert (await asking).outcome.endswith("stored")

    run(scenario())


def test_the_same_middleware_serves_several_loops():
    app = PerformanceMiddleware(Origin(), PerformanceConfig(cache_config=CacheConfig(strict=True)))
    for _ in range(3):
        assert run(ask(app)).body == b"hello"
