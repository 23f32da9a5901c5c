"""Stored responses, and the forms in which they are ready to be sent."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import blake2b
from typing import Any

from overdrive.api.asgi import Header, Headers, find, find_all
from overdrive.api.headers import list_members
from overdrive.api.policy import Terms
from overdrive.api.request import Facts, Key, selecting_value

__all__ = [
    "Form",
    "StoredResponse",
    "accepted_by",
    "from_bytes",
    "make_etag",
    "read_tags",
    "storable_headers",
    "weight_of",
]

OVERHEAD = 1500
"""Bytes that a stored response takes beside its body and header fields; measured."""

_MAX_TAGS = 64
_NO_TAGS: frozenset[str] = frozenset()

_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authentication-info",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"age",
    )
)


class Form:
    """A stored response in one content coding, with the header fields that every client gets."""

    __slots__ = ("_label", "_stamped", "body", "headers")

    def __init__(self, headers: Headers, body: bytes, label: bytes | None) -> None:
        self.headers = headers
        self.body = body
        self._label = label
        self._stamped: tuple[int, Headers] = (-1, [])

    def stamped(self, age: int, fresh: float) -> Headers:
        """Return the header fields with the present age, of a response that is fresh so long."""
        made_at, stamped = self._stamped
        if made_at != age:
            ttl = int(fresh) - age
            stamped = [*self.headers, (b"age", b"%d" % age)]
            if self._label is not None:
                stamped.append((b"cache-status", b"%b; hit; ttl=%d" % (self._label, ttl)))
            # One assignment, so that no other thread sees half of it.
            self._stamped = (age, stamped)
        return stamped.copy()


class StoredResponse:
    """A complete response and all that is needed to use it again.

    Attributes:
        key: The resource.
        status: The status code.
        headers: Header fields as the application gave them, without those of the connection.
        body: The body, without a content coding of ours.
        terms: What was decided about it.
        born: The cache's clock when the response was generated.
        accepts: What that request accepted, if the response does not speak about caching.
        selecting: The values of the fields in `terms.vary`, of the request it answered.
        others: The unknown fields of that request.
        tags: Names under which it can be purged.
        forms: It in content codings, made when first wanted.
        negotiable: Whether it may be sent in one.
        weight: About how many bytes its header fields take.
    """

    __slots__ = (
        "accepts",
        "body",
        "born",
        "etag",
        "forms",
        "fresh_until",
        "headers",
        "key",
        "last_modified",
        "negotiable",
        "others",
        "own_etag",
        "path",
        "selecting",
        "status",
        "tags",
        "terms",
        "varied",
        "weight",
    )

    def __init__(
        self,
        facts: Facts,
        status: int,
        headers: Headers,
        body: bytes,
        terms: Terms,
        *,
        now: float,
        weight: int | None = None,
    ) -> None:
        self.key: Key = facts.key
        self.path = facts.path
        self.status = status
        self.headers = headers
        self.weight = weight_of(headers) if weight is None else weight
        self.body = body
        fields = facts.fields
        self.accepts = None if terms.explicit else accepted_by(fields)
        self.varied: dict[bytes, bytes | None] = {}
        self.selecting: tuple[object, ...] = ()
        if terms.vary:
            self.varied = {name: fields.get(name) for name in terms.vary}
            self.selecting = tuple(selecting_value(fields, name) for name in terms.vary)
        self.others = () if terms.explicit else facts.others
        self.tags: frozenset[str] = _NO_TAGS
        self.forms: dict[str, Form] = {}
        self.negotiable = False
        self.etag: bytes | None = None
        self.own_etag = False
        self.last_modified: bytes | None = None
        for name, value in headers:
            if name == b"etag":
                self.etag = value
            elif name == b"last-modified":
                self.last_modified = value
        self.terms = terms
        self.born = now - terms.age
        self.fresh_until = self.born + terms.fresh

    def matches(self, fields: Mapping[bytes, bytes], others: Sequence[Header]) -> bool:
        """Whether it may answer a request with these fields (RFC 9111, 4.1)."""
        if self.accepts is not None and (
            self.others != others or self.accepts != accepted_by(fields)
        ):
            return False
        for name, value in zip(self.terms.vary, self.selecting, strict=True):
            if selecting_value(fields, name) != value:
                return False
        return True

    def suits(self, facts: Facts) -> bool:
        """Whether it may answer a request, as far as that is not a matter of time."""
        personal = facts.authorization or facts.cookies
        return (self.terms.public or not personal) and self.matches(facts.fields, facts.others)

    def age(self, now: float) -> float:
        """Return its age in seconds (RFC 9111, 4.2.3)."""
        return max(0.0, now - self.born)

    @property
    def size(self) -> int:
        """About how many bytes of memory it takes."""
        size = OVERHEAD + self.weight + len(self.body) + len(self.key[2]) + len(self.key[3])
        for form in self.forms.values():
            size += 400 + 64 * len(form.headers)
            if form.body is not self.body:
                size += len(form.body)
        return size

    def to_bytes(self, now: float) -> bytes:
        """Write it for another process."""
        varied = dict(self.varied)
        if self.accepts is not None:
            varied[b"accept"], varied[b"accept-language"] = self.accepts
        head = {
            "status": self.status,
            "headers": _as_text(self.headers),
            "terms": {
                **asdict(self.terms),
                "age": self.age(now),
                "vary": [name.decode("latin-1") for name in self.terms.vary],
            },
            "varied": _as_text((n, v) for n, v in varied.items() if v is not None),
            "others": _as_text(self.others),
            "tags": sorted(self.tags),
            "own_etag": self.own_etag,
        }
        return json.dumps(head, separators=(",", ":")).encode() + b"\n" + self.body


def from_bytes(data: bytes, facts: Facts, now: float, elapsed: float) -> StoredResponse:
    """Read what `to_bytes` wrote.

    Args:
        data: What was written.
        facts: The request for whose key it was found.
        now: The cache's clock.
        elapsed: Seconds since it was written.

    Raises:
        ValueError: If it was not written by `to_bytes`, or for another shape of request.
    """
    try:
        line, _, body = data.partition(b"\n")
        head: dict[str, Any] = json.loads(line)
        told = head["terms"]
        vary = tuple(name.encode("latin-1") for name in told["vary"])
        terms = Terms(**{**told, "vary": vary, "age": told["age"] + max(0.0, elapsed)})
        asked = replace(
            facts, fields=dict(_as_bytes(head["varied"])), others=tuple(_as_bytes(head["others"]))
        )
        entry = StoredResponse(
            asked, head["status"], _as_bytes(head["headers"]), body, terms, now=now
        )
        entry.tags = frozenset(head["tags"])
        entry.own_etag = head["own_etag"]
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a stored response: {error!r}") from error
    return entry


def storable_headers(headers: Headers, tag_header: bytes) -> tuple[Headers, frozenset[str]]:
    """Split off what belongs to the connection (RFC 9111, 3.1), and the tags."""
    dropped = _HOP_BY_HOP | {tag_header}
    if find(headers, b"connection") is not None:
        names = list_members(find_all(headers, b"connection"))
        dropped = dropped.union(name.encode("latin-1") for name in names)
    tags = find_all(headers, tag_header)
    kept = [pair for pair in headers if pair[0] not in dropped]
    return kept, frozenset(tag for value in tags for tag in read_tags(value))


def weight_of(headers: Iterable[Header]) -> int:
    """Return about how many bytes header fields take."""
    return sum(len(name) + len(value) + 130 for name, value in headers)


def accepted_by(fields: Mapping[bytes, bytes]) -> tuple[bytes, bytes | None]:
    """Return by what an application may choose an answer without saying so in `Vary`."""
    return fields.get(b"accept", b"*/*"), fields.get(b"accept-language")


def read_tags(value: bytes) -> list[str]:
    """Read tags that are separated by commas or spaces."""
    return value.decode("latin-1").replace(",", " ").split()[:_MAX_TAGS]


def make_etag(body: bytes) -> bytes:
    """Make a strong entity tag from a body."""
    return b'"%b"' % blake2b(body, digest_size=12).hexdigest().encode()


def _as_text(headers: Iterable[Header]) -> list[list[str]]:
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]


def _as_bytes(headers: list[list[str]]) -> Headers:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
