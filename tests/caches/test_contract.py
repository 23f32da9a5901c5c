"""What the caches share with those of cachetools; every test runs on both."""

import copy
import pickle
from datetime import datetime, timedelta

import cachetools
import pytest

from overdrive import caches

LIBRARIES = [caches, cachetools]


class Clock:
    """A time that tests set."""

    def __init__(self, time=0):
        self.time = time

    def __call__(self):
        return self.time


@pytest.fixture(params=LIBRARIES, ids=lambda library: library.__name__)
def library(request):
    return request.param


@pytest.fixture(params=["LRUCache", "TTLCache"])
def make(request, library):
    kind = getattr(library, request.param)

    def make(maxsize, getsizeof=None, kind=kind):
        if issubclass(kind, library.TTLCache):
            return kind(maxsize, 10, Clock(), getsizeof)
        return kind(maxsize, getsizeof)

    make.kind = kind
    return make


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ttl_cache(library, clock):
    return library.TTLCache(4, 10, clock)


def test_a_cache_holds_what_was_put_into_it(make):
    cache = make(3)
    cache[1] = "one"
    cache["2"] = 2
    assert cache[1] == "one"
    assert cache["2"] == 2
    assert len(cache) == 2
    assert 1 in cache
    assert 3 not in cache
    assert cache.maxsize == 3
    assert cache.currsize == 2
    assert isinstance(cache.currsize, int)


def test_a_missing_key_raises_the_key(make):
    cache = make(3)
    for use in (cache.__getitem__, cache.__delitem__, cache.pop):
        with pytest.raises(KeyError) as error:
            use((1, 2))
        assert error.value.args == ((1, 2),)


def test_the_least_recently_used_entry_goes_first(make):
    cache = make(3)
    for key in "abc":
        cache[key] = key
    assert cache["a"] == "a"
    assert cache.get("b") == "b"
    cache["d"] = "d"
    assert list(cache) == ["a", "b", "d"]
    cache["a"] = "A"
    cache["e"] = "e"
    assert sorted(cache) == ["a", "d", "e"]


def test_membership_is_no_use(make):
    cache = make(2)
    cache["a"] = cache["b"] = 0
    assert "a" in cache
    cache["c"] = 0
    assert "a" not in cache


def test_popitem_takes_the_least_recently_used(make):
    cache = make(3)
    for key in "abc":
        cache[key] = key.upper()
    cache["a"]
    assert cache.popitem() == ("b", "B")
    assert cache.popitem() == ("c", "C")
    assert cache.popitem() == ("a", "A")
    with pytest.raises(KeyError, match="Cache is empty"):
        cache.popitem()


def test_iteration_is_in_the_order_of_insertion(make):
    cache = make(4)
    for key in (3, 1, 2):
        cache[key] = str(key)
    cache[3] = "three"
    cache[1]
    assert list(cache) == [3, 1, 2]
    assert list(cache.items()) == [(3, "three"), (1, "1"), (2, "2")]
    assert list(cache.values()) == ["three", "1", "2"]
    assert list(cache.keys()) == [3, 1, 2]


def test_a_cache_of_size_zero_takes_nothing(make):
    cache = make(0)
    with pytest.raises(ValueError, match="value too large"):
        cache["a"] = 1
    assert len(cache) == 0


@pytest.mark.parametrize("maxsize", [-1, -0.5, float("-inf")])
def test_a_negative_size_is_refused(make, maxsize):
    with pytest.raises(ValueError, match="maxsize must be non-negative"):
        make(maxsize)


@pytest.mark.parametrize("maxsize", [2.5, float("inf"), 10**9, 10**30])
def test_a_size_may_be_any_number(make, maxsize):
    cache = make(maxsize)
    for i in range(4):
        cache[i] = i
    assert cache.maxsize == maxsize
    assert type(cache.maxsize) is type(maxsize)
    assert len(cache) == min(4, int(min(maxsize, 100)))


def test_sizes_bound_what_a_cache_holds(make):
    cache = make(10, getsizeof=len)
    cache["a"] = "xxxx"
    cache["b"] = "xxxx"
    assert cache.currsize == 8
    cache["c"] = "xxxx"
    assert list(cache) == ["b", "c"]
    cache["b"] = "xxxxxxx"
    assert list(cache) == ["b"]
    assert cache.currsize == 7
    with pytest.raises(ValueError, match="value too large"):
        cache["d"] = "x" * 11
    assert list(cache) == ["b"]
    cache["b"] = ""
    assert cache.currsize == 0
    assert cache.getsizeof("xyz") == 3


