"""The decisions of a shared cache: what may be stored, how long it is fresh, when stale will do.

Functions of their arguments alone, after RFC 9111 (HTTP Caching), RFC 5861 (serving stale) and
RFC 9213 (targeted fields). `docs/guide/http-caching.md` lists the clauses with their tests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from overdrive.api.asgi import Header
from overdrive.api.config import CacheConfig
from overdrive.api.headers import (
    FOREVER,
    delta_seconds,
    http_date,
    list_members,
    parse_cache_control,
)
from overdrive.api.paths import PathMap
from overdrive.api.request import Facts
from overdrive.api.structured import StructuredFieldError, parse_dictionary

__all__ = ["Policy", "Terms", "satisfies_client"]

STORABLE = frozenset({200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 451, 501})
"""Final status codes whose meaning for a cache is known, but for 206 and 304 (RFC 9111, 3)."""

_INTERESTING = frozenset(
    {
        b"age",
        b"cache-control",
        b"content-range",
        b"content-type",
        b"date",
        b"etag",
        b"expires",
        b"last-modified",
        b"pragma",
        b"set-cookie",
        b"vary",
    }
)
_NO_DIRECTIVES: dict[str, str | None] = {}


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a response is stored; times in seconds.

    Attributes:
        fresh: For how long it is fresh from its generation on.
        stale_while_revalidate: How long after that it may be used while a new one is fetched.
        stale_if_error: How long after that it may be used instead of an error.
        never_stale: Whether it must be validated once it is not fresh, whatever a client says.
        explicit: Whether the response itself says so; if not, it is only for requests whose
            unknown header fields are the same.
        public: Whether it is explicitly for everyone, also for requests with credentials.
        age: How old it was on arrival.
        vary: Names of the request header fields that select it.
    """

    fresh: float
    stale_while_revalidate: float
    stale_if_error: float
    never_stale: bool
    explicit: bool
    public: bool
    age: float
    vary: tuple[bytes, ...]


class Policy:
    """Judges responses by the options of a cache."""

    __slots__ = ("_config", "_endpoint_ttl", "_interesting", "_targets")

    def __init__(self, config: CacheConfig) -> None:
        self._config = config
        self._endpoint_ttl = PathMap(config.endpoint_ttl)
        self._targets = [target.lower().encode("latin-1") for target in config.targets]
        self._interesting = _INTERESTING.union(self._targets)

    def judge(
        self, facts: Facts, status: int, headers: Sequence[Header], now: float
    ) -> Terms | str:
        """Decide whether the answer to a request may be stored.

        Args:
            facts: The request.
            status: The status code.
            headers: The header fields, names in lower case.
            now: The Unix time at which the answer arrived.

        Returns:
            The terms, or in a word why not.
        """
        fields: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            if name in self._interesting:
                fields.setdefault(name, []).append(value)
        directives, targeted = self._directives(fields)
        vary = tuple(sorted({v.encode("latin-1") for v in list_members(fields.get(b"vary", ()))}))
        refusal = self._refusal(facts, status, fields, directives, vary)
        if refusal is not None:
            return refusal
        fresh = None if "no-cache" not in directives else 0.0
        if fresh is None:
            fresh = _explicit_lifetime(fields, directives, now, targeted=targeted)
        explicit = fresh is not None
        if fresh is None:
            fresh = self._implied_lifetime(facts, status, fields)
        return self._terms(fields, directives, now, fresh, explicit=explicit, vary=vary)

    def _directives(
        self, fields: Mapping[bytes, list[bytes]]
    ) -> tuple[Mapping[str, str | None], bool]:
        """Return the directives that count, and whether they are from a targeted field."""
        for target in self._targets:
            if target in fields:
                try:
                    members = parse_dictionary(fields[target])
                except StructuredFieldError:
                    continue
                if members:
                    return {name: _as_text(value) for name, value in members.items()}, True
        values = fields.get(b"cache-control")
        return parse_cache_control(values) if values else _NO_DIRECTIVES, False

    def _refusal(  # noqa: PLR0911 - a ladder of reasons
        self,
        facts: Facts,
        status: int,
        fields: Mapping[bytes, list[bytes]],
        directives: Mapping[str, str | None],
        vary: Sequence[bytes],
    ) -> str | None:
        if facts.method != "GET":
            return "method"
        if "no-store" in facts.directives:
            return "request"
        if status not in STORABLE or b"content-range" in fields:
            return "status"
        if "no-store" in directives and "must-understand" not in directives:
            return "no-store"
        if "private" in directives:
            return "private"
        public = "public" in directives or "s-maxage" in directives
        if b"set-cookie" in fields and not (public and self._config.allow_set_cookie):
            return "set-cookie"
        if (facts.authorization or facts.cookies) and not public:
            return "credentials"
        if b"*" in vary:
            return "vary"
        if fields.get(b"content-type", [b""])[0][:17].lower() == b"text/event-stream":
            return "stream"
        return None

    def _implied_lifetime(
        self, facts: Facts, status: int, fields: Mapping[bytes, list[bytes]]
    ) -> float:
        personal = facts.authorization or facts.cookies
        if self._config.strict or status != 200 or personal or b"pragma" in fields:  # noqa: PLR2004
            return 0.0
        ttl = self._endpoint_ttl.get(facts.path)
        return (self._config.default_ttl or 0.0) if ttl is None else ttl

    def _terms(
        self,
        fields: Mapping[bytes, list[bytes]],
        directives: Mapping[str, str | None],
        now: float,
        fresh: float,
        *,
        explicit: bool,
        vary: tuple[bytes, ...],
    ) -> Terms | str:
        revalidate = _extension(directives, "stale-while-revalidate")
        error = _extension(directives, "stale-if-error")
        never_stale = not directives.keys().isdisjoint(
            ("must-revalidate", "proxy-revalidate", "no-cache")
        )
        if "s-maxage" in directives and (self._config.strict or not (revalidate or error)):
            never_stale = True
        terms = Terms(
            fresh=fresh,
            stale_while_revalidate=revalidate,
            stale_if_error=error,
            never_stale=never_stale,
            explicit=explicit,
            public="public" in directives or "s-maxage" in directives,
            age=_initial_age(fields, now),
            vary=vary,
        )
        usable = terms.fresh > terms.age
        extended = not never_stale and (terms.stale_while_revalidate or terms.stale_if_error)
        if not (usable or extended or b"etag" in fields or b"last-modified" in fields):
            return "stale"
        return terms


