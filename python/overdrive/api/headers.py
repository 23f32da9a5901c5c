"""Parsers of the header fields that caching and negotiation rest on.

Input is whatever a client or an application sent, so none of these raises: what cannot be read is
reported as absent, as invalid, or as the cautious reading, as each function says.
"""

import re
from calendar import timegm
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from time import time
from typing import NamedTuple

__all__ = [
    "FOREVER",
    "ByteRange",
    "delta_seconds",
    "http_date",
    "list_members",
    "matches_etag",
    "opaque_tag",
    "parse_accept_encoding",
    "parse_cache_control",
    "parse_range",
    "weaken",
]

FOREVER = 2**31
"""What a number of seconds too large to be meant is taken for (RFC 9111, 1.2.2)."""

_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_DIRECTIVE = re.compile(rf'({_NAME})[ \t]*(?:=[ \t]*(?:({_NAME})|"((?:[^"\\]|\\.)*)"))?')
_WEIGHT = r"(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)"
_CODING = re.compile(rf"[ \t]*({_NAME})[ \t]*(?:;[ \t]*[qQ][ \t]*=[ \t]*{_WEIGHT}[ \t]*)?")
_ETAG = re.compile(rb'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_ETAG_MEMBER = re.compile(_ETAG.pattern + rb"[ \t]*(?:,[ \t,]*|$)")
_RANGE = re.compile(r"[ \t]*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))[ \t]*")
_WORD = r"[A-Z][a-z]{2}"
_TIME = r"\d\d:\d\d:\d\d"
_DATE = re.compile(
    rf"(?:{_WORD}, (?P<d1>\d{{2}}) (?P<m1>{_WORD}) (?P<y1>\d{{4}}) (?P<t1>{_TIME}) GMT"
    rf"|[A-Z][a-z]{{5,8}}, (?P<d2>\d{{2}})-(?P<m2>{_WORD})-(?P<y2>\d{{2}}) (?P<t2>{_TIME}) GMT"
    rf"|{_WORD} (?P<m3>{_WORD}) (?P<d3>[ \d]\d) (?P<t3>{_TIME}) (?P<y3>\d{{4}}))",
    re.ASCII,
)
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
        start=1,
    )
}
_MAX_MEMBERS = 128
# Reading a field must not cost more than it took to send it.
_MAX_LENGTH = 4096


class ByteRange(NamedTuple):
    """A part of a body, both ends included."""

    first: int
    last: int


def parse_cache_control(values: Iterable[bytes]) -> dict[str, str | None]:
    """Read the directives of a `Cache-Control` field (RFC 9111, 5.2).

    The first of several occurrences counts. A directive with rubbish behind it has no value. A
    field too long to be meant is read as `no-store`.
    """
    directives: dict[str, str | None] = {}
    for value in values:
        text = value.decode("latin-1")
        if len(text) > _MAX_LENGTH:
            return {"no-store": None}
        position = 0
        while match := _DIRECTIVE.search(text, position):
            name, token, quoted = match.groups()
            if quoted is not None:
                token = re.sub(r"\\(.)", r"\1", quoted)
            comma = text.find(",", match.end())
            if text[match.end() : comma if comma >= 0 else None].strip(" \t"):
                token = None
            directives.setdefault(name.lower(), token)
            if comma < 0:
                break
            position = comma + 1
    return directives


def delta_seconds(directives: Mapping[str, str | None], name: str) -> int | None:
    """Return the seconds of a directive; `None` if it is absent, 0 if it is not a number."""
    if name not in directives:
        return None
    text = directives[name] or ""
    if not (text.isascii() and text.isdigit()):
        return 0
    return FOREVER if len(text) > 10 else min(int(text), FOREVER)  # noqa: PLR2004 - digits of 2**31


