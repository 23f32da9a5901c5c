"""Caches with functions and numbers that are not what they should be."""

import contextlib
import gc
import math

import pytest
from hostile import Clock, Failing, explode, kinds

from overdrive.caches import LRUCache, TTLCache, cached

HUGE = 2**2000
"""Too large for a float."""


def test_a_listener_that_raises_is_reported_and_stops_nothing(make_cache, unraisable):
    def listener(key, value, reason):
        told.append((key, reason))
        raise ZeroDivisionError

    told = []
    cache = make_cache(2, listener=listener)
    cache.update(a=1, b=2, c=3)
    cache["c"] = 4
    assert cache.pop("b") == 2
    assert cache.popitem() == ("c", 4)
    cache.update(d=5, e=6)
    cache.clear()
    assert told == [
        *[("a", "evicted"), ("c", "replaced"), ("b", "removed"), ("c", "evicted")],
        *[("d", "removed"), ("e", "removed")],
    ]
    assert kinds(unraisable) == [ZeroDivisionError] * 6
    assert len(cache) == 0


LISTENERS = {
    "stores": lambda cache, key: cache.__setitem__(("left", key), 1) if key == 0 else None,
    "clears": lambda cache, key: cache.clear(),
    "pops": lambda cache, key: len(cache) and cache.popitem(),
    "loads": lambda cache, key: cache.get_or_create("loaded", lambda: 1) if key == 0 else None,
    "invalidates": lambda cache, key: cache.invalidate_tag("tag"),
    "expires": lambda cache, key: cache.expire(1000),
    "collects": lambda cache, key: gc.collect(),
    "shows": lambda cache, key: repr(cache),
}


@pytest.mark.parametrize("meddle", LISTENERS.values(), ids=LISTENERS)
def test_a_listener_may_use_the_same_cache(make_cache, use, meddle, unraisable):
    cache = make_cache(3, listener=lambda key, value, reason: meddle(cache, key))
    for i in range(5):
        cache.set(i, i, ttl=50, tags="tag")
        assert cache.currsize == len(cache) <= 3
    for key in (0, 2, 4, "loaded"):
        with contextlib.suppress(KeyError):
            use(cache, key)
        assert cache.currsize == len(cache) == len(list(cache)) <= 3
    cache.clear()
    assert unraisable == []


def test_a_listener_that_stores_what_was_evicted_ends_with_a_recursion_error(
    make_cache, unraisable
):
    def listener(key, value, reason):
        told.append(key)
        cache[key] = value

    told = []
    cache = make_cache(1, listener=listener)
    cache["a"] = 1
    cache["b"] = 2
    assert len(told) > 100
    # Where there is no room for the call, there may be none for the report.
    assert set(kinds(unraisable)) <= {RecursionError}
    assert len(cache) == 1


SIZES = {
    "nothing": (None, TypeError, "number"),
    "text": ("1", TypeError, "number"),
    "complex": (1j, TypeError, "number"),
    "no number": (math.nan, ValueError, "non-negative"),
    "negative": (-1, ValueError, "non-negative"),
    "negative and huge": (-(HUGE), ValueError, "non-negative"),
    "infinite": (math.inf, ValueError, "too large"),
    "huge": (HUGE, ValueError, "too large"),
}


@pytest.mark.parametrize("maxsize", [10, HUGE, math.inf], ids=["small", "huge", "infinite"])
@pytest.mark.parametrize(("size", "error", "words"), SIZES.values(), ids=SIZES)
def test_a_size_that_is_none_is_refused(make_cache, maxsize, size, error, words):
    sizes = {"good": 2, "bad": size}
    cache = make_cache(maxsize, getsizeof=sizes.__getitem__)
    cache["a"] = "good"
    for store in (
        lambda: cache.__setitem__("a", "bad"),
        lambda: cache.set("b", "bad"),
        lambda: cache.setdefault("b", "bad"),
    ):
        with pytest.raises(error, match=words):
            store()
    assert cache == {"a": "good"}
    assert cache.currsize == 2


@pytest.mark.parametrize(
    ("maxsize", "error"),
    [
        *[("3", TypeError), (None, TypeError), (1j, TypeError)],
        *[(math.nan, ValueError), (-(HUGE), ValueError)],
    ],
)
def test_a_maximum_that_is_none_is_refused(make_cache, maxsize, error):
    with pytest.raises(error):
        make_cache(maxsize)


@pytest.mark.parametrize(
    "maxsize", [True, 10**9, 2**64, HUGE], ids=["bool", "billion", "above 64 bits", "huge"]
)
def test_a_maximum_may_be_any_integer(make_cache, maxsize):
    cache = make_cache(maxsize)
    cache.update(a=1, b=2)
    assert len(cache) == min(2, maxsize)
    assert cache.maxsize is maxsize


