"""Make stored responses of answers.

Most answers of an application look alike but for their bodies and lengths. What is decided about
such a *shape*, status and header fields, is remembered, unless it has fields that are different in
every answer.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from overdrive.api.asgi import Headers, find, without
from overdrive.api.config import CacheConfig
from overdrive.api.entry import StoredResponse, make_etag, storable_headers, weight_of
from overdrive.api.headers import matches_etag
from overdrive.api.paths import PathMap
from overdrive.api.policy import Policy, Terms
from overdrive.api.request import Facts
from overdrive.api.serving import Server

__all__ = ["Keeper", "Shape"]

_MAX_SHAPES = 512
# Fields that are the same in many answers, and about which decisions do not depend on the time.
_STEADY = frozenset(
    b"""cache-control content-language content-type vary x-content-type-options x-frame-options
    access-control-allow-origin access-control-allow-credentials strict-transport-security
    content-security-policy referrer-policy cross-origin-opener-policy server""".split()
)
# What RFC 9111, 3.2 leaves as it was stored when a 304 brings new header fields.
_NOT_UPDATED = frozenset(
    {b"content-encoding", b"content-length", b"content-range", b"content-type", b"etag"}
)


class Shape(NamedTuple):
    """What is decided about an answer by its status and header fields.

    Attributes:
        verdict: On which terms it is stored, or why not.
        headers: What is stored of its fields, without the length.
        tags: Names under which it can be purged.
        negotiable: Whether it may be sent in a content coding.
        weight: About how many bytes the fields take, an entity tag of ours included.
    """

    verdict: Terms | str
    headers: Headers
    tags: frozenset[str]
    negotiable: bool
    weight: int = 0


class Keeper:
    """Makes stored responses by the options of a cache.

    Args:
        config: The options.
        server: Which makes answers of them later.
        clock: The time by which ages are told.
        wall_clock: The Unix time.
    """

    def __init__(
        self,
        config: CacheConfig,
        server: Server,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self.tag_header = config.tag_header.lower().encode("ascii")
        self.max_body_bytes = min(config.max_body_bytes, config.max_bytes)
        self.max_held_bytes = config.max_bytes
        self._etags = config.etags
        self._policy = Policy(config)
        self._server = server
        self._clock = clock
        self._wall_clock = wall_clock
        self._ttls = PathMap(config.endpoint_ttl)
        self._shapes: dict[object, Shape] = {}

    def shape(self, facts: Facts, status: int, headers: Headers) -> Shape:
        """Decide about an answer.

        Args:
            facts: The request.
            status: The status code.
            headers: The fields, names in lower case, without the length.
        """
        if facts.directives or facts.authorization or facts.cookies:
            return self._new_shape(facts, status, headers)
        path = facts.path
        place = (status, self._ttls.get(path), self._server.is_excluded(path), *headers)
        shape = self._shapes.get(place)
        if shape is None:
            shape = self._new_shape(facts, status, headers)
            if _STEADY.issuperset(name for name, _ in headers):
                if len(self._shapes) >= _MAX_SHAPES:
                    self._shapes.clear()
                self._shapes[place] = shape
        return shape

    def _new_shape(self, facts: Facts, status: int, headers: Headers) -> Shape:
        verdict = self._policy.judge(facts, status, headers, self._wall_clock())
        kept, tags = storable_headers(headers, self.tag_header)
        negotiable = self._server.applies(facts.path, status, kept)
        return Shape(verdict, kept, tags, negotiable, weight_of(kept) + 170)

    def make(
        self, facts: Facts, status: int, shape: Shape, terms: Terms, body: bytes
    ) -> StoredResponse:
        """Make a response that can be used again."""
        headers = shape.headers
        etag = None
        if self._etags and status == 200 and find(headers, b"etag") is None:  # noqa: PLR2004
            etag = make_etag(body)
            headers = [*headers, (b"etag", etag)]
        entry = StoredResponse(
            facts, status, headers, body, terms, now=self._clock(), weight=shape.weight
        )
        entry.own_etag = etag is not None
        entry.negotiable = shape.negotiable
        entry.tags = shape.tags
        return entry

    def freshen(
        self, stale: StoredResponse, facts: Facts, headers: Headers
    ) -> tuple[StoredResponse, bool] | None:
        """Make a stale response fresh by a 304 (RFC 9111, 4.3.4).

        Returns:
            The response and whether it may be stored; `None` if the 304 is about another one.
        """
        etag = find(headers, b"etag")
        if etag is not None and not stale.own_etag and not matches_etag([etag], stale.etag):
            return None
        told = [
            pair
            for pair in storable_headers(headers, self.tag_header)[0]
            if pair[0] not in _NOT_UPDATED
        ]
        merged = without(stale.headers, *(name for name, _ in told)) + told
        verdict = self._policy.judge(facts, stale.status, merged, self._wall_clock())
        storable = isinstance(verdict, Terms)
        terms = verdict if isinstance(verdict, Terms) else replace(stale.terms, fresh=0.0, age=0.0)
        entry = StoredResponse(facts, stale.status, merged, stale.body, terms, now=self._clock())
        entry.tags, entry.own_etag, entry.negotiable = stale.tags, stale.own_etag, stale.negotiable
        return entry, storable