def test_growing_an_entry_may_evict_itself_first(make):
    cache = make(10, getsizeof=lambda value: value)
    cache["a"] = 4
    cache["b"] = 5
    cache["a"] = 9
    assert dict(cache) == {"a": 9}
    assert cache.currsize == 9


def test_fractional_sizes_add_up(make):
    cache = make(1, getsizeof=lambda value: value)
    cache["a"] = 0.25
    cache["b"] = 0.5
    assert cache.currsize == 0.75
    cache["c"] = 0.5
    assert dict(cache) == {"b": 0.5, "c": 0.5}


def test_a_negative_value_size_is_refused(make):
    cache = make(3, getsizeof=lambda _: -1)
    with pytest.raises(ValueError, match="value size must be non-negative"):
        cache["a"] = 1


def test_a_sizer_that_raises_changes_nothing(make):
    cache = make(3, getsizeof=lambda value: 1 / value)
    cache["a"] = 1
    with pytest.raises(ZeroDivisionError):
        cache["a"] = 0
    assert cache["a"] == 1


def test_the_plain_size_of_a_value_is_one(make):
    assert make(3).getsizeof("anything") == 1
    assert make.kind.getsizeof("anything") == 1


def test_get_pop_and_setdefault_do_not_ask_for_missing_values(make):
    class Defaulting(make.kind):
        def __missing__(self, key):
            return f"made {key}"

    cache = make(3, kind=Defaulting)
    assert cache["a"] == "made a"
    assert cache.get("a") is None
    assert cache.get("a", 1) == 1
    assert cache.pop("a", 2) == 2
    with pytest.raises(KeyError):
        cache.pop("a")
    assert cache.setdefault("a", 3) == 3
    assert cache["a"] == 3
    assert cache.setdefault("a", 4) == 3
    assert cache.setdefault("b") is None
    assert cache.pop("a") == 3
    assert "a" not in cache


def test_missing_may_store_what_it_makes(make):
    class Filling(make.kind):
        def __missing__(self, key):
            value = self[key] = key * 2
            return value

    cache = make(2, kind=Filling)
    assert [cache[i] for i in (1, 2, 3, 3)] == [2, 4, 6, 6]
    assert list(cache) == [2, 3]


def test_an_overridden_popitem_sees_every_eviction(make):
    class Telling(make.kind):
        def popitem(self):
            pair = super().popitem()
            evicted.append(pair)
            return pair

    evicted = []
    cache = make(2, kind=Telling)
    for i in range(5):
        cache[i] = str(i)
    assert evicted == [(0, "0"), (1, "1"), (2, "2")]


def test_an_overridden_popitem_may_evict_another(make):
    class LastIn(make.kind):
        def popitem(self):
            key = list(self)[-1]
            return key, self.pop(key)

    cache = make(2, kind=LastIn)
    for i in range(4):
        cache[i] = i
    assert list(cache) == [0, 3]


def test_overridden_methods_are_used_by_the_others(make):
    class Noting(make.kind):
        def __getitem__(self, key):
            calls.append(("get", key))
            return super().__getitem__(key)

        def __setitem__(self, key, value):
            calls.append(("set", key))
            super().__setitem__(key, value)

        def __delitem__(self, key):
            calls.append(("del", key))
            super().__delitem__(key)

        def __contains__(self, key):
            calls.append(("in", key))
            return super().__contains__(key)

    def said(use):
        calls.clear()
        use()
        return calls[:]

    calls = []
    cache = make(2, kind=Noting)
    assert said(lambda: cache.update(a=1)) == [("set", "a")]
    assert said(lambda: cache.get("a")) == [("in", "a"), ("get", "a")]
    assert said(lambda: cache.get("b")) == [("in", "b")]
    assert said(lambda: cache.setdefault("b", 2)) == [("in", "b"), ("set", "b")]
    assert said(lambda: cache.setdefault("b", 3)) == [("in", "b"), ("get", "b")]
    assert said(lambda: cache.pop("a")) == [("in", "a"), ("get", "a"), ("del", "a")]
    assert said(cache.popitem) == [("del", "b")]
    cache.update(a=1, b=2)
    assert said(lambda: cache.__setitem__("c", 3))[0] == ("set", "c")
    assert ("del", "a") in calls


