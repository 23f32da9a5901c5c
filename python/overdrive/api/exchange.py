"""One request that is asked of the application, and whose answer may be stored and shared.

The application is called in the task of the request, with the server's own `receive` and our
`send`. The start of the answer decides: what may not be stored passes untouched from there on. An
answer in one piece is stored, given to all who wait for it, and then sent from the store. One in
several pieces is sent piece by piece while a copy is kept, and stored when the application has
said that it is complete; never otherwise.
"""

from typing import TYPE_CHECKING

from overdrive.api.asgi import Headers, Message, Receive, Scope, Send
from overdrive.api.compression import varied
from overdrive.api.entry import StoredResponse
from overdrive.api.flights import Ending, Flight
from overdrive.api.keeping import Shape
from overdrive.api.memory import Ticket
from overdrive.api.policy import Terms
from overdrive.api.pump import Pump
from overdrive.api.request import Facts
from overdrive.api.serving import send_answer

if TYPE_CHECKING:
    from overdrive.api.origin import Origin

__all__ = ["Exchange"]

_ERRORS = frozenset({500, 502, 503, 504})
_NOT_MODIFIED = 304
_EARLY = frozenset({"http.response.push", "http.response.early_hint", "http.response.debug"})


class Exchange:
    """The state of one such request.

    Args:
        origin: Who asks.
        facts: The request.
        ticket: The right to store the answer.
        flight: Those who wait for it; `None` if nobody may.
        stale: What is stored and stale.
        reason: Why the application is asked, for `Cache-Status`.
    """

    mismatched = False
    """Whether the application said 304 about something that it was not asked about."""

    # Most answers need none of these, so they are made when they are set.
    _start: Message | None = None
    _shape: Shape | None = None
    _terms: Terms | None = None
    _length: int | None = None
    _held = False
    _chunks: list[bytes] | None = None
    _size = 0
    _kept = 0
    _out: Send | None = None
    _pump: Pump | None = None
    _swallow = False
    _client_lost = False

    def __init__(
        self,
        origin: "Origin",
        facts: Facts,
        ticket: Ticket,
        *,
        flight: "Flight[StoredResponse] | None",
        stale: StoredResponse | None,
        reason: bytes,
    ) -> None:
        self._origin = origin
        self._facts = facts
        self._ticket = ticket
        self._flight = flight
        self._stale = stale
        self._reason = reason

    async def run(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Ask the application and answer the client."""
        self._scope = scope
        self._receive = receive
        self._send = send
        asked = receive if self._flight is None else self.receive
        try:
            await self._origin.app(scope, asked, self.send)
            if self._pump is not None:
                await self._pump.finish()
        except Exception as error:
            self._end(Ending.ABANDONED if self._client_lost else Ending.RELEASED)
            stale = self._usable_stale()
            if stale is None:
                raise
            self._origin.note("the application failed; a stale response is used", error)
            await self._answer_stale(stale, b"; fwd=stale; detail=error")
        finally:
            if not self.mismatched:
                self._end(Ending.ABANDONED)
            if self._pump is not None:
                self._pump.cancel()
            if self._kept:
                self._origin.let_go(self._kept)

    async def receive(self) -> Message:
        """Pass on what the server has, but no disconnect while others wait for the answer."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and self._flight is not None:
            await self._flight.wait_until_left()
        return message

    async def send(self, message: Message) -> None:
        """Take a message of the application."""
        kind = message["type"]
        if kind == "http.response.start":
            if not self._begin(message):
                await self._begin_otherwise(message["status"])
        elif kind == "http.response.body" and self._held and not message.get("more_body", False):
            await self._whole(message)
        elif not self._swallow:
            await self._other(message)

    def _begin(self, message: Message) -> bool:
        """Take the start of an answer; whether it is held back, as it is to be stored whole."""
        fields, self._length = _split_length(message.get("headers", ()))
        self._start = message
        self._held = True
        self._shape = shape = self._origin.shape(self._facts, message["status"], fields)
        if isinstance(shape.verdict, str) or self._stale is not None or "trailers" in message:
            return False
        self._terms = shape.verdict
        return self._length is not None and self._length <= self._origin.max_body_bytes

    async def _begin_otherwise(self, status: int) -> None:
        assert self._shape is not None and self._start is not None  # noqa: S101, PT018 - just set
        if self._stale is not None and await self._use_stale(self._stale, status):
            return
        verdict = self._shape.verdict
        if isinstance(verdict, str) or self._start.get("trailers", False):
            await self._pass(verdict if isinstance(verdict, str) else "trailers")
        elif self._length is None:
            # Perhaps a stream: its client need not wait for the first piece to see the start.
            self._terms = verdict
            await self._tee()
        elif self._length > self._origin.max_body_bytes:
            await self._pass("size")
        else:
            self._terms = verdict

    async def _other(self, message: Message) -> None:
        if message["type"] != "http.response.body":
            if self._held and message["type"] not in _EARLY:
                await self._pass("message")
            await self._emit(message)
        elif self._chunks is not None:
            await self._piece(message)
        elif self._held:
            if self._flight is not None and not self._flight.ended:
                self._pump = Pump(self._open(), self._origin.max_body_bytes)
            await self._tee()
            await self._piece(message)
        else:
            await self._emit(message)

    async def _use_stale(self, stale: StoredResponse, status: int) -> bool:
        """Answer with what is stored, if the application says so or fails."""
        if status == _NOT_MODIFIED and self._start is not None:
            fields, _ = _split_length(self._start.get("headers", ()))
            entry = self._origin.freshen(stale, self._facts, fields, self._ticket)
            self._held = False
            self._swallow = True
            if entry is None:
                self.mismatched = True
            else:
                self._end(entry)
                await self._answer_stale(entry, b"; fwd=stale; fwd-status=304; stored")
            return True
        if status in _ERRORS and self._usable_stale() is not None:
            self._end(Ending.RELEASED)
            await self._answer_stale(stale, b"; fwd=stale; fwd-status=%d" % status)
            return True
        return False

    async def _pass(self, why: str) -> None:
        """Let the answer go to its client alone."""
        self._terms = None
        if self._flight is not None:
            self._origin.remember_private(self._facts, why)
            self._end(Ending.RELEASED)
        await self._emit_start(b"; detail=" + why.encode())

    async def _tee(self) -> None:
        self._chunks = []
        await self._emit_start(b"")

    async def _whole(self, message: Message) -> None:
        """Take an answer in one piece, whose start was held back."""
        entry = self._make(message.get("body", b""))
        if entry is None:
            self._end(Ending.RELEASED)
            await self._emit_start(b"; detail=length")
            await self._emit(message)
            return
        origin = self._origin
        answer = origin.server.ready(entry, self._facts, entry.born + entry.terms.age, first=True)
        stored = origin.put(entry, self._ticket)
        if self._flight is not None:
            self._flight.end(entry if stored else Ending.RELEASED)
        self._held = False
        self._swallow = True
        if answer is None:
            answer = await origin.render(entry, self._facts)
        status, headers, body = answer
        told = b"%b; fwd-status=%d%b" % (self._reason, entry.status, _STORED[stored])
        origin.finish(self._facts, status, headers, told)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _piece(self, message: Message) -> None:
        """Take a piece of an answer that is sent as it comes."""
        assert self._chunks is not None  # noqa: S101 - the callers have it
        body = message.get("body", b"")
        self._size += len(body)
        self._chunks.append(body)
        if self._size > self._origin.max_body_bytes or not self._hold(len(body)):
            self._chunks = None
            self._end(Ending.RELEASED)
            if self._pump is not None:
                self._pump.limit = 0
        elif not message.get("more_body", False):
            entry = self._make(b"".join(self._chunks))
            self._chunks = None
            stored = entry is not None and self._origin.put(entry, self._ticket)
            self._end(entry if entry is not None and stored else Ending.RELEASED)
        elif self._length is None:
            # Who knows how long it lasts; nobody else should wait for that.
            self._end(Ending.RELEASED)
        await self._emit(message)

    def _hold(self, size: int) -> bool:
        """Keep that many bytes more in memory until the end, if there is room for them."""
        if not self._origin.hold(size):
            return False
        self._kept += size
        return True

    def _make(self, body: bytes) -> StoredResponse | None:
        """Make a response to store; `None` if the application sent another length than it said."""
        if self._terms is None or self._shape is None or self._start is None:
            return None
        if self._length is not None and self._length != len(body):
            return None
        return self._origin.make(
            self._facts, self._start["status"], self._shape, self._terms, bytes(body)
        )

    async def _answer_stale(self, entry: StoredResponse, status: bytes) -> None:
        """Answer from the store; whatever else the application sends is not for the client."""
        self._held = False
        self._swallow = True
        answer = await self._origin.render(entry, self._facts)
        self._origin.finish(self._facts, answer.status, answer.headers, status)
        await send_answer(answer, self._send)

    async def _emit_start(self, detail: bytes) -> None:
        assert self._start is not None  # noqa: S101 - the callers have it
        self._held = False
        headers = self._origin.public(self._start.get("headers", ()))
        if self._out is None and self._shape is not None and self._length is not None:
            if not self._shape.negotiable:
                self._out = self._send
            elif self._origin.is_sent_plain(self._facts, self._length):
                headers = varied(headers)
                self._out = self._send
        self._origin.finish(self._facts, self._start["status"], headers, self._reason + detail)
        await self._emit({**self._start, "headers": headers})

    async def _emit(self, message: Message) -> None:
        try:
            if self._pump is not None:
                await self._pump.put(message)
            else:
                await self._open()(message)
        except Exception:
            self._client_lost = True
            raise

    def _open(self) -> Send:
        """Return by what the client is sent an answer that is not from the store."""
        if self._out is None:
            self._out = self._origin.compressed(self._scope, self._send)
        return self._out

    def _usable_stale(self) -> StoredResponse | None:
        if self._stale is None or not (self._held or self._start is None):
            return None
        return self._stale if self._origin.may_be_stale(self._stale, self._facts) else None

    def _end(self, outcome: StoredResponse | Ending) -> None:
        if self._flight is not None:
            self._flight.end(outcome)


_STORED = (b"", b"; stored")


def _split_length(headers: Headers) -> tuple[Headers, int | None]:
    fields: Headers = []
    length = None
    for name, value in headers:
        lower = name.lower()
        if lower == b"content-length":
            length = int(value) if value.isdigit() else None
        else:
            fields.append((lower, value))
    return fields, length
