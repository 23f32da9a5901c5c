"""Ask the application: alone, together with others, behind the scenes, or on condition."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from overdrive.api.asgi import (
    ASGIApp,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    find,
    lower_names,
    without,
)
from overdrive.api.compression import Compression, CompressionResponder, logger
from overdrive.api.entry import StoredResponse
from overdrive.api.exchange import Exchange
from overdrive.api.flights import Ending, Flight, Flights, FlightsByLoop
from overdrive.api.headers import matches_etag
from overdrive.api.keeping import Keeper, Shape
from overdrive.api.memory import MemoryStore, Ticket
from overdrive.api.policy import Terms, satisfies_client
from overdrive.api.request import Facts
from overdrive.api.serving import Answer, Server, send_answer
from overdrive.api.shared import Purge, SharedLevel
from overdrive.api.statistics import Tally

__all__ = ["Origin", "discard", "nothing_more"]

_OK = 200
_PRIVATE_FOR = 30.0
_MAX_PRIVATE = 4096
_MAX_REFRESHES = 256
_CONDITIONS = (b"if-none-match", b"if-modified-since", b"if-range")
# Reasons for not storing that will hold for the next request too.
_LASTING = frozenset(
    {
        "length",
        "message",
        "no-store",
        "private",
        "set-cookie",
        "size",
        "stale",
        "stream",
        "trailers",
        "vary",
    }
)


class Origin:
    """The application, as the cache asks it.

    Args:
        app: The application.
        store: Where answers go.
        keeper: Who makes stored responses of answers.
        server: Who makes answers of stored responses.
        compression: How other answers are compressed.
        label: How the cache calls itself.
        window: Seconds during which a request may be joined; 0 for never.
        max_followers: The most that join.
        storing: Whether answers are kept.
        tally: Where to count.
        shared: The second level.
        clock: The cache's clock.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: MemoryStore,
        keeper: Keeper,
        server: Server,
        compression: Compression | None,
        label: bytes | None,
        window: float,
        max_followers: int,
        storing: bool,
        tally: Tally,
        shared: SharedLevel | None,
        clock: Callable[[], float],
    ) -> None:
        self.app = app
        self.server = server
        self.shape_of = keeper.shape
        self.make = keeper.make
        self.max_body_bytes = keeper.max_body_bytes
        self.timer: Callable[[int, Headers, int], None] | None = None
        """Called with the status, the fields and the beginning of each answer to be timed."""
        self._store = store
        self._keeper = keeper
        self._compression = compression
        self._label = label
        self._window = window
        self._storing = storing
        self._shared = shared
        self._recorder = tally.recorder
        self._clock = clock
        self._flights: FlightsByLoop[StoredResponse] = FlightsByLoop(window, max_followers)
        self._private: dict[int, float] = {}
        self._held_bytes = 0
        self._held_lock = threading.Lock()
        self._max_held_bytes = keeper.max_held_bytes
        self._tasks: set[asyncio.Task[None]] = set()

    async def ask(
        self,
        facts: Facts,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        stale: StoredResponse | None = None,
        reason: bytes = b"; fwd=uri-miss",
    ) -> None:
        """Ask the application, or wait for one who does.

        Args:
            facts: The request.
            scope: Its scope.
            receive: The server's.
            send: The server's.
            stale: What is stored and cannot be used as it is.
            reason: Why the application is asked, for `Cache-Status`.
        """
        flight = None
        if self._window and b"range" not in facts.fields and not self._is_private(facts):
            loop = asyncio.get_running_loop()
            flights = self._flights.of(loop)
            key = (facts.key, facts.others)
            now = loop.time()
            running = flights.find(key, now)
            if running is None or _is_out_of_date(running):
                self._recorder.counters.leaders += 1
                flight = flights.lead(key, now)
            else:
                outcome = await self._follow(flights, facts)
                if isinstance(outcome, StoredResponse):
                    await self._answer(outcome, facts, b"; fwd=uri-miss; collapsed", send)
                    return
                flight = outcome
        await self._fetch(facts, scope, receive, send, flight=flight, stale=stale, reason=reason)

    async def _follow(
        self, flights: Flights[StoredResponse], facts: Facts
    ) -> "StoredResponse | Flight[StoredResponse] | None":
        """Follow a flight to its answer, or come to lead one; `None` to go alone."""
        loop = asyncio.get_running_loop()
        key = (facts.key, facts.others)
        counters = self._recorder.counters
        deadline = loop.time() + self._window
        while (now := loop.time()) < deadline:
            flight = flights.find(key, now)
            if flight is None or _is_out_of_date(flight):
                counters.leaders += 1
                return flights.lead(key, now)
            if flights.is_full(flight):
                break
            outcome = await flight.wait(deadline)
            if isinstance(outcome, StoredResponse) and self._suits(outcome, facts):
                counters.followers += 1
                return outcome
            if outcome is not Ending.ABANDONED:
                break
        counters.released += 1
        return None

    def _suits(self, entry: StoredResponse, facts: Facts) -> bool:
        """Whether an answer that was not asked for by this request may be given to it."""
        return entry.suits(facts) and self._clock() < entry.fresh_until

    async def _fetch(
        self,
        facts: Facts,
        scope: Scope,
        receive: Receive,
        send: Send,
        *,
        flight: "Flight[StoredResponse] | None",
        stale: StoredResponse | None,
        reason: bytes,
    ) -> None:
        if self._shared is not None:
            await self._come_into_touch(self._shared)
        ticket = self._store.open_ticket(facts.key, facts.path)
        if flight is not None:
            flight.token = ticket
        self._recorder.counters.misses += 1
        try:
            if self._shared is not None and await self._is_shared(facts, send, ticket, flight):
                return
            exchange = Exchange(self, facts, ticket, flight=flight, stale=stale, reason=reason)
            if stale is not None or not facts.fields.keys().isdisjoint(_CONDITIONS):
                asked = self._scope_to_ask(facts, scope, flight, stale)
            else:
                asked = scope
            await exchange.run(asked, receive, send)
            if exchange.mismatched and stale is not None:
                self._store.discard(stale)
                again = Exchange(self, facts, ticket, flight=flight, stale=None, reason=reason)
                await again.run(self._scope_to_ask(facts, scope, flight, None), receive, send)
        finally:
            self._store.close_ticket(ticket)
            if flight is not None and not flight.ended:
                flight.end(Ending.ABANDONED)

    async def _come_into_touch(self, shared: SharedLevel) -> None:
        try:
            await shared.store.ready()
        except Exception as error:  # noqa: BLE001 - whatever a store does, the API works
            self._note_shared(error)

    async def _is_shared(
        self,
        facts: Facts,
        send: Send,
        ticket: Ticket,
        flight: "Flight[StoredResponse] | None",
    ) -> bool:
        """Answer with what another process has stored, if there is something."""
        assert self._shared is not None  # noqa: S101 - the caller looked
        try:
            entries, ticket.generation = await self._shared.look(facts)
            now = self._clock()
            entry = next(
                (e for e in entries if satisfies_client(facts.directives, e.age(now), e.terms)),
                None,
            )
            if entry is None or not self._store.put(ticket, entry):
                return False
        except Exception as error:  # noqa: BLE001 - whatever a store does, the API works
            self._note_shared(error)
            return False
        entry.negotiable = self.server.applies(entry.path, entry.status, entry.headers)
        self._recorder.counters.shared_hits += 1
        if flight is not None:
            flight.end(entry)
        await self._answer(entry, facts, b"; hit; detail=shared", send)
        return True

    async def _share(self, entry: StoredResponse, generation: int) -> None:
        assert self._shared is not None  # noqa: S101 - the caller looked
        try:
            await self._shared.put(entry, generation)
        except Exception as error:  # noqa: BLE001 - whatever a store does, the API works
            self._note_shared(error)

    async def purge_shared(self, purge: Purge) -> None:
        """Make other processes forget."""
        if self._shared is not None:
            try:
                await self._shared.store.purge(purge)
            except Exception as error:  # noqa: BLE001 - whatever a store does, the API works
                self._note_shared(error)

    def _note_shared(self, error: Exception) -> None:
        self._recorder.counters.shared_errors += 1
        logger.debug("the shared cache failed: %r", error)

    def _scope_to_ask(
        self,
        facts: Facts,
        scope: Scope,
        flight: "Flight[StoredResponse] | None",
        stale: StoredResponse | None,
    ) -> Scope:
        """Make the request that the application sees.

        What others may be given too must not depend on the condition of one of them; it is judged
        when the answer is there. What is stored is asked for on condition that it has changed.
        """
        if stale is None and (flight is None or facts.fields.keys().isdisjoint(_CONDITIONS)):
            return scope
        headers = without(lower_names(scope["headers"]), *_CONDITIONS)
        if stale is not None and not stale.own_etag and stale.etag is not None:
            headers.append((b"if-none-match", stale.etag))
        if stale is not None and stale.last_modified is not None:
            headers.append((b"if-modified-since", stale.last_modified))
        return {**scope, "headers": headers}

    def refresh(self, entry: StoredResponse, facts: Facts, scope: Scope) -> None:
        """Ask for a new response while the old one is in use (RFC 5861, 3)."""
        loop = asyncio.get_running_loop()
        flights = self._flights.of(loop)
        key = (facts.key, facts.others)
        if flights.find(key, loop.time()) is not None or len(self._tasks) >= _MAX_REFRESHES:
            return
        flight = flights.lead(key, loop.time())
        asked = replace(facts, method="GET", began=0)
        headers = without(lower_names(scope["headers"]), b"range", b"if-range")
        copy = {**scope, "method": "GET", "headers": headers}
        self.spawn(
            self._fetch(
                asked,
                copy,
                nothing_more(),
                discard,
                flight=flight,
                stale=entry,
                reason=b"; fwd=stale",
            )
        )

    def hold(self, size: int) -> bool:
        """Whether answers under way may take that many bytes more; if so, they are taken."""
        with self._held_lock:
            if self._held_bytes + size > self._max_held_bytes:
                return False
            self._held_bytes += size
            return True

    def let_go(self, size: int) -> None:
        """Give back what was held."""
        with self._held_lock:
            self._held_bytes -= size

    def spawn(self, work: Coroutine[Any, Any, object]) -> None:
        """Do something behind the scenes; a failure is logged."""
        task = asyncio.get_running_loop().create_task(self._quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _quietly(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - nobody waits for it
            self.note("work behind the scenes failed", error)

    async def ask_head(self, facts: Facts, scope: Scope, receive: Receive, send: Send) -> None:
        """Forward a HEAD; it may tell that what is stored is out of date (RFC 9111, 4.3.5)."""
        self._recorder.counters.misses += 1

        async def on_start(status: int, headers: Headers) -> None:
            bucket = self._store.get(facts.key)
            for entry in bucket.variants if bucket and status == _OK else ():
                if entry.suits(facts) and _differs(entry, headers):
                    self._store.discard(entry)

        await self.pass_on(scope, receive, send, b"; fwd=uri-miss", on_start)

    async def pass_on(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        status: bytes,
        on_start: Callable[[int, Headers], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        """Let the application answer one client; `on_start` sees the start before it does."""
        out = self.compressed(scope, send)

        async def relay(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = self.public(message.get("headers", ()))
                if on_start is not None:
                    await on_start(message["status"], headers)
                self.label(headers, status)
                message = {**message, "headers": headers}
            await out(message)

        await self.app(scope, receive, relay)

    async def _answer(self, entry: StoredResponse, facts: Facts, status: bytes, send: Send) -> None:
        answer = await self.render(entry, facts)
        self.finish(facts, answer.status, answer.headers, status)
        await send_answer(answer, send)

    async def render(self, entry: StoredResponse, facts: Facts) -> Answer:
        """Make an answer of a response, without what the cache says about itself."""
        forms = len(entry.forms)
        answer = await self.server.answer(entry, facts, self._clock())
        if len(entry.forms) != forms and self._storing:
            self._store.resize(entry)
        return answer

    def compressed(self, scope: Scope, send: Send) -> Send:
        """Return a `send` that compresses, if that is wanted."""
        if self._compression is None:
            return send
        return CompressionResponder(self._compression, scope, send).send

    def is_sent_plain(self, facts: Facts, size: int) -> bool:
        """Whether a body of that many bytes is sent to a client without a coding."""
        return self._compression is None or self._compression.is_sent_plain(
            facts.fields.get(b"accept-encoding"), size
        )

    def public(self, headers: Headers) -> Headers:
        """Copy header fields without the tags, which are for the cache alone."""
        return without(lower_names(headers), self._keeper.tag_header)

    def label(self, headers: Headers, status: bytes) -> None:
        """Add what the cache says about itself (RFC 9211)."""
        if self._label is not None:
            headers.append((b"cache-status", self._label + status))

    def finish(self, facts: Facts, status: int, headers: Headers, told: bytes) -> None:
        """Add what the cache says about itself, and how long the answer took if that is wanted."""
        if self._label is not None:
            headers.append((b"cache-status", self._label + told))
        if facts.began and self.timer is not None:
            self.timer(status, headers, facts.began)

    def shape(self, facts: Facts, status: int, headers: Headers) -> Shape:
        """Decide about an answer; a fault means that it is not stored."""
        try:
            return self.shape_of(facts, status, headers)
        except Exception as error:  # noqa: BLE001 - the answer must go out
            self.note_fault(error)
            return Shape("fault", headers, frozenset(), negotiable=False)

    def put(self, entry: StoredResponse, ticket: Ticket) -> bool:
        """Store a response; whether it may be used for others."""
        if not self._storing:
            return not ticket.void
        try:
            stored = self._store.put(ticket, entry)
        except Exception as error:  # noqa: BLE001 - the answer must go out
            self.note_fault(error)
            return False
        self._recorder.counters.stores += stored
        if stored and self._shared is not None and ticket.generation is not None:
            self.spawn(self._share(entry, ticket.generation))
        return stored

    def freshen(
        self, stale: StoredResponse, facts: Facts, headers: Headers, ticket: Ticket
    ) -> StoredResponse | None:
        """Make a stale response fresh by a 304; `None` if it was about another one."""
        result = self._keeper.freshen(stale, facts, headers)
        if result is None:
            return None
        entry, storable = result
        self._recorder.counters.revalidations += 1
        if storable:
            self.put(entry, ticket)
        else:
            self._store.discard(stale)
        return entry

    def may_be_stale(self, entry: StoredResponse, facts: Facts) -> bool:
        """Whether a stale response may be used because the application fails (RFC 5861, 4)."""
        terms: Terms = entry.terms
        if terms.never_stale or "no-cache" in facts.directives:
            return False
        if self._clock() >= entry.fresh_until + terms.stale_if_error:
            return False
        self._recorder.counters.stale_hits += 1
        return True

    def _is_private(self, facts: Facts) -> bool:
        if not self._private:
            return False
        until = self._private.get(hash(facts.key))
        return until is not None and self._clock() < until

    def remember_private(self, facts: Facts, why: str) -> None:
        """Let nobody wait for answers that turn out to be for one client only."""
        if why in _LASTING:
            if len(self._private) >= _MAX_PRIVATE:
                self._private.clear()
            self._private[hash(facts.key)] = self._clock() + _PRIVATE_FOR

    def note_fault(self, error: BaseException) -> None:
        """Count and log a fault of the cache."""
        self._recorder.counters.faults += 1
        self.note("the cache failed; the application is asked", error)

    def note(self, what: str, error: BaseException) -> None:
        """Log something that was got over."""
        logger.warning("%s: %r", what, error, exc_info=error)

    async def close(self) -> None:
        """Stop what goes on behind the scenes in this loop."""
        loop = asyncio.get_running_loop()
        tasks = [task for task in self._tasks if task.get_loop() is loop]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._shared is not None:
            await self._shared.store.close()


def _differs(entry: StoredResponse, headers: Headers) -> bool:
    """Whether the answer to a HEAD is about another response than the stored one."""
    etag, modified = find(headers, b"etag"), find(headers, b"last-modified")
    length = find(headers, b"content-length")
    if etag is not None and not entry.own_etag and not matches_etag([etag], entry.etag):
        return True
    if modified is not None and modified != entry.last_modified:
        return True
    return length is not None and length != b"%d" % len(entry.body)


def _is_out_of_date(flight: "Flight[StoredResponse]") -> bool:
    """Whether something was purged since the application was asked."""
    ticket = flight.token
    return isinstance(ticket, Ticket) and (ticket.void or bool(ticket.purged_tags))


def nothing_more() -> Receive:
    """Return a `receive` of a request without a body, whose client never leaves."""
    asked = False

    async def receive() -> Message:
        nonlocal asked
        if asked:
            await asyncio.get_running_loop().create_future()
        asked = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return receive


async def discard(_: Message) -> None:
    """Take what nobody is sent."""
