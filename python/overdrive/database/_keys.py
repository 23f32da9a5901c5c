"""What tells one query from another in the cache."""

import datetime as dt
import decimal
import re
import uuid
from collections.abc import Hashable
from typing import Any

__all__ = ["key_of", "names_a_time"]

# Equal values of these types, if of the same type, are the same to PostgreSQL.
_EXACT = frozenset({
    str, int, bytes, bool, type(None), uuid.UUID, dt.date, dt.timedelta,
})  # fmt: skip
_TIME = re.compile(r"\s*(?:now|today|tomorrow|yesterday|allballs)\b", re.IGNORECASE)


def key_of(query: str, args: tuple[Any, ...]) -> Hashable:
    """Return a key; `None` if there is none that is safe."""
    types = tuple(map(type, args))
    if _EXACT.issuperset(types):
        return query, types, args
    frozen = tuple(map(_freeze, args))
    return None if None in frozen else (query, frozen)


def _freeze(value: Any) -> Hashable:
    kind = type(value)
    if kind in _EXACT:
        return kind, value
    if kind in {float, decimal.Decimal, dt.datetime, dt.time}:
        # 0.0 and -0.0, or 1.0 and 1.00, or one instant in two zones, are equal but not the same.
        return kind, repr(value)
    if kind in {list, tuple}:
        parts = tuple(map(_freeze, value))
        return None if None in parts else (kind, parts)
    return None


def names_a_time(args: tuple[Any, ...]) -> bool:
    """Whether an argument is a text that PostgreSQL may read as the present time."""
    return any(
        names_a_time(tuple(value)) if isinstance(value, (list, tuple))
        else isinstance(value, str) and _TIME.match(value) is not None
        for value in args
    )  # fmt: skip
