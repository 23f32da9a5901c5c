"""Compress responses as the client likes it, and only those that gain by it."""

import asyncio
import logging
from collections.abc import Sequence

from overdrive.api.asgi import (
    ASGIApp,
    Header,
    Headers,
    Message,
    Receive,
    Scope,
    Send,
    find,
    find_all,
    lower_names,
    without,
)
from overdrive.api.coding import IDENTITY, Choice, CodecStream, Codings, load_codecs
from overdrive.api.config import CompressionConfig
from overdrive.api.headers import list_members, opaque_tag, parse_cache_control, weaken
from overdrive.api.paths import PathSet
from overdrive.api.statistics import Tally
from overdrive.executor import WorkStealingExecutor

__all__ = [
    "Compression",
    "CompressionMiddleware",
    "CompressionResponder",
    "encoded_headers",
    "logger",
    "varied",
]

logger = logging.getLogger("overdrive.api.performance_middleware")

_NO_BODY = frozenset({204, 205, 206, 304})
# They describe the bytes that are sent, so these must not be changed.
_DIGESTS = frozenset({b"content-digest", b"content-md5", b"digest", b"content-range"})
_DECISIVE = _DIGESTS | {b"cache-control", b"content-encoding", b"content-type"}
_MAX_KINDS = 256


class Compression:
    """Decides what is compressed, does it, and rewrites the header fields accordingly."""

    def __init__(self, config: CompressionConfig, tally: Tally | None = None) -> None:
        self.codings = Codings(load_codecs(config))
        self.tally = tally or Tally()
        self._config = config
        self._excluded = PathSet(config.exclude_paths)
        self._types = PathSet(config.types)
        self._excluded_types = PathSet(config.exclude_types)
        self._fitting: dict[bytes, bool] = {}
        self._threads: WorkStealingExecutor | None = None

    def applies(self, path: str, status: int, headers: Sequence[Header]) -> bool:
        """Whether what a client gets depends on its `Accept-Encoding`."""
        if status in _NO_BODY or status < 200 or path in self._excluded:  # noqa: PLR2004 - 1xx
            return False
        kind, controlled = b"", False
        for name, value in headers:
            if name in _DECISIVE:
                if name == b"content-type":
                    kind = value
                elif name == b"cache-control":
                    controlled = True
                else:
                    return False
        fits = self._fitting.get(kind)
        if fits is None:
            fits = self._fits(kind)
            if len(self._fitting) < _MAX_KINDS:
                self._fitting[kind] = fits
        if not fits or not controlled:
            return fits
        return "no-transform" not in parse_cache_control(find_all(headers, b"cache-control"))

    def _fits(self, content_type: bytes) -> bool:
        kind = content_type.partition(b";")[0].strip().lower().decode("latin-1")
        if kind in self._excluded_types:
            return False
        return kind in self._types or kind.endswith(("+json", "+xml"))

    def is_sent_plain(self, accept_encoding: bytes | None, size: int) -> bool:
        """Whether a body of that many bytes is too short for what a client accepts."""
        choice = self.codings.choose(accept_encoding)
        return not choice.is_none and (
            choice.coding == IDENTITY or (choice.identity and size < self._config.min_size)
        )

    def is_long_enough(self, size: int) -> bool:
        """Whether a body of that many bytes is worth it."""
        return size >= self._config.min_size

    def is_long(self, size: int) -> bool:
        """Whether a piece of that many bytes is compressed by another thread."""
        return size >= self._config.offload_bytes

    def is_excluded(self, path: str) -> bool:
        """Whether responses for a path are never compressed."""
        return path in self._excluded

    def encode_now(self, coding: str, data: bytes) -> bytes:
        """Compress a whole body."""
        encoded = self.codings.codecs[coding].compress(data)
        self.count(len(data), len(encoded), bodies=1)
        return encoded

    async def encode(self, coding: str, data: bytes) -> bytes:
        """Compress a whole body, a long one in another thread."""
        if len(data) < self._config.offload_bytes:
            return self.encode_now(coding, data)
        codec = self.codings.codecs[coding]
        loop = asyncio.get_running_loop()
        encoded = await loop.run_in_executor(self._executor(), codec.compress, data)
        self.count(len(data), len(encoded), bodies=1)
        return encoded

    async def encode_piece(self, stream: CodecStream, data: bytes, *, last: bool) -> bytes:
        """Compress a piece of a body so that the client can read it at once."""
        step = stream.finish if last else stream.write
        if len(data) < self._config.offload_bytes:
            encoded = step(data)
        else:
            loop = asyncio.get_running_loop()
            encoded = await loop.run_in_executor(self._executor(), step, data)
        self.count(len(data), len(encoded), bodies=last)
        return encoded

    def refusal(self, method: str) -> tuple[Headers, bytes]:
        """Return the answer to a client that takes no coding that there is."""
        body = b"Available codings: " + ", ".join(self.codings.codecs).encode()
        headers = [
            (b"content-type", b"text/plain"),
            (b"content-length", b"%d" % len(body)),
            (b"vary", b"Accept-Encoding"),
        ]
        return headers, b"" if method == "HEAD" else body

    def count(self, taken: int, made: int, *, bodies: int) -> None:
        """Add to the statistics."""
        counters = self.tally.recorder.counters
        counters.compressed += bodies
        counters.bytes_in += taken
        counters.bytes_out += made

    def close(self) -> None:
        """End the threads. The next long body starts new ones."""
        threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=True)

    def _executor(self) -> WorkStealingExecutor:
        if self._threads is None:
            self._threads = WorkStealingExecutor(2, thread_name_prefix="overdrive-compression")
        return self._threads


