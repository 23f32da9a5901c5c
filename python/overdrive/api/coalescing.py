"""One answer for identical requests: as a middleware of its own, and for direct use."""

import asyncio
import copy
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from overdrive.api.asgi import ASGIApp, Receive, Scope, Send, lower_names
from overdrive.api.cache import ResponseCacheMiddleware
from overdrive.api.config import CacheConfig
from overdrive.api.flights import Ending, FlightsByLoop
from overdrive.api.policy import Policy
from overdrive.api.request import Facts, Reader, selecting_value

__all__ = ["CoalescingMiddleware", "RequestDeduplicator"]

_MAX_RESULTS = 1024


class CoalescingMiddleware:
    """Let identical requests that come at the same time share one answer.

    Only `GET` without credentials, and only answers that a shared cache might store; nothing is
    kept. Whoever asked first is not held back by those who wait, nor they by it: if it is
    cancelled another one asks, and if its answer is not for others all ask at once.

    Args:
        app: The application.
        window_seconds: How long a request may be joined, and how long others wait for it.
        max_followers: The most that wait for one; further ones ask by themselves.
    """

    def __init__(
        self, app: ASGIApp, *, window_seconds: float = 10.0, max_followers: int = 4096
    ) -> None:
        self.app = app
        self._engine = ResponseCacheMiddleware(
            app,
            CacheConfig(name=None, etags=False, default_ttl=max(window_seconds, 1.0)),
            window=window_seconds,
            max_followers=max_followers,
            storing=False,
        )
        self.stats = self._engine.tally.deduplication

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            await self._engine.handle(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class RequestDeduplicator:
    """Handle identical requests once within a time window.

    A request that comes while an identical one is handled waits for its result; one that comes
    afterwards, but within the window, gets the same result. That holds for `GET` and `HEAD` without
    credentials. Results that are responses are shared only if a shared cache might store them, and
    a background task of theirs runs once. What is shared must not be changed.

    Args:
        window_seconds: Seconds from the beginning of a handling during which it is shared.
        max_followers: The most requests that wait for one.
        max_results: The most results kept.

    Raises:
        ValueError: If an option is negative.
    """

    def __init__(
        self,
        window_seconds: float = 10.0,
        *,
        max_followers: int = 4096,
        max_results: int = _MAX_RESULTS,
    ) -> None:
        for name, value in (
            ("window_seconds", window_seconds),
            ("max_followers", max_followers),
            ("max_results", max_results),
        ):
            if value < 0:
                raise ValueError(f"{name} must be at least 0, got {value!r}")
        config = CacheConfig(default_ttl=max(window_seconds, 1.0), exclude_paths=())
        self._reader = Reader(config)
        self._policy = Policy(config)
        self._window = window_seconds
        self._max_results = max_results
        self._flights: FlightsByLoop[_Shared] = FlightsByLoop(window_seconds, max_followers)
        self._results: OrderedDict[object, tuple[float, _Shared]] = OrderedDict()

    async def deduplicate_request(
        self, request: Any, handler: Callable[[Any], Awaitable[Any] | Any]
    ) -> Any:
        """Return what `handler(request)` returns, or returned for an identical request.

        Args:
            request: A request of Starlette or FastAPI, or an ASGI scope.
            handler: A function, plain or `async`, that takes the request.

        Raises:
            Exception: What the handler raises. A failure is not shared.
        """
        facts = self._reader.read(getattr(request, "scope", request))
        if facts.bypass is not None:
            return await _call(handler, request)
        loop = asyncio.get_running_loop()
        key = (loop, facts.method, facts.key, facts.others)
        kept = self._kept(key, facts, loop.time())
        if kept is not None:
            return kept.for_another()
        flights = self._flights.of(loop)
        deadline = loop.time() + self._window
        while (now := loop.time()) <= deadline:
            flight = flights.find(key, now)
            if flight is None:
                return await self._lead(key, facts, request, handler)
            if flights.is_full(flight):
                break
            outcome = await flight.wait(deadline)
            if isinstance(outcome, _Shared) and outcome.suits(facts):
                return outcome.for_another()
            if outcome is not Ending.ABANDONED:
                break
        return await _call(handler, request)

    async def _lead(
        self, key: object, facts: Facts, request: Any, handler: Callable[[Any], Any]
    ) -> Any:
        loop = asyncio.get_running_loop()
        began = loop.time()
        flight = self._flights.of(loop).lead(key, began)
        try:
            result = await _call(handler, request)
            shared = self._shared(facts, result)
            if shared is not None:
                self._keep(key, began, shared)
            flight.end(Ending.RELEASED if shared is None else shared)
        except Exception:
            flight.end(Ending.RELEASED)
            raise
        finally:
            flight.end(Ending.ABANDONED)
        return result

    def _shared(self, facts: Facts, result: Any) -> "_Shared | None":
        """Decide whether a result is for others too."""
        status, headers = getattr(result, "status_code", None), getattr(result, "raw_headers", None)
        if status is None or headers is None:
            return _Shared(result, facts, ())
        if hasattr(result, "body_iterator") or not hasattr(result, "body"):
            return None
        asked = facts if facts.method == "GET" else replace(facts, method="GET")
        terms = self._policy.judge(asked, status, lower_names(headers), time.time())
        if isinstance(terms, str) or terms.fresh <= terms.age:
            return None
        return _Shared(result, facts, terms.vary)

    def _keep(self, key: object, began: float, shared: "_Shared") -> None:
        self._results[key] = (began + self._window, shared)
        while len(self._results) > self._max_results:
            self._results.popitem(last=False)

    def _kept(self, key: object, facts: Facts, now: float) -> "_Shared | None":
        until, shared = self._results.get(key, (0.0, None))
        if shared is None or not shared.suits(facts):
            return None
        if now >= until:
            self._results.pop(key, None)
            return None
        return shared


class _Shared:
    """A result, and the requests for which it is."""

    __slots__ = ("_result", "_selecting", "_vary")

    def __init__(self, result: Any, facts: Facts, vary: tuple[bytes, ...]) -> None:
        self._result = result
        self._vary = vary
        self._selecting = [selecting_value(facts.fields, name) for name in vary]

    def suits(self, facts: Facts) -> bool:
        return self._selecting == [selecting_value(facts.fields, name) for name in self._vary]

    def for_another(self) -> Any:
        if getattr(self._result, "background", None) is None:
            return self._result
        result = copy.copy(self._result)
        result.background = None
        return result


async def _call(handler: Callable[[Any], Any], request: Any) -> Any:
    result = handler(request)
    return await result if isinstance(result, Awaitable) else result