def test_an_overridden_sizer_is_used(make):
    class Lengths(make.kind):
        def getsizeof(self, value):
            return len(value)

    cache = make(5, kind=Lengths)
    cache["a"] = "xxx"
    cache["b"] = "xxx"
    assert list(cache) == ["b"]
    assert cache.currsize == 3


def test_a_subclass_may_have_a_constructor_of_its_own(library):
    class Named(library.LRUCache):
        def __init__(self, name, *, size):
            super().__init__(maxsize=size)
            self.name = name

    cache = Named("mine", size=1)
    cache["a"] = 1
    cache["b"] = 2
    assert (cache.name, dict(cache)) == ("mine", {"b": 2})


def test_clear_empties_and_update_fills(make):
    cache = make(4, getsizeof=lambda _: 2)
    cache.update({"a": 1}, b=2)
    assert cache == {"a": 1, "b": 2}
    assert cache.currsize == 4
    cache.clear()
    assert cache == {}
    assert cache.currsize == 0
    cache["c"] = 3
    assert cache == {"c": 3}


def test_the_text_shows_contents_and_sizes(make):
    cache = make(3)
    cache["a"] = [1]
    assert repr(cache) == f"{make.kind.__name__}({{'a': [1]}}, maxsize=3, currsize=1)"


def test_caches_are_not_hashable_and_equal_to_mappings(make):
    cache = make(3)
    cache["a"] = 1
    assert cache == {"a": 1}
    assert cache != {"a": 2}
    with pytest.raises(TypeError):
        hash(cache)


def test_equal_keys_are_one_key(make):
    cache = make(3)
    cache[1] = "int"
    cache[True] = "bool"
    cache[1.0] = "float"
    assert list(cache.items()) == [(1, "float")]
    assert type(next(iter(cache))) is int


def test_unhashable_keys_are_refused(make):
    cache = make(3)
    for use in (cache.__getitem__, cache.__contains__, cache.get, cache.__delitem__):
        with pytest.raises(TypeError, match="unhashable"):
            use([])
    with pytest.raises(TypeError, match="unhashable"):
        cache[[]] = 1


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_cache_goes_on_where_it_was(make, protocol):
    cache = make(3)
    for key in "abc":
        cache[key] = key
    cache["a"]
    twin = pickle.loads(pickle.dumps(cache, protocol))  # noqa: S301 - our own
    assert type(twin) is type(cache)
    assert list(twin.items()) == list(cache.items())
    assert (twin.maxsize, twin.currsize) == (3, 3)
    assert twin.popitem() == cache.popitem()
    twin["x"] = 1
    assert "x" not in cache


@pytest.mark.parametrize("make_copy", [copy.copy, copy.deepcopy])
def test_a_copy_goes_its_own_way(make, make_copy):
    cache = make(3)
    cache.label = "first"
    value = cache["a"] = [1]
    cache["b"] = 2
    cache["a"]
    twin = make_copy(cache)
    assert twin == cache
    assert twin.label == "first"
    assert (twin["a"] is value) == (make_copy is copy.copy)
    twin["c"] = twin["d"] = 3
    assert sorted(twin) == ["a", "c", "d"]
    assert list(cache) == ["a", "b"]


def test_a_copy_keeps_its_sizer(make):
    cache = make(10, getsizeof=len)
    cache["a"] = "xxxxx"
    twin = copy.copy(cache)
    twin["b"] = "xxxxxx"
    assert list(twin) == ["b"]
    assert twin.currsize == 6


def test_entries_expire_at_their_time(ttl_cache, clock):
    ttl_cache["a"] = 1
    clock.time = 9.5
    assert ttl_cache["a"] == 1
    ttl_cache["b"] = 2
    clock.time = 10
    assert "a" not in ttl_cache
    assert ttl_cache.get("a") is None
    with pytest.raises(KeyError):
        ttl_cache["a"]
    assert list(ttl_cache) == ["b"]
    assert len(ttl_cache) == 1
    assert ttl_cache.ttl == 10


def test_setting_an_entry_again_begins_its_time_again(ttl_cache, clock):
    ttl_cache["a"] = 1
    clock.time = 8
    ttl_cache["a"] = 2
    clock.time = 12
    assert ttl_cache["a"] == 2
    assert ttl_cache.expire() == []


