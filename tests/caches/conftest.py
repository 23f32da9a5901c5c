"""What the tests of hostile uses share."""

import sys

import pytest
from hostile import USES, Clock

from overdrive.caches import LRUCache, TTLCache


def make_lru(maxsize=10, **options):
    return LRUCache(maxsize, **options)


def make_ttl(maxsize=10, **options):
    return TTLCache(maxsize, 100, Clock(), **options)


@pytest.fixture(params=[make_lru, make_ttl], ids=["LRUCache", "TTLCache"])
def make_cache(request):
    return request.param


@pytest.fixture(params=USES.values(), ids=USES)
def use(request):
    """One of the things that can be done with a key."""
    return request.param


@pytest.fixture
def unraisable(monkeypatch):
    """What went to `sys.unraisablehook`."""
    failures = []
    # No Python code, so that it can be called where recursion is exhausted.
    monkeypatch.setattr(sys, "unraisablehook", failures.append)
    return failures
