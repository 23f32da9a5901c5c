"""Random histories, compared step by step with the caches of cachetools."""

import copy
import pickle

import cachetools
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from overdrive import caches


class Clock:
    """One time for all caches, also for those made by copying and pickling."""

    time = 0

    def __call__(self):
        return self.time

    def __reduce__(self):
        return "clock"


clock = Clock()


def itself(value):
    """Return the size of a value."""
    return value


def pickled(cache):
    return pickle.loads(pickle.dumps(cache))  # noqa: S301 - our own


class Colliding:
    """A key that only Python can compare, with few different hashes."""

    def __init__(self, value):
        self.value = value

    def __hash__(self):
        return self.value % 2

    def __eq__(self, other):
        return isinstance(other, Colliding) and other.value == self.value

    def __repr__(self):
        return f"Colliding({self.value})"


KEYS = st.one_of(
    st.integers(0, 5),
    st.sampled_from(["a", "b", (1, "a"), None, 1.0, True, b"x", ()]),
    st.integers(0, 3).map(Colliding),
)
VALUES = st.integers(0, 6)


def outcome(use, *args):
    """Return what a call returns or raises, in a form that can be compared."""
    try:
        return ("returned", use(*args))
    except (KeyError, ValueError) as error:
        return (type(error), error.args)


class Twins(RuleBasedStateMachine):
    """Two caches that are treated alike."""

    sized = False

    def twins(self, library):
        raise NotImplementedError

    @initialize(maxsize=st.sampled_from([0, 1, 2, 3, 5, 8, 2.5, float("inf")]))
    def begin(self, maxsize):
        clock.time = 0
        sizer = itself if self.sized else None
        self.ours, self.theirs = (
            self.twins(library, maxsize, sizer) for library in (caches, cachetools)
        )

    def both(self, use):
        assert outcome(use, self.ours) == outcome(use, self.theirs)

    @rule(key=KEYS, value=VALUES)
    def set(self, key, value):
        self.both(lambda cache: cache.__setitem__(key, value))

    @rule(key=KEYS)
    def get(self, key):
        self.both(lambda cache: cache[key])
        self.both(lambda cache: cache.get(key, "default"))

    @rule(key=KEYS)
    def delete(self, key):
        self.both(lambda cache: cache.__delitem__(key))

    @rule(key=KEYS)
    def pop(self, key):
        self.both(lambda cache: cache.pop(key))

    @rule(key=KEYS)
    def pop_or_default(self, key):
        self.both(lambda cache: cache.pop(key, None))

    @rule(key=KEYS, value=VALUES)
    def setdefault(self, key, value):
        self.both(lambda cache: cache.setdefault(key, value))

    @rule()
    def popitem(self):
        self.both(lambda cache: cache.popitem())

    @rule()
    def clear(self):
        self.both(lambda cache: cache.clear())

    @rule(items=st.dictionaries(st.integers(0, 9), VALUES, max_size=4))
    def update(self, items):
        self.both(lambda cache: cache.update(items))

    @rule(seconds=st.integers(0, 7))
    def wait(self, seconds):
        clock.time += seconds

    @rule(how=st.sampled_from([copy.copy, copy.deepcopy, pickled]))
    def replace_by_copy(self, how):
        self.ours, self.theirs = how(self.ours), how(self.theirs)

    @invariant()
    def look_alike(self):
        self.both(list)
        self.both(lambda cache: [key in cache for key in range(6)])
        self.both(lambda cache: cache.currsize)
        self.both(len)
        self.both(repr)
        assert self.ours.currsize <= self.ours.maxsize


class LRUTwins(Twins):
    def twins(self, library, maxsize, sizer):
        return library.LRUCache(maxsize, sizer)


class SizedLRUTwins(LRUTwins):
    sized = True


class TTLTwins(Twins):
    def twins(self, library, maxsize, sizer):
        return library.TTLCache(maxsize, 10, clock, sizer)

    @rule(earlier=st.integers(-3, 3))
    def expire(self, earlier):
        self.both(lambda cache: list(cache.expire(clock.time + earlier)))


class SizedTTLTwins(TTLTwins):
    sized = True


@pytest.mark.parametrize("twins", [LRUTwins, SizedLRUTwins, TTLTwins, SizedTTLTwins])
def test_random_histories_are_those_of_cachetools(twins):
    run_state_machine_as_test(
        twins, settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
    )
