"""How the middleware is set up. Each class checks its values when it is made."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from overdrive.api.shared import CacheStore

__all__ = ["Algorithm", "CacheConfig", "CompressionConfig", "PerformanceConfig"]

Algorithm = Literal["br", "zstd", "gzip", "deflate"]

_ALGORITHMS = ("br", "zstd", "gzip", "deflate")


def _check_at_least(config: object, minimum: float, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value is not None and value < minimum:
            raise ValueError(f"{name} must be at least {minimum}, got {value!r}")


@dataclass(slots=True, kw_only=True)
class CacheConfig:
    """Options of the response cache.

    What a response says about caching is always obeyed. `default_ttl` and `endpoint_ttl` are only
    for responses that say nothing.

    Attributes:
        max_size: The largest number of resources kept.
        default_ttl: Seconds for which a successful response that says nothing is used; `None` or 0
            to cache such responses only where `endpoint_ttl` names them.
        endpoint_ttl: The same by path; a path that ends in `*` stands for all that begin so, and
            the longest one counts.
        strict: Follow RFC 9111 alone: a response that says nothing is never stored.
        max_bytes: Memory for stored responses with their compressed variants, in bytes. As much
            again is the most that copies of answers under way take.
        max_body_bytes: The longest body stored.
        max_variants: The most variants (by `Vary`) of one resource.
        exclude_paths: Paths that are never cached, in the notation of `endpoint_ttl`.
        hosts: The hosts served, for instance `("example.org", "example.org:8080")`. Requests for
            others go past the cache. `None` for any; each host then has its own entries.
        inert_headers: Further request header fields on which no response depends.
        credential_headers: Further request header fields that say who is asking.
        allow_authorization: Store and use, with requests that have `Authorization`, what is
            explicitly `public` or has `s-maxage` (RFC 9111, 3.5).
        allow_cookies: The same with requests that have cookies.
        allow_set_cookie: Store responses with `Set-Cookie` that are explicitly `public`; everyone
            gets that cookie.
        obey_clients: Let requests ask for fresh answers by `Cache-Control`; `False` to let no
            client past the cache.
        etags: Give responses that have no entity tag one, so that clients can revalidate.
        targets: Names of targeted fields to obey (RFC 9213), the first that is there counts.
        tag_header: The response header field with tags for `invalidate_cache(tag=...)`. It is
            removed from what clients see.
        name: How the cache calls itself in `Cache-Status` (RFC 9211); `None` for no such field.
        store: A second level that is shared by processes.

    Raises:
        ValueError: If an option is out of its range.
    """

    max_size: int = 1000
    default_ttl: float | None = 300.0
    endpoint_ttl: Mapping[str, float] = field(default_factory=dict)
    strict: bool = False
    max_bytes: int = 64 * 2**20
    max_body_bytes: int = 2**20
    max_variants: int = 16
    exclude_paths: Collection[str] = ("/performance/*",)
    hosts: Collection[str] | None = None
    inert_headers: Collection[str] = ()
    credential_headers: Collection[str] = ()
    allow_authorization: bool = False
    allow_cookies: bool = False
    allow_set_cookie: bool = False
    obey_clients: bool = True
    etags: bool = True
    targets: Collection[str] = ("CDN-Cache-Control",)
    tag_header: str = "Cache-Tag"
    name: str | None = "Overdrive"
    store: "CacheStore | None" = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check_at_least(self, 1, "max_size", "max_bytes", "max_variants")
        _check_at_least(self, 0, "default_ttl", "max_body_bytes")
        for path, ttl in self.endpoint_ttl.items():
            if ttl < 0:
                raise ValueError(f"endpoint_ttl of {path!r} must be at least 0, got {ttl!r}")


@dataclass(slots=True, kw_only=True)
class CompressionConfig:
    """Options of compression.

    Attributes:
        min_size: The shortest body, in bytes, that is compressed.
        algorithms: Content codings, best first; the order decides between those a client likes
            equally. `None` for all that can be had, `br`, `zstd`, `gzip`, `deflate`.
        compression_level: The level of every coding, brought into its range; `None` for one that
            suits each coding.
        types: Media types that are compressed; one that ends in `*` stands for all that begin so.
        exclude_types: Media types that are not, although `types` has them.
        exclude_paths: Paths whose responses are not compressed, for instance because they hold a
            secret beside what the client sent (the BREACH attack); `*` at the end as above.
        offload_bytes: From this size on a piece of a body is compressed by another thread.

    Raises:
        ValueError: If an option is out of its range or an algorithm is unknown.
    """

    min_size: int = 1024
    algorithms: Collection[Algorithm] | None = None
    compression_level: int | None = None
    types: Collection[str] = (
        "text/*",
        "application/json",
        "application/javascript",
        "application/xml",
        "application/x-ndjson",
        "application/wasm",
        "application/manifest+json",
        "application/ld+json",
        "application/problem+json",
        "application/geo+json",
        "application/rss+xml",
        "application/atom+xml",
        "application/xhtml+xml",
        "image/svg+xml",
        "font/ttf",
        "font/otf",
    )
    exclude_types: Collection[str] = ("text/event-stream",)
    exclude_paths: Collection[str] = ()
    offload_bytes: int = 128 * 1024

    def __post_init__(self) -> None:
        """Check the values."""
        _check_at_least(self, 0, "min_size", "compression_level")
        _check_at_least(self, 1, "offload_bytes")
        for algorithm in self.algorithms or ():
            if algorithm not in _ALGORITHMS:
                raise ValueError(f"algorithms must be of {_ALGORITHMS}, got {algorithm!r}")


@dataclass(slots=True, kw_only=True)
class PerformanceConfig:
    """Options of `PerformanceMiddleware`.

    Attributes:
        caching_enabled: Whether responses are cached.
        compression_enabled: Whether responses are compressed.
        deduplication_enabled: Whether identical requests at the same time share one answer.
        monitoring_enabled: Whether times are recorded, and told by `X-Response-Time` and
            `Server-Timing`.
        cache_config: Options of the cache.
        compression_config: Options of compression.
        deduplication_window: Seconds for which a running request may be joined by identical ones,
            and for which those wait.
        max_followers: The most requests that wait for one; further ones run by themselves.

    Raises:
        ValueError: If an option is out of its range.
    """

    caching_enabled: bool = True
    compression_enabled: bool = True
    deduplication_enabled: bool = True
    monitoring_enabled: bool = True
    cache_config: CacheConfig = field(default_factory=CacheConfig)
    compression_config: CompressionConfig = field(default_factory=CompressionConfig)
    deduplication_window: float = 10.0
    max_followers: int = 4096

    def __post_init__(self) -> None:
        """Check the ranges."""
        _check_at_least(self, 0, "deduplication_window", "max_followers")
