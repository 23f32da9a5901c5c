"""What the caches have beyond those of cachetools."""

import copy
import gc
import math
import pickle
import threading
from datetime import timedelta

import pytest

from overdrive.caches import CacheStats, LRUCache, TTLCache


class Clock:
    def __init__(self):
        self.time = 0.0

    def __call__(self):
        return self.time


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def left():
    return []


@pytest.fixture
def listener(left):
    return lambda key, value, reason: left.append((key, value, reason))


def test_an_entry_may_have_a_time_to_live_of_its_own(clock):
    cache = TTLCache(5, 10, clock)
    cache.set("short", 1, ttl=2)
    cache.set("long", 2, ttl=timedelta(seconds=20))
    cache.set("usual", 3)
    cache.set("ever", 4, ttl=math.inf)
    clock.time = 2
    assert list(cache) == ["long", "usual", "ever"]
    clock.time = 10
    assert list(cache) == ["long", "ever"]
    clock.time = 20
    assert cache.expire() == [("usual", 3), ("short", 1), ("long", 2)] or len(cache) == 1
    assert list(cache) == ["ever"]


def test_expired_entries_of_both_kinds_are_returned(clock):
    cache = TTLCache(5, 10, clock)
    cache.set("a", 1, ttl=30)
    cache["b"] = 2
    cache.set("c", 3, ttl=5)
    clock.time = 31
    assert sorted(cache.expire()) == [("a", 1), ("b", 2), ("c", 3)]


def test_a_new_time_to_live_replaces_the_old_one(clock):
    cache = TTLCache(5, 10, clock)
    cache.set("a", 1, ttl=2)
    cache["a"] = 2
    clock.time = 5
    assert cache["a"] == 2
    cache.set("a", 3, ttl=1)
    clock.time = 6
    assert "a" not in cache
    for i in range(1000):
        cache.set("b", i, ttl=1000 - i)
    assert len(cache) == 1


def test_an_lru_cache_takes_times_to_live_too():
    cache = LRUCache(5)
    cache.set("a", 1, ttl=1e-9)
    cache.set("b", 2, ttl=1000)
    cache["c"] = 3
    while "a" in cache:
        pass
    assert list(cache) == ["b", "c"]
    assert len(cache) == 2


@pytest.mark.parametrize("ttl", [0, -1, math.nan, timedelta(0)])
def test_a_time_to_live_that_is_not_positive_is_refused(ttl):
    cache = LRUCache(5)
    with pytest.raises(ValueError, match=r"ttl must be positive, got"):
        cache.set("a", 1, ttl=ttl)
    assert "a" not in cache


def test_tags_remove_entries_together(left, listener):
    cache = LRUCache(5, listener=listener)
    cache.set(1, "one", tags=["odd", "small"])
    cache.set(2, "two", tags="small")
    cache.set(9, "nine", tags=("odd",))
    cache[4] = "four"
    assert cache.invalidate_tag("odd") == 2
    assert list(cache) == [2, 4]
    assert sorted(left) == [(1, "one", "removed"), (9, "nine", "removed")]
    assert cache.invalidate_tag("odd") == 0
    cache[2] = "zwei"
    assert cache.invalidate_tag("small") == 0
    assert cache[2] == "zwei"


def test_tags_must_be_text():
    cache = LRUCache(5)
    with pytest.raises(TypeError):
        cache.set("a", 1, tags=[1])
    with pytest.raises(TypeError):
        cache.set("a", 1, tags=1)
    assert "a" not in cache


def test_the_listener_hears_what_leaves_and_why(clock, left, listener):
    cache = TTLCache(2, 10, clock, listener=listener)
    cache["a"] = 1
    cache["a"] = 2
    cache["b"] = 3
    cache["c"] = 4
    del cache["b"]
    clock.time = 10
    cache["d"] = 5
    cache.pop("d")
    cache["e"] = 6
    cache.popitem()
    cache["f"] = 7
    cache.clear()
    assert left == [
        ("a", 1, "replaced"),
        ("a", 2, "evicted"),
        ("b", 3, "removed"),
        ("c", 4, "expired"),
        ("d", 5, "removed"),
        ("e", 6, "evicted"),
        ("f", 7, "removed"),
    ]


