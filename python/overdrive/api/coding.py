"""Content codings: which one a client is to get (RFC 9110, 12.5.3), and how it is made."""

import zlib
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from overdrive.api.config import Algorithm, CompressionConfig
from overdrive.api.headers import parse_accept_encoding
from overdrive.errors import MissingExtraError

__all__ = ["IDENTITY", "Choice", "Codec", "CodecStream", "Codings", "load_codecs"]

IDENTITY = "identity"

_PREFERENCE: tuple[Algorithm, ...] = ("br", "zstd", "gzip", "deflate")
_MEMORY = 512


class CodecStream(Protocol):
    """Compresses one body in pieces."""

    def write(self, data: bytes) -> bytes:
        """Compress a piece so that it can be read at once."""

    def finish(self, data: bytes) -> bytes:
        """Compress the last piece."""


class Codec(Protocol):
    """A content coding. Its methods may be called by several threads, a stream by one at a time."""

    name: str

    def compress(self, data: bytes) -> bytes:
        """Compress a whole body."""

    def stream(self) -> CodecStream:
        """Begin to compress a body in pieces."""


class Choice(NamedTuple):
    """What a client gets.

    Attributes:
        coding: The coding it likes best of those that there are; `identity` for none.
        identity: Whether it takes a body without a coding.
    """

    coding: str
    identity: bool

    @property
    def is_none(self) -> bool:
        """Whether there is nothing that the client takes."""
        return self.coding == IDENTITY and not self.identity


_PLAIN = Choice(IDENTITY, identity=True)


class ZlibCodec:
    """The codings `gzip` (RFC 1952) and `deflate`, which means the zlib format (RFC 1950)."""

    def __init__(self, name: Algorithm, level: int | None) -> None:
        self.name: str = name
        self._level = 4 if level is None else min(level, 9)
        self._wbits = 31 if name == "gzip" else 15

    def compress(self, data: bytes) -> bytes:
        """Compress a whole body."""
        return zlib.compress(data, self._level, self._wbits)

    def stream(self) -> "_ZlibStream":
        """Begin to compress a body in pieces."""
        return _ZlibStream(self._level, self._wbits)


class _ZlibStream:
    def __init__(self, level: int, wbits: int) -> None:
        self._compressor = zlib.compressobj(level, zlib.DEFLATED, wbits)

    def write(self, data: bytes) -> bytes:
        return self._compressor.compress(data) + self._compressor.flush(zlib.Z_SYNC_FLUSH)

    def finish(self, data: bytes) -> bytes:
        return self._compressor.compress(data) + self._compressor.flush()


class Codings:
    """The codings that can be made, best first, and what each client is to get of them."""

    def __init__(self, codecs: Mapping[str, Codec]) -> None:
        self.codecs = codecs
        self.choices: dict[bytes | None, Choice] = {None: _PLAIN}
        """What was decided lately, by the field; without one nothing is compressed."""

    def choose(self, accept_encoding: bytes | None) -> Choice:
        """Decide by an `Accept-Encoding` field."""
        choice = self.choices.get(accept_encoding)
        if choice is None:
            assert accept_encoding is not None  # noqa: S101 - that is decided for good
            choice = self._decide(parse_accept_encoding(accept_encoding))
            if len(self.choices) >= _MEMORY:
                self.choices.clear()
                self.choices[None] = _PLAIN
            if len(accept_encoding) <= _MEMORY:
                self.choices[accept_encoding] = choice
        return choice

    def _decide(self, weights: Mapping[str, float]) -> Choice:
        rest = weights.get("*", 0.0)
        identity = weights.get(IDENTITY, rest if "*" in weights else None)
        best, best_weight = IDENTITY, 0.0
        for name in self.codecs:
            weight = weights.get(name, rest)
            if weight > best_weight:
                best, best_weight = name, weight
        # An identity that is not named is acceptable, and liked less than anything that is.
        if identity is not None and identity > best_weight:
            best = IDENTITY
        return Choice(best, identity=identity is None or identity > 0)


def load_codecs(config: CompressionConfig) -> dict[str, Codec]:
    """Make the codecs that a configuration asks for.

    Raises:
        MissingExtraError: If it names a coding whose package is not installed.
    """
    if config.algorithms is not None:
        return {name: _load(name, config.compression_level) for name in config.algorithms}
    codecs: dict[str, Codec] = {}
    for name in _PREFERENCE:
        try:
            codecs[name] = _load(name, config.compression_level)
        except MissingExtraError:
            continue
    return codecs


def _load(name: Algorithm, level: int | None) -> Codec:
    if name == "br":
        from overdrive.api._brotli import BrotliCodec  # noqa: PLC0415 - of the extra

        return BrotliCodec(level)
    if name == "zstd":
        from overdrive.api._zstandard import ZstandardCodec  # noqa: PLC0415 - of the extra

        return ZstandardCodec(level)
    return ZlibCodec(name, level)
