"""Turn stored responses into answers: the coding a client likes, 304, 206 and 416, HEAD."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from overdrive.api.asgi import Header, Headers, Send, without
from overdrive.api.coding import IDENTITY, Choice
from overdrive.api.compression import Compression, encoded_headers, varied
from overdrive.api.entry import Form, StoredResponse
from overdrive.api.headers import http_date, matches_etag, parse_range
from overdrive.api.request import Facts

__all__ = ["Answer", "Server", "send_answer"]

_OK = 200
_NO_CONTENT = 204
_CONDITIONS = frozenset({b"if-none-match", b"if-modified-since", b"range"})
_KEPT_BY_304 = frozenset(
    {
        b"age",
        b"cache-control",
        b"cdn-cache-control",
        b"content-location",
        b"date",
        b"etag",
        b"expires",
        b"last-modified",
        b"vary",
        b"access-control-allow-origin",
        b"access-control-allow-credentials",
        b"access-control-expose-headers",
    }
)
_PLAIN = Choice(IDENTITY, identity=True)


class Answer(NamedTuple):
    """What a client is sent."""

    status: int
    headers: Headers
    body: bytes


class Server:
    """Makes answers of stored responses.

    Args:
        compression: How bodies are compressed; `None` for not at all.
        label: How the cache calls itself; `None` to say nothing.
    """

    def __init__(self, compression: Compression | None, label: bytes | None) -> None:
        self._compression = compression
        self._label = label
        self._encoding: dict[tuple[StoredResponse, str], asyncio.Task[bytes]] = {}

    def applies(self, path: str, status: int, headers: Sequence[Header]) -> bool:
        """Whether a response may be sent in a content coding."""
        return self._compression is not None and self._compression.applies(path, status, headers)

    def is_excluded(self, path: str) -> bool:
        """Whether what is sent for a path never has a coding."""
        return self._compression is not None and self._compression.is_excluded(path)

    def ready(
        self, entry: StoredResponse, facts: Facts, now: float, *, first: bool = False
    ) -> Answer | None:
        """Make the answer to a request, but for what the cache says about itself.

        Args:
            entry: What is stored.
            facts: The request.
            now: The cache's clock.
            first: Whether it is the answer to the request for which it was made.

        Returns:
            The answer; `None` if a long body must be compressed first.
        """
        fields = facts.fields
        liked = self._liked(fields)
        if not entry.negotiable and _CONDITIONS.isdisjoint(fields):
            plain = entry.forms[liked.coding] = self._identity(entry)
            body = b"" if facts.method == "HEAD" else plain.body
            return Answer(entry.status, _aged(entry, plain, now, first=first), body)
        if liked.is_none and entry.negotiable and self._compression is not None:
            return Answer(406, *self._compression.refusal(facts.method))
        choice = self._choice(entry, liked)
        if _CONDITIONS.isdisjoint(fields):
            form = self._form(entry, choice)
            if form is None:
                return None
            if choice is _PLAIN:
                # So that the short way need not decide again.
                entry.forms[liked.coding] = form
            body = b"" if facts.method == "HEAD" else form.body
            return Answer(entry.status, _aged(entry, form, now, first=first), body)
        return self._conditional(entry, facts, choice, now, first=first)

    async def answer(self, entry: StoredResponse, facts: Facts, now: float) -> Answer:
        """The same, compressing what must be compressed."""
        answer = self.ready(entry, facts, now)
        if answer is None:
            coding = self._choice(entry, self._liked(facts.fields)).coding
            self._add_form(entry, coding, await self._compressed(entry, coding))
            answer = self.ready(entry, facts, now)
            assert answer is not None  # noqa: S101 - the form is there now
        return answer

    def _conditional(
        self, entry: StoredResponse, facts: Facts, choice: Choice, now: float, *, first: bool
    ) -> Answer | None:
        fields = facts.fields
        identity = self._identity(entry)
        is_ok = entry.status == _OK
        part = None
        if is_ok and choice.identity and facts.method == "GET" and b"range" in fields:
            part = parse_range(fields[b"range"], len(entry.body))
        if part is not None and (len(part) > 1 or not _if_range_holds(entry, fields)):
            part = None
        form = identity if part is not None else self._form(entry, choice)
        if form is None:
            return None
        headers = _aged(entry, form, now, first=first)
        if is_ok and _is_not_modified(entry, fields):
            return Answer(304, [pair for pair in headers if pair[0] in _KEPT_BY_304], b"")
        if part is not None:
            return _part(entry, headers, part[0] if part else None)
        return Answer(entry.status, headers, b"" if facts.method == "HEAD" else form.body)

    def _liked(self, fields: Mapping[bytes, bytes]) -> Choice:
        if self._compression is None:
            return _PLAIN
        return self._compression.codings.choose(fields.get(b"accept-encoding"))

    def _choice(self, entry: StoredResponse, liked: Choice) -> Choice:
        if self._compression is None or not entry.negotiable or not entry.body:
            return _PLAIN
        short = not self._compression.is_long_enough(len(entry.body))
        return _PLAIN if liked.identity and short else liked

    def _form(self, entry: StoredResponse, choice: Choice) -> Form | None:
        form = entry.forms.get(choice.coding)
        if form is not None or self._compression is None:
            return form or self._identity(entry)
        if choice.coding == IDENTITY:
            return self._identity(entry)
        if self._compression.is_long(len(entry.body)):
            return None
        return self._add_form(
            entry, choice.coding, self._compression.encode_now(choice.coding, entry.body)
        )

    def _identity(self, entry: StoredResponse) -> Form:
        form = entry.forms.get(IDENTITY)
        if form is None:
            headers = entry.headers
            if entry.status != _NO_CONTENT:
                headers = [*headers, (b"content-length", b"%d" % len(entry.body))]
            headers = varied(headers) if entry.negotiable else headers
            form = entry.forms[IDENTITY] = Form(headers, entry.body, self._label)
        return form

    def _add_form(self, entry: StoredResponse, coding: str, body: bytes) -> Form:
        if len(body) < len(entry.body):
            headers = encoded_headers(entry.headers, coding, len(body))
            form = Form(headers, body, self._label)
        else:
            form = self._identity(entry)
        return entry.forms.setdefault(coding, form)

    async def _compressed(self, entry: StoredResponse, coding: str) -> bytes:
        """Compress in another thread, once for all who ask meanwhile."""
        assert self._compression is not None  # noqa: S101 - or nothing is compressed
        place = (entry, coding)
        task = self._encoding.get(place)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = asyncio.create_task(self._compression.encode(coding, entry.body))
            self._encoding[place] = task
            task.add_done_callback(lambda _: self._encoding.pop(place, None))
        return await asyncio.shield(task)


async def send_answer(answer: Answer, send: Send) -> None:
    """Send an answer."""
    status, headers, body = answer
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _aged(entry: StoredResponse, form: Form, now: float, *, first: bool) -> Headers:
    age = int(entry.age(now))
    return form.headers.copy() if first and not age else [*form.headers, (b"age", b"%d" % age)]


def _is_not_modified(entry: StoredResponse, fields: Mapping[bytes, bytes]) -> bool:
    """Whether the client has it already (RFC 9111, 4.3.2; RFC 9110, 13.2.2)."""
    if b"if-none-match" in fields:
        return matches_etag([fields[b"if-none-match"]], entry.etag)
    since = http_date(fields.get(b"if-modified-since"))
    modified = http_date(entry.last_modified)
    return since is not None and modified is not None and modified <= since


def _if_range_holds(entry: StoredResponse, fields: Mapping[bytes, bytes]) -> bool:
    """Whether parts of this very response are wanted (RFC 9110, 13.1.5)."""
    condition = fields.get(b"if-range")
    if condition is None:
        return True
    if condition.startswith(b'"'):
        return condition == entry.etag
    return condition == entry.last_modified


def _part(entry: StoredResponse, headers: Headers, part: tuple[int, int] | None) -> Answer:
    size = len(entry.body)
    kept = without(headers, b"content-length")
    if part is None:
        kept += [(b"content-range", b"bytes */%d" % size), (b"content-length", b"0")]
        return Answer(416, kept, b"")
    first, last = part
    kept += [
        (b"content-range", b"bytes %d-%d/%d" % (first, last, size)),
        (b"content-length", b"%d" % (last - first + 1)),
    ]
    return Answer(206, kept, entry.body[first : last + 1])