def test_the_listener_may_use_the_cache():
    cache = LRUCache(1, listener=lambda key, value, _: key < 5 and cache.update({key + 5: value}))
    cache[0] = "x"
    cache[1] = "y"
    # 0 leaves for 1, 1 for 5, and 5 for 6.
    assert list(cache.items()) == [(6, "y")]


def test_stats_count_look_ups_and_departures(clock):
    cache = TTLCache(2, 10, clock)
    assert cache.stats() == CacheStats(0, 0, 0, 0, 0)
    assert cache.stats().hit_rate == 0
    cache.update(a=1, b=2, c=3)
    cache.get("b")
    cache.get("x")
    cache["c"]
    assert "b" in cache
    clock.time = 10
    cache.get("b")
    cache.expire()
    stats = cache.stats()
    assert stats == CacheStats(hits=2, misses=2, evictions=1, expirations=2, size=0)
    assert stats.hit_rate == 0.5


def test_get_or_create_makes_a_value_once():
    cache = LRUCache(5)
    made = []
    for _ in range(3):
        assert cache.get_or_create("a", lambda: made.append(1) or "value") == "value"
    assert made == [1]


def test_get_or_create_keeps_time_to_live_and_tags(clock):
    cache = TTLCache(5, 10, clock)
    cache.get_or_create("a", lambda: 1, ttl=3)
    cache.get_or_create("b", lambda: 2, tags=["t"])
    clock.time = 3
    assert list(cache) == ["b"]
    assert cache.invalidate_tag("t") == 1


def test_none_is_a_value():
    cache = LRUCache(5)
    cache.get_or_create("a", lambda: None)
    assert cache.get_or_create("a", lambda: 1) is None


def test_a_failed_load_is_not_stored():
    cache = LRUCache(5)

    def fail():
        raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"):
        cache.get_or_create("a", fail)
    assert "a" not in cache
    assert cache.get_or_create("a", lambda: 1) == 1


def test_a_value_too_large_is_returned_and_not_stored():
    cache = LRUCache(3, getsizeof=len)
    assert cache.get_or_create("a", lambda: "xxxx") == "xxxx"
    assert "a" not in cache


@pytest.mark.parametrize(
    "change",
    [
        lambda cache: cache.pop("a", None),
        lambda cache: cache.update(a="newer"),
        lambda cache: cache.clear(),
        lambda cache: cache.invalidate_tag("t"),
    ],
    ids=["pop", "set", "clear", "tag"],
)
def test_a_load_that_began_before_a_change_is_not_stored(change):
    cache = LRUCache(5)

    def make():
        change(cache)
        return "stale"

    assert cache.get_or_create("a", make, tags=["t"]) == "stale"
    assert cache.get("a", "newer") == "newer"


@pytest.mark.parametrize(
    "change",
    [
        lambda cache: cache.pop("b", None),
        lambda cache: cache.update(b=1),
        lambda cache: cache.invalidate_tag("u"),
    ],
    ids=["pop", "set", "tag"],
)
def test_changes_of_other_things_do_not_keep_a_load_from_being_stored(change):
    cache = LRUCache(5)

    def make():
        change(cache)
        return "fresh"

    cache.get_or_create("a", make, tags=["t"])
    assert cache["a"] == "fresh"


def test_more_changes_than_are_told_apart_count_as_all():
    cache = LRUCache(5)

    def make():
        for i in range(5000):
            cache.pop(i, None)
        return "perhaps stale"

    cache.get_or_create("a", make)
    assert "a" not in cache