def http_date(value: bytes | None, now: float | None = None) -> float | None:
    """Return the Unix time of a date in any of the three forms of RFC 9110, 5.6.7.

    Args:
        value: The field; surrounding spaces are allowed.
        now: The Unix time, by which a year of two digits is placed; by default the present one.
    """
    match = _DATE.fullmatch(value.decode("latin-1").strip(" \t")) if value else None
    if match is None:
        return None
    part = {key[0]: text for key, text in match.groupdict().items() if text is not None}
    year = int(part["y"])
    if len(part["y"]) == 2:  # noqa: PLR2004 - the form of RFC 850
        this_year = datetime.fromtimestamp(time() if now is None else now, UTC).year
        year += this_year - this_year % 100
        year -= 100 if year > this_year + 50 else 0
    try:
        hour, minute, second = map(int, part["t"].split(":"))
        leap = second == 60  # noqa: PLR2004 - a leap second
        date = datetime(  # noqa: DTZ001 - HTTP dates are UTC, and so does timegm read them
            year, _MONTHS[part["m"]], int(part["d"]), hour, minute, second - leap
        )
    except (KeyError, ValueError):
        return None
    return float(timegm(date.timetuple()) + leap)


def list_members(values: Iterable[bytes]) -> list[str]:
    """Split a comma-separated list of tokens, in lower case, without empty members."""
    members = (
        member.strip(" \t").lower()
        for value in values
        for member in value.decode("latin-1").split(",")
    )
    return [member for member in members if member]


def parse_accept_encoding(value: bytes) -> dict[str, float]:
    """Read the weights of content codings (RFC 9110, 12.5.3), by name in lower case.

    A member that cannot be read is left out: what a client did not say clearly it did not accept.
    Of a name said twice the first counts; `x-gzip` is `gzip`.
    """
    weights: dict[str, float] = {}
    for member in value.decode("latin-1").split(",", _MAX_MEMBERS)[:_MAX_MEMBERS]:
        if match := _CODING.fullmatch(member):
            name = match[1].lower()
            weights.setdefault("gzip" if name == "x-gzip" else name, float(match[2] or 1))
    return weights


def opaque_tag(etag: bytes) -> bytes | None:
    """Return an entity tag without its weakness; `None` if it is not one."""
    match = _ETAG.fullmatch(etag.strip(b" \t"))
    return match[2] if match else None


def weaken(etag: bytes) -> bytes:
    """Make an entity tag weak, so that it may stand for several encodings of one thing."""
    return etag if etag.startswith(b"W/") else b"W/" + etag


def matches_etag(values: Iterable[bytes], etag: bytes | None) -> bool:
    """Whether an `If-None-Match` field names the entity tag, by weak comparison.

    `*` matches anything that exists, so also what has no tag. A field that cannot be read matches
    nothing.
    """
    joined = b",".join(values).strip(b" \t")
    if joined == b"*":
        return True
    wanted = opaque_tag(etag) if etag else None
    if wanted is None or wanted not in joined:
        return False
    found, position = False, 0
    while position < len(joined):
        match = _ETAG_MEMBER.match(joined, position)
        if match is None:
            return False
        found = found or match[2] == wanted
        position = match.end()
    return found


def parse_range(value: bytes, size: int) -> list[ByteRange] | None:
    """Read the parts that a `Range` field asks for of a body of `size` bytes.

    Returns:
        The satisfiable parts, none if there are none; `None` if the field is not about bytes or
        cannot be read, and is therefore to be ignored (RFC 9110, 14.2).
    """
    unit, equals, text = value.decode("latin-1").partition("=")
    if not equals or unit.strip(" \t").lower() != "bytes":
        return None
    ranges: list[ByteRange] = []
    for member in text.split(",", _MAX_MEMBERS):
        match = _RANGE.fullmatch(member)
        if match is None:
            return None
        first, last, suffix = match.groups()
        if suffix is not None:
            start, end = max(0, size - int(suffix)), size - 1
        else:
            start, end = int(first), min(int(last), size - 1) if last else size - 1
            if last and int(last) < start:
                return None
        if start <= end:
            ranges.append(ByteRange(start, end))
    return ranges