def test_a_sizer_may_use_the_same_cache(make_cache):
    def sizer(value):
        if value == "big":
            cache.clear()
            cache["inner"] = 1
            cache["key"] = 1
        return 3 if value == "big" else 1

    cache = make_cache(4, getsizeof=sizer)
    cache.update(a=1, b=1)
    cache["key"] = "big"
    assert cache == {"inner": 1, "key": "big"}
    assert cache.currsize == 4


def test_a_timer_that_raises_reaches_the_caller_and_changes_nothing(use):
    clock = Failing()
    cache = TTLCache(3, 10, clock)
    cache["a"] = 1
    clock.on_read = explode
    for key in ("a", "b"):
        with pytest.raises(ZeroDivisionError):
            use(cache, key)
    for look in (len, repr, list, lambda cache: cache.popitem(), lambda cache: cache.expire()):
        with pytest.raises(ZeroDivisionError):
            look(cache)
    clock.on_read = lambda: None
    assert cache == {"a": 1}


@pytest.mark.parametrize(
    ("time", "error"),
    [("now", TypeError), (None, TypeError), (1j, TypeError), (math.nan, ValueError)],
)
def test_a_time_that_is_none_is_refused_and_does_no_lasting_harm(use, time, error):
    clock = Clock()
    cache = TTLCache(3, 10, clock)
    clock.time = time
    for key in ("a", "b"):
        with pytest.raises(error):
            use(cache, key)
    with pytest.raises(error):
        cache.expire(time)
    clock.time = HUGE  # too large for a float, but time has only to go on
    cache["a"] = 1
    clock.time += 9
    assert cache == {"a": 1}
    clock.time += 1
    assert cache == {}


def test_times_of_the_end_of_all_days_are_as_good_as_others():
    clock = Clock()
    cache = TTLCache(3, 10, clock)
    clock.time = -math.inf
    cache["a"] = 1
    assert "a" not in cache
    clock.time = math.inf
    cache["b"] = 2
    assert cache == {"b": 2}
    clock.time = 0
    assert cache == {"b": 2}


def test_a_timer_may_use_the_same_cache(use):
    def meddle():
        if not clock.meddling:
            clock.meddling = True
            cache["timer"] = len(cache)
            clock.meddling = False

    clock = Failing()
    clock.meddling = False
    cache = TTLCache(2, 10, clock)
    clock.on_read = meddle
    for key in ("a", "timer"):
        use(cache, "a") if "a" in cache else cache.set("a", 1)
        use(cache, key)
        assert cache.currsize == len(cache) <= 2


def test_a_timer_that_always_uses_the_cache_ends_with_a_recursion_error():
    clock = Failing()
    cache = TTLCache(2, 10, clock)
    clock.on_read = lambda: cache.get("a")
    with pytest.raises(RecursionError):
        cache["a"] = 1


@pytest.mark.parametrize(
    ("ttl", "error"),
    [("5", TypeError), (None, TypeError), (1j, TypeError), (math.nan, ValueError)],
)
def test_a_time_to_live_that_is_none_is_refused(ttl, error):
    with pytest.raises(error, match="ttl"):
        TTLCache(3, ttl)


@pytest.mark.parametrize(
    ("ttl", "error"),
    [
        *[("5", TypeError), (1j, TypeError), (math.nan, ValueError)],
        *[(0, ValueError), (-1, ValueError), (-HUGE, ValueError)],
    ],
)
def test_a_time_to_live_of_an_entry_that_is_none_is_refused(make_cache, ttl, error):
    cache = make_cache()
    cache["a"] = 1
    with pytest.raises(error):
        cache.set("a", 2, ttl=ttl)
    with pytest.raises(error):
        cache.get_or_create("b", lambda: 2, ttl=ttl)
    assert cache == {"a": 1}


def test_an_exception_on_the_way_to_a_number_reaches_the_caller(make_cache):
    class Exploding:
        def __float__(self):
            raise ZeroDivisionError

    for use in (
        lambda: make_cache(Exploding()),
        lambda: make_cache().set("a", 1, ttl=Exploding()),
        lambda: make_cache(getsizeof=lambda _: Exploding()).set("a", 1),
        lambda: TTLCache(3, Exploding()),
        lambda: TTLCache(3, 5, Exploding).set("a", 1),
    ):
        with pytest.raises(ZeroDivisionError):
            use()