def test_who_asks_after_an_invalidation_does_not_join_the_old_load():
    cache = LRUCache(5)
    began, go_on = threading.Event(), threading.Event()

    def slow():
        began.set()
        go_on.wait()
        return "old"

    results = []
    thread = threading.Thread(target=lambda: results.append(cache.get_or_create("a", slow)))
    thread.start()
    began.wait()
    cache.pop("a", None)
    assert cache.get_or_create("a", lambda: "new") == "new"
    go_on.set()
    thread.join()
    assert results == ["old"]
    assert cache["a"] == "new"


def test_a_value_that_needs_itself_raises():
    cache = LRUCache(5)

    def make():
        return cache.get_or_create("a", make)

    with pytest.raises(RuntimeError, match="needs the value of 'a'"):
        cache.get_or_create("a", make)
    assert cache.get_or_create("a", lambda: 1) == 1


def test_values_may_need_other_values():
    cache = LRUCache(50)

    def fib(n):
        def make():
            return n if n < 2 else fib(n - 1) + fib(n - 2)

        return cache.get_or_create(n, make)

    assert fib(40) == 102334155


def test_values_that_need_each_other_raise_in_one_of_two_threads():
    cache = LRUCache(5)
    meet = threading.Barrier(2)
    outcomes = {}

    def need(own, other):
        def make():
            meet.wait()
            return cache.get_or_create(other, lambda: f"{other} made for {own}")

        try:
            outcomes[own] = cache.get_or_create(own, make)
        except RuntimeError as error:
            outcomes[own] = error

    threads = [threading.Thread(target=need, args=pair) for pair in ("ab", "ba")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert any(isinstance(outcome, RuntimeError) for outcome in outcomes.values())


def test_many_threads_make_a_value_once():
    cache = LRUCache(5)
    everyone = threading.Barrier(8)
    made = []

    def make():
        made.append(threading.get_ident())
        return object()

    def ask():
        everyone.wait()
        results.append(cache.get_or_create("a", make))

    for _ in range(50):
        results = []
        cache.clear()
        made.clear()
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(made) == 1
        assert len(set(map(id, results))) == 1


def test_waiters_get_the_error_of_the_one_that_made_it():
    cache = LRUCache(5)
    began, go_on = threading.Event(), threading.Event()
    errors = []

    def fail():
        began.set()
        go_on.wait()
        raise OSError("gone")

    def ask():
        with pytest.raises(OSError, match="gone") as error:
            cache.get_or_create("a", fail)
        errors.append(error.value)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    threads[0].start()
    began.wait()
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(errors) == 3


def test_copies_and_pickles_keep_times_and_tags(clock):
    cache = TTLCache(5, 10, clock)
    cache.set("a", 1, ttl=3, tags=["t"])
    cache.set("b", 2, tags=["t", "u"])
    cache["c"] = 3
    for twin in (copy.copy(cache), pickle.loads(pickle.dumps(cache))):  # noqa: S301 - our own
        assert [key for key, _ in twin.expire(5)] == ["a"]
        assert twin.invalidate_tag("t") == 1
        assert list(twin.items()) == [("c", 3)]
    assert list(cache) == ["a", "b", "c"]


def test_iterating_leaves_out_what_goes_meanwhile():
    cache = LRUCache(5)
    cache.update(a=1, b=2, c=3)
    seen = []
    for key in cache:
        seen.append(key)
        cache.pop("b", None)
        cache[key * 2] = 0
    assert seen == ["a", "c"]


def test_a_cache_in_itself_can_be_shown():
    cache = LRUCache(2)
    cache["self"] = cache
    assert repr(cache) == "LRUCache({'self': ...}, maxsize=2, currsize=1)"
    cache.clear()


@pytest.mark.parametrize("option", ["listener", "timer", "getsizeof"])
def test_a_cache_with_a_method_of_its_own_as_an_option_is_collected(option):
    class Own(TTLCache):
        def __init__(self):
            super().__init__(5, 10, **{option: self.act})

        def act(self, *_):
            return 1

    cache = Own()
    cache["a"] = cache["b"] = 1
    del cache
    gc.collect()
    # A weak reference would be dead also if the collector had given up.
    assert not any(type(thing) is Own for thing in gc.get_objects())
