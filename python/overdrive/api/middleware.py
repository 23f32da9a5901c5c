"""All of it in one middleware: cache, compression, coalescing, and the times of requests."""

from collections.abc import Callable, Iterable
from time import perf_counter_ns
from typing import Any

from overdrive._core import current_timing
from overdrive.api.asgi import ASGIApp, Headers, Message, Receive, Scope, Send
from overdrive.api.cache import ResponseCacheMiddleware
from overdrive.api.compression import Compression, CompressionResponder
from overdrive.api.config import CacheConfig, PerformanceConfig
from overdrive.api.statistics import ApiStats, Tally
from overdrive.sources import announce

__all__ = ["PerformanceMiddleware", "setup_performance_middleware"]

_SERVER_ERROR = 500


class PerformanceMiddleware:
    """Cache, compress and coalesce the responses of an ASGI application, and time them.

    Works with any application, for instance `app.add_middleware(PerformanceMiddleware)` in FastAPI
    and Starlette, or `app = PerformanceMiddleware(app)`. WebSockets pass untouched.

    Args:
        app: The application.
        config: Options; by default everything is on.

    Raises:
        MissingExtraError: If the configuration names a coding whose package is not installed.
    """

    def __init__(self, app: ASGIApp, config: PerformanceConfig | None = None) -> None:
        self.config = config = config or PerformanceConfig()
        self._tally = Tally()
        self._recorder = self._tally.recorder
        self._compression = (
            Compression(config.compression_config, self._tally)
            if config.compression_enabled
            else None
        )
        self._cache = self._make_cache(app, config)
        self._uses_cache = config.caching_enabled or config.deduplication_enabled
        self._find = self._cache.find if self._uses_cache else _find_nothing
        self._ask = self._cache.ask
        self._cache.time_by(self._time)
        self._timed = config.monitoring_enabled
        self._feed = announce("api", self, _figures)

    def _make_cache(self, app: ASGIApp, config: PerformanceConfig) -> ResponseCacheMiddleware:
        window = config.deduplication_window if config.deduplication_enabled else 0.0
        return ResponseCacheMiddleware(
            app,
            config.cache_config if config.caching_enabled else CacheConfig(name=None, etags=False),
            compression=self._compression,
            window=window,
            max_followers=config.max_followers,
            storing=config.caching_enabled,
            tally=self._tally,
        )

    @property
    def app(self) -> ASGIApp:
        """The application inside."""
        return self._cache.app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        began = perf_counter_ns()
        found = self._find(scope)
        if isinstance(found, tuple):
            status, headers, body = found
            if self._timed:
                elapsed = perf_counter_ns() - began
                self._recorder.counters.record(elapsed)
                self._feed.note(elapsed * 1e-9)
                milliseconds = b"%.3f" % (elapsed / 1e6)
                headers += (
                    (b"x-response-time", milliseconds + b"ms"),
                    (b"server-timing", b"cache;desc=hit;dur=" + milliseconds),
                )
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": body})
            return
        counters = self._recorder.counters
        counters.active += 1
        timing = self._feed.open() if self._timed else None
        try:
            if found is not None:
                found.began = began if self._timed else 0
                await self._ask(found, scope, receive, send)
            else:
                await self._handle(scope, receive, self._timed_send(send, began))
        except Exception:
            counters.errors += 1
            if timing is not None:
                timing.stop(True)  # noqa: FBT003 - positional only
            raise
        finally:
            counters.active -= 1
            if timing is not None:
                timing.leave()

    def _time(self, status: int, headers: Headers, began: int) -> None:
        """Record the time of an answer that begins, and tell the client."""
        elapsed = perf_counter_ns() - began
        counters = self._recorder.counters
        counters.record(elapsed)
        failed = status >= _SERVER_ERROR
        if failed:
            counters.errors += 1
        timing = current_timing()
        if timing is not None:
            timing.stop(failed)
        milliseconds = elapsed / 1e6
        headers.append((b"x-response-time", b"%.3fms" % milliseconds))
        headers.append((b"server-timing", b"total;dur=%.3f" % milliseconds))

    def _timed_send(self, send: Send, began: int) -> Send:
        if not self._timed:
            return send

        async def timed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                self._time(message["status"], headers, began)
                message = {**message, "headers": headers}
            await send(message)

        return timed

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return
        self._cache.adopt(scope)
        try:
            await self.app(scope, receive, send)
        finally:
            await self.close()

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._uses_cache:
            await self._cache.handle(scope, receive, send)
        elif self._compression is not None:
            responder = CompressionResponder(self._compression, scope, send)
            await self.app(scope, receive, responder.send)
        else:
            await self.app(scope, receive, send)

    def stats(self) -> ApiStats:
        """Return all statistics."""
        return ApiStats(
            requests=self._tally.requests(),
            cache=self._cache.stats(),
            compression=self._tally.compression(),
            deduplication=self._tally.deduplication(),
        )

    def get_statistics(self) -> dict[str, Any]:
        """Return all statistics as plain dictionaries.

        They are under `requests`, `cache`, `compression` and `deduplication`.
        """
        return self.stats().as_dict()

    async def invalidate_cache(
        self, pattern: str | None = None, *, path: str | None = None, tag: str | None = None
    ) -> int:
        """Forget stored responses; see `ResponseCacheMiddleware.invalidate_cache`."""
        return await self._cache.invalidate_cache(pattern, path=path, tag=tag)

    async def warm_cache(
        self,
        endpoints: Iterable[str],
        *,
        base_url: str = "http://localhost",
        headers: Iterable[tuple[str, str]] = (),
    ) -> int:
        """Ask for paths before clients do; see `ResponseCacheMiddleware.warm_cache`."""
        return await self._cache.warm_cache(endpoints, base_url=base_url, headers=headers)

    async def close(self) -> None:
        """Stop what goes on behind. Happens by itself when the server ends the lifespan."""
        await self._cache.close()
        if self._compression is not None:
            self._compression.close()


def _figures(middleware: PerformanceMiddleware) -> dict[str, float]:
    stats = middleware.stats()
    return {"active": stats.requests.active, "cache_hits": stats.cache.hits,
            "cache_misses": stats.cache.misses, "cache_bytes": stats.cache.size_bytes,
            "cache_entries": stats.cache.entries}  # fmt: skip


def setup_performance_middleware(
    app: Any, config: PerformanceConfig | None = None
) -> PerformanceMiddleware:
    """Put the middleware around a FastAPI or Starlette application that has not started.

    Args:
        app: The application.
        config: Options; by default everything is on.

    Returns:
        The very middleware that serves the application, for its statistics, purges and warming.

    Raises:
        RuntimeError: If the application has started.
        TypeError: If the application has no `add_middleware`.
    """
    if not hasattr(app, "add_middleware"):
        raise TypeError(
            f"expected an application of FastAPI or Starlette, got {type(app).__name__}; "
            "wrap others: app = PerformanceMiddleware(app)"
        )
    middleware = PerformanceMiddleware(_not_started, config)
    middleware._cache.adopt({"app": app})
    app.add_middleware(_adopter(middleware))
    return middleware


def _adopter(middleware: PerformanceMiddleware) -> Callable[[ASGIApp], PerformanceMiddleware]:
    def adopt(app: ASGIApp) -> PerformanceMiddleware:
        middleware._cache.app = app
        return middleware

    return adopt


async def _not_started(_scope: Scope, _receive: Receive, _send: Send) -> None:
    raise RuntimeError("the application has not started; send it a request or run its lifespan")


def _find_nothing(_: Scope) -> None:
    return None
