"""Everything that touches the package `brotli`; imported when it is first wanted."""

from overdrive.errors import missing_extra

try:
    import brotli
except ImportError as error:
    raise missing_extra("brotli", "api") from error

__all__ = ["BrotliCodec"]

_LEVEL = 4


class BrotliCodec:
    """The coding `br` (RFC 7932)."""

    name = "br"

    def __init__(self, level: int | None) -> None:
        self._quality = _LEVEL if level is None else min(level, 11)

    def compress(self, data: bytes) -> bytes:
        """Compress a whole body."""
        result: bytes = brotli.compress(data, quality=self._quality)
        return result

    def stream(self) -> "_Stream":
        """Begin to compress a body in pieces."""
        return _Stream(self._quality)


class _Stream:
    def __init__(self, quality: int) -> None:
        self._compressor = brotli.Compressor(quality=quality)

    def write(self, data: bytes) -> bytes:
        written: bytes = self._compressor.process(data) + self._compressor.flush()
        return written

    def finish(self, data: bytes) -> bytes:
        written: bytes = self._compressor.process(data) + self._compressor.finish()
        return written
