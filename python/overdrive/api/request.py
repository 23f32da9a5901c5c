"""What a cache must know about a request, read once.

Header fields are of four kinds. *Inert* ones do not matter unless a response names them in `Vary`.
*Credentials* say who is asking. *Control* fields say what the client wants of the cache. What is
left is unknown, and an answer that does not speak about caching may depend on it: such answers are
only given to requests in which all unknown fields, `Accept` and `Accept-Language` are the same.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from overdrive.api.asgi import Header, Headers, Scope, lower_names
from overdrive.api.config import CacheConfig
from overdrive.api.headers import parse_accept_encoding, parse_cache_control
from overdrive.api.paths import PathSet

__all__ = ["Facts", "Key", "Reader", "host_of", "selecting_value"]

Key: TypeAlias = tuple[str, bytes, bytes, bytes, str]
"""Scheme, host, raw path, raw query, root path: all that names a resource to an application."""

MAX_KEY_BYTES = 4096
_MAX_HOSTS = 256
_NO_DIRECTIVES: Mapping[str, str | None] = {}

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_HOST = re.compile(rb"(?:[a-z0-9._~-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")
_DEFAULT_PORTS = {"http": b":80", "https": b":443"}

_INERT = frozenset(
    b"""host accept accept-encoding accept-language accept-charset user-agent connection keep-alive
    te dnt sec-gpc referer priority upgrade-insecure-requests save-data purpose x-purpose via
    forwarded x-forwarded-for x-forwarded-proto x-real-ip x-request-id x-correlation-id
    x-request-start traceparent tracestate baggage b3 x-b3-traceid x-b3-spanid x-b3-parentspanid
    x-b3-sampled sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user sec-ch-ua
    sec-ch-ua-mobile sec-ch-ua-platform sec-purpose""".split()
)
_CREDENTIALS = frozenset(
    b"""authorization proxy-authorization cookie cookie2 x-api-key api-key apikey x-auth-token
    x-access-token x-session-token x-session-id x-csrf-token x-amz-security-token x-user x-user-id
    x-forwarded-user x-forwarded-email x-remote-user remote-user x-client-cert ssl-client-cert
    x-ssl-client-cert x-forwarded-client-cert x-auth-request-user x-auth-request-email
    x-forwarded-access-token x-goog-iap-jwt-assertion cf-access-jwt-assertion""".split()
)
_CONTROL = frozenset(
    b"""cache-control pragma range if-range if-match if-none-match if-modified-since
    if-unmodified-since content-length""".split()
)
# What only the origin can decide (RFC 9111, 4.3.2; RFC 9110, 7.8 and 10.1.1).
_UNKNOWN_TERMS = frozenset({b"if-match", b"if-unmodified-since", b"upgrade", b"expect"})


@dataclass(slots=True)
class Facts:
    """A request as the cache sees it.

    Attributes:
        method: In upper case, as the server gave it.
        key: The name of the resource.
        path: The decoded path, by which options and purges are told.
        fields: Header fields by name; several of one name are joined by commas.
        others: The unknown fields.
        bypass: Why the request goes past the cache; `None` if it does not.
        authorization: Whether it has credentials that the configuration admits.
        cookies: Whether it has cookies that the configuration admits.
        directives: What it asks of the cache.
        began: When it arrived, in nanoseconds; 0 if the answer is not to be timed.
    """

    method: str
    key: Key
    path: str
    fields: dict[bytes, bytes]
    others: tuple[Header, ...]
    bypass: str | None
    directives: Mapping[str, str | None]
    authorization: bool = False
    cookies: bool = False
    began: int = 0

    @property
    def unsafe(self) -> bool:
        """Whether the request may change something."""
        return self.method not in _SAFE_METHODS


class Reader:
    """Reads requests by the options of a cache."""

    __slots__ = (
        "_admitted",
        "_config",
        "_credentials",
        "_excluded",
        "_good_hosts",
        "_hosts",
        "_known",
        "plain",
    )

    def __init__(self, config: CacheConfig) -> None:
        self._config = config
        self._excluded = PathSet(config.exclude_paths)
        self._hosts = None if config.hosts is None else {h.lower().encode() for h in config.hosts}
        self._good_hosts: set[bytes] = set()
        self._credentials = _CREDENTIALS | _encoded(config.credential_headers)
        self.plain = (_INERT | _encoded(config.inert_headers)) - self._credentials
        """Names of fields that a request may have and still be looked up without any parsing."""
        self._known = self.plain | self._credentials | _CONTROL
        admitted: set[bytes] = set()
        if config.allow_authorization:
            admitted |= {b"authorization", b"proxy-authorization"}
        if config.allow_cookies:
            admitted.add(b"cookie")
        self._admitted = admitted

    def read(self, scope: Scope) -> Facts:
        """Read a request."""
        headers = lower_names(scope["headers"])
        fields = _joined(headers)
        key = key_of(scope, fields.get(b"host"))
        return Facts(
            method=scope["method"],
            key=key,
            path=scope["path"],
            fields=fields,
            others=tuple(sorted(pair for pair in headers if pair[0] not in self._known)),
            bypass=self._bypass(scope, key, headers, fields),
            authorization=b"authorization" in fields or b"proxy-authorization" in fields,
            cookies=b"cookie" in fields,
            directives=self._directives(fields),
        )

    def read_plain(self, scope: Scope, key: Key, fields: dict[bytes, bytes]) -> Facts | None:
        """Make the facts of a `GET` that has nothing but plain fields; `None` if it must be read.

        Args:
            scope: Of the request.
            key: Its key, but that the host may be malformed or have a default port.
            fields: Its fields by name.
        """
        path = scope["path"]
        if key[1] not in self._good_hosts:
            if not self._is_good(scope, key[1]):
                return None
            if len(self._good_hosts) >= _MAX_HOSTS:
                self._good_hosts.clear()
            self._good_hosts.add(key[1])
        if not key[2] or len(key[2]) + len(key[3]) > MAX_KEY_BYTES - 256 or path in self._excluded:
            return None
        return Facts("GET", key, path, fields, (), None, _NO_DIRECTIVES)

    def _is_good(self, scope: Scope, host: bytes) -> bool:
        if len(host) > 255 or not _HOST.fullmatch(host):  # noqa: PLR2004 - a name in the DNS
            return False
        if host_of(scope, host) != host:
            return False
        return self._hosts is None or host in self._hosts

    def _bypass(  # noqa: PLR0911 - a ladder of reasons
        self, scope: Scope, key: Key, headers: Headers, fields: Mapping[bytes, bytes]
    ) -> str | None:
        if scope["method"] not in {"GET", "HEAD"}:
            return "method"
        if not self._credentials.isdisjoint(fields.keys() - self._admitted) or _is_known(scope):
            return "credentials"
        if fields.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in fields:
            return "content"
        if not _UNKNOWN_TERMS.isdisjoint(fields):
            return "precondition"
        if sum(name == b"host" for name, _ in headers) > 1 or not self._is_good(scope, key[1]):
            return "host"
        if sum(map(len, key)) > MAX_KEY_BYTES:
            return "length"
        return "excluded" if scope["path"] in self._excluded else None

    def _directives(self, fields: Mapping[bytes, bytes]) -> Mapping[str, str | None]:
        if not self._config.obey_clients:
            return {}
        if (value := fields.get(b"cache-control")) is not None:
            return parse_cache_control([value])
        if b"no-cache" in fields.get(b"pragma", b"").lower():
            return {"no-cache": None}
        return {}


def key_of(scope: Scope, host: bytes | None) -> Key:
    """Name the resource that a request is for."""
    return (
        scope["scheme"],
        host_of(scope, host),
        scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape"),
        scope["query_string"],
        scope.get("root_path", ""),
    )


def host_of(scope: Scope, host: bytes | None) -> bytes:
    """Return the host in lower case without a default port; the server's if there is none."""
    if host is None:
        server = scope.get("server")
        if not server:
            return b""
        host = str(server[0]).encode("latin-1", "replace")
        host = host if server[1] is None else b"%s:%d" % (host, server[1])
    host = host.lower()
    if host.endswith((b":80", b":443")):
        host = host.removesuffix(_DEFAULT_PORTS.get(scope["scheme"], b":"))
    return host


def selecting_value(fields: Mapping[bytes, bytes], name: bytes) -> object:
    """Return by what a response that varies on a field is selected (RFC 9111, 4.1)."""
    value = fields.get(name)
    if value is None:
        return None
    if name == b"accept-encoding":
        return tuple(sorted(parse_accept_encoding(value).items()))
    return b",".join(part.strip(b" \t") for part in value.split(b","))


def _joined(headers: Headers) -> dict[bytes, bytes]:
    fields = dict(headers)
    if len(fields) != len(headers):
        fields.clear()
        for name, value in headers:
            fields[name] = fields[name] + b", " + value if name in fields else value
    return fields


def _is_known(scope: Scope) -> bool:
    """Whether the server or an outer middleware knows who is asking."""
    user: Any = scope.get("user")
    if user is not None and getattr(user, "is_authenticated", True):
        return True
    tls = (scope.get("extensions") or {}).get("tls") or {}
    return bool(tls.get("client_cert_chain") or tls.get("client_cert_name"))


def _encoded(names: Iterable[str]) -> set[bytes]:
    return {name.lower().encode("latin-1") for name in names}
