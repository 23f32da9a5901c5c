"""Everything that touches the package `zstandard`; imported when it is first wanted."""

import threading

from overdrive.errors import missing_extra

try:
    import zstandard
except ImportError as error:
    raise missing_extra("zstandard", "api") from error

__all__ = ["ZstandardCodec"]

_LEVEL = 4


class ZstandardCodec:
    """The coding `zstd` (RFC 8878), with windows of at most 8 MB (RFC 9659)."""

    name = "zstd"

    def __init__(self, level: int | None) -> None:
        self._level = _LEVEL if level is None else min(level, 19)
        # A compressor is costly to make and must not be used by two threads at once.
        self._local = threading.local()

    def compress(self, data: bytes) -> bytes:
        """Compress a whole body."""
        compressor = getattr(self._local, "compressor", None)
        if compressor is None:
            compressor = zstandard.ZstdCompressor(level=self._level)
            self._local.compressor = compressor
        result: bytes = compressor.compress(data)
        return result

    def stream(self) -> "_Stream":
        """Begin to compress a body in pieces."""
        return _Stream(self._level)


class _Stream:
    def __init__(self, level: int) -> None:
        self._compressor = zstandard.ZstdCompressor(level=level).compressobj()

    def write(self, data: bytes) -> bytes:
        block = self._compressor.compress(data)
        return block + self._compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self, data: bytes) -> bytes:
        return self._compressor.compress(data) + self._compressor.flush()