def satisfies_client(directives: Mapping[str, str | None], age: float, terms: Terms) -> bool:
    """Whether a stored response is what the client asked for (RFC 9111, 5.2.1).

    Args:
        directives: The request's.
        age: The present age of the response.
        terms: On which it is stored.
    """
    if "no-cache" in directives:
        return False
    limit = delta_seconds(directives, "max-age")
    if limit is not None and age > limit:
        return False
    left = terms.fresh - age
    if left > (delta_seconds(directives, "min-fresh") or 0):
        return True
    if terms.never_stale or "max-stale" not in directives or "min-fresh" in directives:
        return False
    allowed = directives["max-stale"]
    return allowed is None or -left <= (delta_seconds(directives, "max-stale") or 0)


def _explicit_lifetime(
    fields: Mapping[bytes, list[bytes]],
    directives: Mapping[str, str | None],
    now: float,
    *,
    targeted: bool,
) -> float | None:
    for name in ("s-maxage", "max-age"):
        seconds = delta_seconds(directives, name)
        if seconds is not None:
            return float(seconds)
    if targeted or b"expires" not in fields:
        return None
    expires = http_date(fields[b"expires"][0], now)
    if expires is None:
        return 0.0
    date = http_date(fields.get(b"date", [b""])[0], now)
    return max(0.0, expires - (now if date is None else date))


def _extension(directives: Mapping[str, str | None], name: str) -> float:
    return float(delta_seconds(directives, name) or 0)


def _initial_age(fields: Mapping[bytes, list[bytes]], now: float) -> float:
    """Return the corrected age on arrival (RFC 9111, 4.2.3); asking takes no time."""
    date = http_date(fields[b"date"][0], now) if b"date" in fields else None
    apparent = 0.0 if date is None else max(0.0, now - date)
    if b"age" not in fields:
        return apparent
    told = fields[b"age"][0].split(b",")[0].strip().decode("latin-1")
    seconds = delta_seconds({"age": told}, "age") or 0
    return max(apparent, float(min(seconds, FOREVER)))


def _as_text(value: object) -> str | None:
    """Turn a structured value into what `delta_seconds` reads; wrong types become invalid."""
    if value is True:
        return None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return ""