@pytest.mark.parametrize("tags", [5, [5], [b"a"], ["a", None], {"a": 1}.get])
def test_tags_that_are_none_are_refused(make_cache, tags):
    cache = make_cache()
    with pytest.raises(TypeError):
        cache.set("a", 1, tags=tags)
    with pytest.raises(TypeError):
        cache.get_or_create("a", lambda: 1, tags=tags)
    assert len(cache) == 0


def test_tags_may_come_from_a_generator_that_uses_the_same_cache(make_cache):
    def tags():
        yield "a"
        cache["other"] = cache.invalidate_tag("a")
        yield "b"
        cache.clear()

    cache = make_cache()
    cache.set("key", 1, tags=tags())
    cache.set("key", 2, tags=tags())
    assert cache == {"key": 2}
    assert cache.invalidate_tag("b") == 1


def test_an_exception_while_tags_are_collected_reaches_the_caller(make_cache):
    cache = make_cache()
    with pytest.raises(ZeroDivisionError):
        cache.set("a", 1, tags=(1 / 0 for _ in range(1)))
    assert len(cache) == 0


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyError, KeyboardInterrupt, GeneratorExit])
def test_what_a_factory_raises_reaches_the_caller_and_leaves_nothing(make_cache, error):
    def fail():
        raise error

    cache = make_cache()
    for _ in range(2):
        with pytest.raises(error):
            cache.get_or_create("a", fail)
    assert len(cache) == 0
    assert cache.get_or_create("a", lambda: 1) == 1
    function = cached(make_cache())(fail)
    for _ in range(2):
        with pytest.raises(error):
            function()


def test_a_factory_may_load_other_keys(make_cache):
    def factory(n):
        return 0 if n == 0 else 1 + cache.get_or_create(n - 1, lambda: factory(n - 1))

    cache = make_cache()
    assert cache.get_or_create(50, lambda: factory(50)) == 50
    assert len(cache) == 10


@pytest.mark.parametrize(
    ("meddle", "left"),
    [
        (lambda cache: cache.pop("key", None), {"other": 0}),
        (lambda cache: cache.clear(), {}),
        (lambda cache: cache.set("key", "meddled"), {"other": 0, "key": "meddled"}),
        (lambda cache: cache.invalidate_tag("tag"), {"other": 0}),
        (lambda cache: cache.invalidate_tag("another"), {"other": 0, "key": "made"}),
        (lambda cache: cache.set("new", 1), {"other": 0, "new": 1, "key": "made"}),
        (lambda cache: gc.collect(), {"other": 0, "key": "made"}),
    ],
)
def test_what_a_factory_does_to_its_key_counts_as_later_than_the_value(make_cache, meddle, left):
    def factory():
        meddle(cache)
        return "made"

    cache = make_cache()
    cache["other"] = 0
    assert cache.get_or_create("key", factory, tags=["tag"]) == "made"
    assert cache == left


def test_a_factory_that_needs_its_own_value_gets_an_error(make_cache):
    cache = make_cache()
    with pytest.raises(RuntimeError, match="which is waiting for it"):
        cache.get_or_create("a", lambda: cache.get_or_create("a", lambda: 1))
    with pytest.raises(RuntimeError, match="which is waiting for it"):
        cache.get_or_create(
            "a", lambda: cache.get_or_create("b", lambda: cache.get_or_create("a", lambda: 1))
        )
    assert len(cache) == 0


def test_a_key_whose_hash_fails_only_later_ends_the_load_all_the_same(make_cache):
    """Wherever the load is when the key turns bad, the next one begins anew."""

    class Turning:
        left = math.inf

        def __hash__(self):
            self.left -= 1
            if self.left < 0:
                raise ZeroDivisionError
            return 1

    for good_for in range(20):
        cache, key = make_cache(), Turning()
        key.left = good_for
        with contextlib.suppress(ZeroDivisionError):
            assert cache.get_or_create(key, lambda: 1) == 1
        key.left = math.inf
        cache.clear()
        assert cache.get_or_create(key, lambda: 2) == 2


def test_popitem_that_removes_nothing_is_an_error_and_no_hang(make_cache):
    kind = type(make_cache())

    class Keeping(kind):
        def popitem(self):
            return next(iter(self.items()))

    class Replacing(kind):
        def popitem(self):
            pair = super().popitem()
            self[pair[0]] = pair[1]
            return pair

    for kind in (Keeping, Replacing):
        cache = kind(1) if issubclass(kind, LRUCache) else kind(1, 10)
        cache["a"] = 1
        with pytest.raises(RuntimeError, match="popitem"):
            cache["b"] = 2
        assert cache == {"a": 1}


def test_the_default_of_pop_may_be_named(make_cache):
    assert make_cache().pop("a", default=5) == 5
    with pytest.raises(TypeError):
        make_cache().pop("a", 5, 6)
