"""An ASGI application that answers with the metrics, for Prometheus to read."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from overdrive.observability.exports import CONTENT_TYPE
from overdrive.observability.monitor import PerformanceMonitor

__all__ = ["PrometheusEndpoint"]

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class PrometheusEndpoint:
    """Answers `GET` and `HEAD` with everything a monitor knows.

    An ASGI application, to be mounted at a path of another, such as `app.mount("/metrics", ...)` of
    FastAPI or Starlette. Who may read it is up to the application it is mounted in.

    Args:
        monitor: The monitor.
    """

    def __init__(self, monitor: PerformanceMonitor) -> None:
        self._monitor = monitor

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer, as ASGI wants it."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope["method"], send)
        else:
            raise ValueError(f"only HTTP is answered, not {scope['type']}")

    async def _answer(self, method: str, send: _Send) -> None:
        status, kind, body = 405, "text/plain; charset=utf-8", b"only GET and HEAD are answered\n"
        if method in {"GET", "HEAD"}:
            status, kind, body = 200, CONTENT_TYPE, self._monitor.to_prometheus().encode()
        headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(body))]
        if status == 405:  # noqa: PLR2004 - method not allowed
            headers.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if method == "HEAD" else body})


async def _live(receive: _Receive, send: _Send) -> None:
    """Take part in the lifespan of a server that serves nothing else."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
