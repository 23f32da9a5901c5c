"""Everything that touches the package `redis`; imported when it is first wanted."""

from typing import Any, TypeAlias

from overdrive.errors import missing_extra

try:
    import redis.asyncio
except ImportError as error:
    raise missing_extra("redis", "redis") from error

__all__ = ["Client", "PubSub", "connect"]

# The client's own types differ between its releases.
Client: TypeAlias = Any
PubSub: TypeAlias = Any


def connect(url: str, timeout: float) -> Client:
    """Make a client, which connects when it is first used."""
    return redis.asyncio.Redis.from_url(
        url, socket_timeout=timeout, socket_connect_timeout=timeout, protocol=2
    )
