"""The words of ASGI, and the little that every middleware here does with them."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, TypeAlias

__all__ = [
    "ASGIApp",
    "Header",
    "Headers",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "find",
    "find_all",
    "lower_names",
    "without",
]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Header: TypeAlias = tuple[bytes, bytes]
Headers: TypeAlias = list[Header]


def lower_names(headers: Iterable[Any]) -> Headers:
    """Copy header fields as they should be: names in lower case, pairs as tuples."""
    return [(name.lower(), value) for name, value in headers]


def find(headers: Iterable[Header], name: bytes) -> bytes | None:
    """Return the value of the first field of that name."""
    for key, value in headers:
        if key == name:
            return value
    return None


def find_all(headers: Iterable[Header], name: bytes) -> list[bytes]:
    """Return the values of all fields of that name, in order."""
    return [value for key, value in headers if key == name]


def without(headers: Iterable[Header], *names: bytes) -> Headers:
    """Copy header fields except those with the given names."""
    return [pair for pair in headers if pair[0] not in names]