def varied(headers: Headers) -> Headers:
    """Say that the response depends on `Accept-Encoding`."""
    if find(headers, b"vary") is None:
        return [*headers, (b"vary", b"Accept-Encoding")]
    members = list_members(find_all(headers, b"vary"))
    if "accept-encoding" in members or "*" in members:
        return headers
    joined = b", ".join(find_all(headers, b"vary")) + b", Accept-Encoding"
    return [*without(headers, b"vary"), (b"vary", joined)]


def encoded_headers(headers: Headers, coding: str, size: int | None) -> Headers:
    """Rewrite header fields for an encoded body; its size is not told if not known.

    The entity tag becomes weak, because the bytes are others; parts of them cannot be asked for.
    """
    kept = [
        (name, weaken(value) if name == b"etag" else value)
        for name, value in headers
        if name not in (b"content-length", b"accept-ranges")
    ]
    kept.append((b"content-encoding", coding.encode()))
    if size is not None:
        kept.append((b"content-length", b"%d" % size))
    return varied(kept)


class CompressionMiddleware:
    """Compress the responses of an ASGI application.

    Args:
        app: The application.
        config: Options; by default those of `CompressionConfig()`.

    Raises:
        MissingExtraError: If the configuration names a coding whose package is not installed.
    """

    def __init__(self, app: ASGIApp, config: CompressionConfig | None = None) -> None:
        self.app = app
        self.compression = Compression(config or CompressionConfig())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            await self.app(scope, receive, CompressionResponder(self.compression, scope, send).send)
            return
        try:
            await self.app(scope, receive, send)
        finally:
            if scope["type"] == "lifespan":
                self.compression.close()


