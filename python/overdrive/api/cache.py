"""A shared HTTP cache in front of an ASGI application.

A look-up has a short way and a long one. The short way, `find`, is for requests that have nothing
unusual; it parses nothing, and ends with what is stored, fresh and ready in the coding they like,
or with the facts of a request for something that is not stored at all. All else goes the long way:
it reads the request into `Facts` and decides by them. A fault of the cache itself is counted,
logged, and the application asked as if there were no cache.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

from overdrive.api.asgi import ASGIApp, Headers, Receive, Scope, Send
from overdrive.api.coding import IDENTITY, Choice
from overdrive.api.compression import Compression
from overdrive.api.config import CacheConfig
from overdrive.api.entry import StoredResponse
from overdrive.api.keeping import Keeper
from overdrive.api.memory import MemoryStore
from overdrive.api.origin import Origin, discard, nothing_more
from overdrive.api.policy import satisfies_client
from overdrive.api.request import Facts, Reader, key_of
from overdrive.api.serving import Answer, Server, send_answer
from overdrive.api.shared import Purge, SharedLevel
from overdrive.api.statistics import CacheStats, Tally

__all__ = ["ResponseCacheMiddleware"]

_READS = frozenset({"GET", "HEAD"})


class ResponseCacheMiddleware:
    """Cache the responses of an ASGI application, for all its clients (RFC 9111).

    What is private is neither stored nor given to others: requests with credentials and responses
    with cookies go past the cache unless the configuration says otherwise.

    Args:
        app: The application.
        config: Options; by default those of `CacheConfig()`.
        compression: How bodies are compressed, stored ones once; `None` for not at all.
        window: Seconds during which identical requests join one that is under way; 0 for never.
        max_followers: The most requests that wait for one.
        storing: Whether responses are kept at all, beyond those who wait for them.
        tally: Where to count; by default the middleware's own.
        clock: The time by which ages are told, in seconds.
        wall_clock: The Unix time, by which dates in header fields are read.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: CacheConfig | None = None,
        *,
        compression: Compression | None = None,
        window: float = 0.0,
        max_followers: int = 4096,
        storing: bool = True,
        tally: Tally | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config = config or CacheConfig()
        self.tally = tally or Tally()
        self.store = MemoryStore(config.max_size, config.max_bytes, config.max_variants)
        self._label = None if config.name is None else config.name.encode("ascii")
        self._server = Server(compression, self._label)
        self._reader = Reader(config)
        self._plain = self._reader.plain
        self._choices: Mapping[bytes | None, Choice] = (
            {None: Choice(IDENTITY, identity=True)}
            if compression is None
            else compression.codings.choices
        )
        self._lookup = self.store.get
        self._recorder = self.tally.recorder
        self._clock = clock
        self._surroundings: dict[str, Any] = {}
        self._origin = Origin(
            app,
            store=self.store,
            keeper=Keeper(config, self._server, clock, wall_clock),
            server=self._server,
            compression=compression,
            label=self._label,
            window=window,
            max_followers=max_followers,
            storing=storing,
            tally=self.tally,
            shared=None if config.store is None else SharedLevel(config.store, clock),
            clock=clock,
        )

        if config.store is not None:
            config.store.watch(self._forget)
        self.ask = self._origin.ask
        """Ask the application for something of which `find` returned the facts."""

    @property
    def app(self) -> ASGIApp:
        """The application inside."""
        return self._origin.app

    @app.setter
    def app(self, app: ASGIApp) -> None:
        self._origin.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            found = self.find(scope)
            if isinstance(found, tuple):
                await send_answer(Answer(*found), send)
            else:
                await self.handle(scope, receive, send, found)
        elif scope["type"] == "lifespan":
            self.adopt(scope)
            try:
                await self.app(scope, receive, send)
            finally:
                await self.close()
        else:
            await self.app(scope, receive, send)

    def find(  # noqa: PLR0911 - a ladder of reasons to look closer
        self, scope: Scope
    ) -> "tuple[int, Headers, bytes] | Facts | None":
        """Look up, the short way.

        Returns:
            The answer, or the facts of a request for what is not stored, or `None` if a closer look
            is needed.
        """
        # Everything is in one function, and decided by few look-ups: this is all that a hit costs.
        try:
            raw = scope["headers"]
            fields = dict(raw)
            method = scope["method"]
            # A name that occurs twice, or one that matters, needs a closer look.
            if (
                len(fields) != len(raw)
                or not self._plain.issuperset(fields)
                or method not in _READS
                or "user" in scope
                or "tls" in (scope.get("extensions") or ())
            ):
                return None
            get = fields.get
            key = (
                scope["scheme"],
                get(b"host", b"").lower(),
                scope.get("raw_path") or b"",
                scope["query_string"],
                scope.get("root_path", ""),
            )
            bucket = self._lookup(key)
            if bucket is None:
                return self._reader.read_plain(scope, key, fields) if method == "GET" else None
            entry = bucket.plain_for(get(b"accept", b"*/*"), get(b"accept-language"))
            if entry is None:
                entry = next((one for one in bucket.variants if one.matches(fields, ())), None)
                if entry is None:
                    return None
            now = self._clock()
            choice = self._choices.get(get(b"accept-encoding"))
            if now >= entry.fresh_until or choice is None or not choice.identity:
                return None
            form = entry.forms.get(choice.coding)
            if form is None:
                return None
            self._recorder.counters.hits += 1
            return (
                entry.status,
                form.stamped(int(now - entry.born), entry.terms.fresh),
                b"" if method == "HEAD" else form.body,
            )
        except Exception as error:  # noqa: BLE001 - the application can still answer
            self._origin.note_fault(error)
            return None

    async def handle(
        self, scope: Scope, receive: Receive, send: Send, facts: Facts | None = None
    ) -> None:
        """Serve a request, the long way.

        Args:
            scope: Of a request.
            receive: The server's.
            send: The server's.
            facts: What the short way found out.
        """
        if facts is not None:
            await self.ask(facts, scope, receive, send)
            return
        origin = self._origin
        try:
            facts = self._reader.read(scope)
            entry = None if facts.bypass else self._select(facts)
            answer = None if entry is None else await self._stored_answer(entry, facts, scope)
        except Exception as error:  # noqa: BLE001 - the application can still answer
            origin.note_fault(error)
            await origin.app(scope, receive, origin.compressed(scope, send))
            return
        if answer is not None:
            await send_answer(answer, send)
        elif facts.bypass is not None:
            await self._go_past(facts, scope, receive, send)
        elif "only-if-cached" in facts.directives:
            await send_answer(self._gateway_timeout(), send)
        elif facts.method == "HEAD":
            await origin.ask_head(facts, scope, receive, send)
        else:
            reason = self._reason(facts, entry)
            await origin.ask(facts, scope, receive, send, stale=entry, reason=reason)

    def _select(self, facts: Facts) -> StoredResponse | None:
        bucket = self.store.get(facts.key)
        if bucket is None:
            return None
        return next((entry for entry in bucket.variants if entry.suits(facts)), None)

    async def _stored_answer(
        self, entry: StoredResponse, facts: Facts, scope: Scope
    ) -> Answer | None:
        """Answer with what is stored, if that is allowed."""
        now = self._clock()
        age = entry.age(now)
        counters = self._recorder.counters
        if satisfies_client(facts.directives, age, entry.terms):
            counters.hits += 1
        elif self._may_be_refreshed_behind(entry, facts, age):
            counters.stale_hits += 1
            self._origin.refresh(entry, facts, scope)
        else:
            return None
        answer = await self._origin.render(entry, facts)
        self._origin.label(answer.headers, b"; hit; ttl=%d" % int(entry.fresh_until - now))
        return answer

    def _reason(self, facts: Facts, stale: StoredResponse | None) -> bytes:
        if stale is not None:
            return b"; fwd=request" if facts.directives else b"; fwd=stale"
        return b"; fwd=vary-miss" if self.store.get(facts.key) else b"; fwd=uri-miss"

    def _may_be_refreshed_behind(self, entry: StoredResponse, facts: Facts, age: float) -> bool:
        terms = entry.terms
        if terms.never_stale or facts.directives:
            return False
        return age < terms.fresh + terms.stale_while_revalidate

    def _gateway_timeout(self) -> Answer:
        headers = [(b"content-length", b"0")]
        self._origin.label(headers, b"; detail=only-if-cached")
        return Answer(504, headers, b"")

    async def _go_past(self, facts: Facts, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application answer; what changes something invalidates (RFC 9111, 4.4)."""
        self._recorder.counters.bypasses += 1

        async def invalidate(status: int, headers: Headers) -> None:
            if 200 <= status < 400:  # noqa: PLR2004 - no error
                try:
                    await self._purge(Purge("paths", tuple(_affected_paths(facts, headers))))
                except Exception as error:  # noqa: BLE001 - the answer must go out
                    self._origin.note_fault(error)

        way = "method" if facts.bypass == "method" else f"bypass; detail={facts.bypass}"
        on_start = invalidate if facts.unsafe else None
        await self._origin.pass_on(scope, receive, send, f"; fwd={way}".encode(), on_start)

    async def invalidate_cache(
        self, pattern: str | None = None, *, path: str | None = None, tag: str | None = None
    ) -> int:
        """Forget stored responses, and do not store what was asked for before.

        Args:
            pattern: Of paths, as of a shell (`/agents/*`).
            path: One path, with any query and host.
            tag: What has this tag. Without any of the three, everything is forgotten.

        Returns:
            How many resources were forgotten in this process.

        Raises:
            ValueError: If more than one of the three is given.
        """
        given = [
            Purge(kind, (name,))
            for kind, name in (("pattern", pattern), ("paths", path), ("tag", tag))
            if name is not None
        ]
        if len(given) > 1:
            raise ValueError(f"give one of pattern, path and tag, got {given!r}")
        return await self._purge(given[0] if given else Purge("all", ()))

    async def _purge(self, purge: Purge) -> int:
        count = self._forget(purge)
        await self._origin.purge_shared(purge)
        return count

    def _forget(self, purge: Purge) -> int:
        if purge.kind == "paths":
            return self.store.purge_paths(purge.names)
        if purge.kind == "pattern":
            return sum(self.store.purge_pattern(pattern) for pattern in purge.names)
        if purge.kind == "tag":
            return sum(self.store.purge_tag(tag) for tag in purge.names)
        return self.store.clear()

    async def warm_cache(
        self,
        endpoints: Iterable[str],
        *,
        base_url: str = "http://localhost",
        headers: Iterable[tuple[str, str]] = (),
    ) -> int:
        """Ask the application for paths, so that their responses are there when clients ask.

        Args:
            endpoints: Paths, with their queries if any.
            base_url: Scheme and host as clients use them, since each host has its own responses.
            headers: Header fields of the requests, for instance `Accept-Encoding`.

        Returns:
            How many of the responses are stored now.

        Raises:
            Exception: What the application raises.
        """
        base = urlsplit(base_url)
        fields = [(b"host", base.netloc.encode("latin-1"))]
        fields += [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in headers]
        count = 0
        for endpoint in endpoints:
            path, _, query = endpoint.partition("?")
            scope = {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.4"},
                "http_version": "1.1",
                "method": "GET",
                "scheme": base.scheme,
                "path": unquote(path),
                "raw_path": path.encode("utf-8"),
                "query_string": query.encode("utf-8"),
                "root_path": "",
                "headers": fields,
                "client": None,
                "server": (base.hostname, base.port),
                "extensions": {},
                **self._surroundings,
            }
            await self(scope, nothing_more(), discard)
            count += self.store.get(key_of(scope, fields[0][1])) is not None
        return count

    def time_by(self, timer: Callable[[int, Headers, int], None]) -> None:
        """Have a function called for each answer asked for by facts that say when they began.

        Args:
            timer: Called with the status, the header fields and the beginning.
        """
        self._origin.timer = timer

    def adopt(self, scope: Scope) -> None:
        """Remember what requests made by the cache itself need, from the lifespan's scope."""
        for name in ("app", "state"):
            if name in scope:
                self._surroundings[name] = scope[name]

    def stats(self) -> CacheStats:
        """Return counts of what happened, and what is stored."""
        tally, store = self.tally, self.store
        hits, misses, stale = tally.sum("hits"), tally.sum("misses"), tally.sum("stale_hits")
        asked = hits + stale + misses + tally.sum("followers")
        return CacheStats(
            hits=hits,
            misses=misses,
            stale_hits=stale,
            revalidations=tally.sum("revalidations"),
            bypasses=tally.sum("bypasses"),
            hit_rate=(hits + stale) / asked if asked else 0.0,
            stores=tally.sum("stores"),
            evictions=store.evictions,
            purged=store.purged,
            entries=len(store),
            size_bytes=store.size_bytes,
            max_bytes=self.config.max_bytes,
            faults=tally.sum("faults"),
            shared_hits=tally.sum("shared_hits"),
            shared_errors=tally.sum("shared_errors"),
        )

    async def close(self) -> None:
        """Stop what goes on behind. The middleware can be used again; twice does no harm."""
        await self._origin.close()


def _affected_paths(facts: Facts, headers: Headers) -> set[str]:
    """Return the paths whose responses a successful change puts out of date.

    That is the target and what the answer names, if it is of the same host (RFC 9111, 4.4), and
    beyond the RFC the collections above the target, which probably list it.
    """
    paths = {facts.path}
    for name, value in headers:
        if name in (b"location", b"content-location"):
            target = urlsplit(urljoin(facts.path, value.decode("latin-1")))
            host = target.netloc.lower().encode("latin-1")
            if not host or host == facts.key[1]:
                paths.add(unquote(target.path))
    parent = facts.path.rstrip("/")
    while parent := parent.rpartition("/")[0]:
        paths.update((parent, parent + "/"))
    return paths
