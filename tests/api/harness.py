"""An ASGI client that shows every message, and applications that say what they are told to."""

import asyncio
from dataclasses import dataclass, field
from email.utils import formatdate

from overdrive.api import CacheConfig, ResponseCacheMiddleware

NOW = 1_750_000_000.0
STRICT = {"strict": True}


async def settle():
    """Let everything that can go on do so."""
    for _ in range(20):
        await asyncio.sleep(0)


@dataclass
class Reply:
    status: int
    headers: list
    body: bytes
    messages: list

    def __getitem__(self, name):
        return ", ".join(v.decode() for n, v in self.headers if n == name.lower().encode())

    def __contains__(self, name):
        return any(n == name.lower().encode() for n, _ in self.headers)

    @property
    def outcome(self):
        """The cache's own words, without its name."""
        return self["cache-status"].partition("; ")[2]

    @property
    def is_hit(self):
        return self.outcome.startswith("hit")


def scope_of(
    path="/", *, method="GET", headers=(), query="", scheme="http", host="example.org", **more
):
    fields = [(b"host", host.encode())] if host is not None else []
    pairs = headers.items() if isinstance(headers, dict) else headers
    fields += [
        (
            n.lower().encode() if isinstance(n, str) else n,
            v.encode("latin-1") if isinstance(v, str) else v,
        )
        for n, v in pairs
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": scheme,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode() if isinstance(query, str) else query,
        "root_path": "",
        "headers": fields,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "extensions": {},
        **more,
    }


async def ask(app, path="/", *, body=b"", receive=None, on_message=None, **options):
    messages = []
    asked = False

    async def from_client():
        nonlocal asked
        if asked:
            await asyncio.get_running_loop().create_future()
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        messages.append(message)
        if on_message is not None:
            await on_message(message)

    await app(scope_of(path, **options), receive or from_client, send)
    return reply_of(messages)


def reply_of(messages):
    start = next(m for m in messages if m["type"] == "http.response.start")
    bodies = [m for m in messages if m["type"] == "http.response.body"]
    assert not bodies or not bodies[-1].get("more_body", False), "the answer has no end"
    return Reply(
        start["status"],
        list(start["headers"]),
        b"".join(m.get("body", b"") for m in bodies),
        messages,
    )


@dataclass
class Origin:
    """An application whose answer can be changed, and that counts how often it is asked."""

    body: bytes = b"hello"
    status: int = 200
    headers: dict | list = field(default_factory=dict)
    length: bool = True
    chunks: list | None = None
    requests: list = field(default_factory=list)

    @property
    def count(self):
        return len(self.requests)

    async def __call__(self, scope, receive, send):
        self.requests.append(scope)
        await self.answer(scope, receive, send)

    async def answer(self, scope, receive, send):
        body = self.body(scope) if callable(self.body) else self.body
        pairs = self.headers(scope) if callable(self.headers) else self.headers
        pairs = pairs.items() if isinstance(pairs, dict) else pairs
        fields = [(n.lower().encode(), v.encode()) for n, v in pairs]
        names = {n for n, _ in fields}
        if b"content-type" not in names:
            fields.append((b"content-type", b"application/json"))
        if self.length and self.chunks is None and b"content-length" not in names:
            fields.append((b"content-length", b"%d" % len(body)))
        status = self.status(scope) if callable(self.status) else self.status
        await send({"type": "http.response.start", "status": status, "headers": fields})
        if self.chunks is not None:
            for chunk in self.chunks:
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        elif scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
        else:
            await send({"type": "http.response.body", "body": body})

    def asked(self, name, index=-1):
        """Return a header field of a request that arrived."""
        found = [v for n, v in self.requests[index]["headers"] if n == name.lower().encode()]
        return b", ".join(found).decode() if found else None


class Clock:
    """A time that passes when told to; both the cache's and the wall's."""

    def __init__(self, now=1_750_000_000.0):
        self.now = now

    def __call__(self):
        return self.now

    def pass_by(self, seconds):
        self.now += seconds


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


class Site:
    """An origin behind a cache, with a clock."""

    def __init__(self, headers=None, *, config=None, **origin):
        self.clock = Clock(NOW)
        self.origin = Origin(headers=headers or {}, **origin)
        self.cache = ResponseCacheMiddleware(
            self.origin,
            CacheConfig(**(config or STRICT)),
            window=5.0,
            clock=self.clock,
            wall_clock=self.clock,
        )

    def get(self, path="/", **options):
        return run(self.behind(path, **options))

    async def behind(self, path="/", **options):
        reply = await ask(self.cache, path, **options)
        # What goes on behind is part of the story.
        await asyncio.gather(*self.cache._origin._tasks)
        return reply

    def is_stored(self, path="/", **options):
        self.get(path, **options)
        return self.get(path, **options).is_hit


def date(seconds=0.0):
    return formatdate(NOW + seconds, usegmt=True)


def revalidating(scope):
    """Say 304 to whoever asks by an entity tag."""
    return 304 if any(n == b"if-none-match" for n, _ in scope["headers"]) else 200
