"""Which paths an option means: exact ones, and beginnings marked by `*`."""

from collections.abc import Iterable, Mapping
from typing import Generic, TypeVar

__all__ = ["PathMap", "PathSet"]

Value = TypeVar("Value")


class PathMap(Generic[Value]):
    """Values by path; of the patterns that fit, the longest counts, and an exact one before all."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._exact = {path: value for path, value in values.items() if not path.endswith("*")}
        prefixes = [(path[:-1], value) for path, value in values.items() if path.endswith("*")]
        self._prefixes = sorted(prefixes, key=lambda pair: -len(pair[0]))

    def get(self, path: str) -> Value | None:
        """Return the value for a path; `None` if no pattern fits."""
        value = self._exact.get(path)
        if value is None and self._prefixes:
            return next((v for prefix, v in self._prefixes if path.startswith(prefix)), None)
        return value


class PathSet:
    """A set of paths given by patterns."""

    __slots__ = ("_exact", "_prefixes")

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = list(patterns)
        self._exact = frozenset(path for path in patterns if not path.endswith("*"))
        self._prefixes = tuple(path[:-1] for path in patterns if path.endswith("*"))

    def __contains__(self, path: str) -> bool:
        return path in self._exact or path.startswith(self._prefixes)