class CompressionResponder:
    """Compresses one response. Messages that it does not know pass, in their order."""

    __slots__ = ("_choice", "_compression", "_done", "_held", "_scope", "_send", "_stream")

    def __init__(self, compression: Compression, scope: Scope, send: Send) -> None:
        self._compression = compression
        self._scope = scope
        self._send = send
        self._choice: Choice | None = None
        self._held: Message | None = None
        self._stream: CodecStream | None = None
        self._done = False

    async def send(self, message: Message) -> None:
        """Take a message of the application."""
        kind = message["type"]
        if self._done:
            await self._send(message)
        elif kind == "http.response.start":
            await self._start(message)
        elif kind == "http.response.body":
            await (self._body(message) if self._stream is None else self._piece(message))
        else:
            if self._held is not None:
                await self._pass_start()
            await self._send(message)

    async def _start(self, message: Message) -> None:
        headers = lower_names(message.get("headers", ()))
        status = message["status"]
        if self._compression.applies(self._scope["path"], status, headers):
            self._held = {**message, "headers": headers}
            await self._decide(headers)
            return
        if status == 304:  # noqa: PLR2004 - Not Modified
            message = {**message, "headers": self._not_modified(headers)}
        self._done = True
        await self._send(message)

    async def _decide(self, headers: Headers) -> None:
        """Hold back the start only if what it says depends on the body."""
        accepted = find_all(lower_names(self._scope["headers"]), b"accept-encoding")
        joined = b", ".join(accepted) if accepted else None
        self._choice = choice = self._compression.codings.choose(joined)
        length = find(headers, b"content-length")
        if choice.is_none and self._scope["method"] in {"GET", "HEAD"}:
            await self._refuse()
        elif choice.coding == IDENTITY or (length is not None and self._is_short(length)):
            await self._pass_start()
        elif self._scope["method"] == "HEAD":
            await self._pass_start(encoded_headers(headers, choice.coding, None))
        elif length is None and not _may_send_files(self._scope):
            # The body comes bit by bit, perhaps late: the client need not wait for it to begin.
            await self._begin_stream(choice.coding)

    def _is_short(self, length: bytes) -> bool:
        assert self._choice is not None  # noqa: S101 - decided before
        size = int(length) if length.isdigit() else 0
        return size == 0 or (self._choice.identity and not self._compression.is_long_enough(size))

    def _not_modified(self, headers: Headers) -> Headers:
        """Name the entity tag by which the client knows what it has."""
        asked = b",".join(find_all(lower_names(self._scope["headers"]), b"if-none-match"))
        return [
            (name, weaken(value))
            if name == b"etag" and weaken(value) in asked and opaque_tag(value)
            else (name, value)
            for name, value in headers
        ]

    async def _refuse(self) -> None:
        """Say that there is no coding that the client takes (RFC 9110, 15.5.7)."""
        headers, body = self._compression.refusal(self._scope["method"])
        self._held = None
        send, self._send = self._send, _discard
        self._done = True
        await send({"type": "http.response.start", "status": 406, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _body(self, message: Message) -> None:
        """Take the first piece of a body before which the start was held back."""
        assert self._held is not None and self._choice is not None  # noqa: S101, PT018
        body, coding = message.get("body", b""), self._choice.coding
        if message.get("more_body", False):
            await self._begin_stream(coding)
            await self._piece(message)
        elif self._is_short(b"%d" % len(body)):
            await self._pass_start()
            await self._send(message)
        else:
            body = await self._compression.encode(coding, body)
            await self._pass_start(encoded_headers(self._held["headers"], coding, len(body)))
            await self._send({**message, "body": body})

    async def _begin_stream(self, coding: str) -> None:
        assert self._held is not None  # noqa: S101 - the callers have it
        headers = encoded_headers(self._held["headers"], coding, None)
        message, self._held = {**self._held, "headers": headers}, None
        self._stream = self._compression.codings.codecs[coding].stream()
        await self._send(message)

    async def _piece(self, message: Message) -> None:
        assert self._stream is not None  # noqa: S101 - the callers have it
        body, more = message.get("body", b""), message.get("more_body", False)
        if body or not more:
            body = await self._compression.encode_piece(self._stream, body, last=not more)
        await self._send({**message, "body": body})

    async def _pass_start(self, headers: Headers | None = None) -> None:
        """Send the start that was held back; all else then passes."""
        assert self._held is not None  # noqa: S101 - the callers have it
        message, self._held = self._held, None
        self._done = True
        message["headers"] = headers or varied(message["headers"])
        await self._send(message)


def _may_send_files(scope: Scope) -> bool:
    """Whether the application may leave the body to the server, which then is as it is."""
    extensions = scope.get("extensions") or {}
    return "http.response.pathsend" in extensions or "http.response.zerocopysend" in extensions


async def _discard(_: Message) -> None:
    """Take what nobody is sent any more."""