def test_expire_returns_what_it_removes(ttl_cache, clock):
    for i in range(3):
        clock.time = i
        ttl_cache[i] = str(i)
    assert list(ttl_cache.expire(11)) == [(0, "0"), (1, "1")]
    assert list(ttl_cache) == [2]
    clock.time = 12
    assert list(ttl_cache.expire()) == [(2, "2")]


def test_looking_does_not_remove_what_has_expired(ttl_cache, clock):
    ttl_cache["a"] = 1
    clock.time = 11
    assert ttl_cache.get("a") is None
    assert "a" not in ttl_cache
    assert list(ttl_cache.expire()) == [("a", 1)]


def test_deleting_an_expired_entry_says_it_was_not_there(ttl_cache, clock):
    ttl_cache["a"] = 1
    clock.time = 11
    with pytest.raises(KeyError):
        del ttl_cache["a"]
    assert list(ttl_cache.expire()) == []


def test_expired_entries_go_before_living_ones(library, clock):
    cache = library.TTLCache(2, 10, clock)
    cache["old"] = 1
    clock.time = 5
    cache["young"] = 2
    cache["old"]
    clock.time = 11
    cache["new"] = 3
    assert list(cache) == ["young", "new"]


def test_popitem_takes_living_entries(ttl_cache, clock):
    ttl_cache["a"] = 1
    clock.time = 5
    ttl_cache["b"] = 2
    clock.time = 11
    assert ttl_cache.popitem() == ("b", 2)
    with pytest.raises(KeyError, match="TTLCache is empty"):
        ttl_cache.popitem()


def test_setdefault_replaces_what_has_expired(ttl_cache, clock):
    ttl_cache["a"] = 1
    clock.time = 11
    assert ttl_cache.setdefault("a", 2) == 2
    assert ttl_cache["a"] == 2


def test_the_timer_is_called_frozen_and_forwarded_to(ttl_cache, clock):
    clock.time = 3
    assert ttl_cache.timer() == 3
    with ttl_cache.timer as now:
        assert now == 3
        clock.time = 20
        assert ttl_cache.timer() == 3
        with ttl_cache.timer as again:
            assert again == 3
        assert ttl_cache.timer() == 3
    assert ttl_cache.timer() == 20
    assert ttl_cache.timer.time == 20
    with pytest.raises(AttributeError):
        _ = ttl_cache.timer.no_such_thing


def test_time_stands_still_for_the_cache_in_a_block(ttl_cache, clock):
    ttl_cache["a"] = 1
    with ttl_cache.timer:
        clock.time = 11
        assert ttl_cache["a"] == 1
    assert "a" not in ttl_cache


@pytest.mark.parametrize("ttl", [0, -1])
def test_without_time_to_live_nothing_is_kept(library, clock, ttl):
    cache = library.TTLCache(2, ttl, clock)
    cache["a"] = 1
    assert "a" not in cache
    assert len(cache) == 0


def test_times_may_be_dates(library):
    clock = Clock(datetime(2026, 1, 1))  # noqa: DTZ001 - as users write it
    cache = library.TTLCache(3, timedelta(hours=1), clock)
    cache["a"] = 1
    clock.time += timedelta(minutes=59)
    assert cache["a"] == 1
    assert list(cache.expire(clock.time)) == []
    clock.time += timedelta(minutes=1)
    assert "a" not in cache
    assert cache.ttl == timedelta(hours=1)


def test_an_overridden_expire_is_used(library, clock):
    class Telling(library.TTLCache):
        def expire(self, time=None):
            gone = list(super().expire(time))
            expired.extend(gone)
            return gone

    expired = []
    cache = Telling(3, 10, clock)
    cache["a"] = 1
    clock.time = 11
    cache["b"] = 2
    assert expired == [("a", 1)]
    clock.time = 22
    assert len(cache) == 0
    assert expired == [("a", 1), ("b", 2)]


def test_a_pickled_cache_keeps_its_times(library, clock):
    cache = library.TTLCache(4, 10, clock)
    cache["a"] = 1
    clock.time = 5
    cache["b"] = 2
    cache["a"] = 3
    clock.time = 8
    cache["c"] = 4
    twin = pickle.loads(pickle.dumps(cache))  # noqa: S301 - our own
    assert list(twin.expire(14)) == []
    assert list(twin.expire(15)) == [("b", 2), ("a", 3)]
    assert list(twin.expire(18)) == [("c", 4)]
    assert list(cache) == ["a", "b", "c"]
