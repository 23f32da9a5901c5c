"""Caches with keys and values that do their worst."""

import contextlib
import gc
import sys
import time

import pytest
from hostile import Colliding, Meddler, Moody, explode, kinds

from overdrive.caches import LRUCache


def test_an_exception_of_eq_reaches_the_caller_and_changes_nothing(make_cache, use):
    cache = make_cache()
    stored = Colliding(1, explode)
    cache[stored] = "first"
    with pytest.raises(ZeroDivisionError):
        use(cache, Colliding(2))
    assert cache._entries() == [(stored, "first")]
    assert cache.currsize == 1


def test_an_exception_of_hash_reaches_the_caller_and_changes_nothing(make_cache, use):
    class Unhashable:
        def __hash__(self):
            raise ZeroDivisionError

    cache = make_cache()
    cache["a"] = 1
    with pytest.raises(ZeroDivisionError):
        use(cache, Unhashable())
    assert cache == {"a": 1}


def test_a_hash_that_is_no_integer_raises(make_cache, use):
    class Nonsense:
        def __hash__(self):
            return "hash"  # noqa: PLE0309 - the point

    with pytest.raises(TypeError):
        use(make_cache(), Nonsense())


def test_an_eq_whose_answer_has_no_truth_raises(make_cache, use):
    class NoTruth:
        def __bool__(self):
            raise ArithmeticError

    cache = make_cache()
    cache[Moody(NoTruth())] = 1
    with pytest.raises(ArithmeticError):
        use(cache, Moody(answer=True))


@pytest.mark.parametrize(("answer", "equal"), [(NotImplemented, False), ("yes", True), ([], False)])
def test_what_eq_returns_is_taken_for_its_truth(make_cache, answer, equal):
    cache = make_cache()
    cache[Moody(answer)] = "value"
    key = Moody(NotImplemented)
    assert (key in cache) == equal
    assert cache.get(key) == ("value" if equal else None)
    cache[key] = "new"
    assert len(cache) == (1 if equal else 2)


def test_a_key_that_is_not_equal_to_itself_is_found_by_identity(make_cache):
    cache = make_cache()
    key = Moody(answer=False)
    cache[key] = 1
    cache[key] = 2
    assert cache[key] == 2
    assert cache.pop(key) == 2
    assert len(cache) == 0


def test_a_subclass_of_str_is_compared_by_its_own_eq(make_cache):
    class Loose(str):
        __slots__ = ()

        def __eq__(self, other):
            return True

        __hash__ = str.__hash__

    cache = make_cache()
    cache["a"] = 1
    assert Loose("a") in cache
    cache[Loose("b")] = 2
    assert cache["b"] == 2
    assert len(cache) == 2


def test_a_key_whose_hash_changes_is_lost_until_it_is_evicted(make_cache):
    class Wandering:
        hash = 0

        def __hash__(self):
            self.hash += 1
            return self.hash

    cache = make_cache(3)
    key = Wandering()
    for i in range(5):
        cache[key] = i
        assert key not in cache
        assert cache.get_or_create(key, lambda: "made") == "made"
    assert len(cache) == 3
    assert list(cache) == []
    cache.clear()
    assert len(cache) == 0


def test_eq_may_use_the_same_cache(make_cache):
    cache = make_cache(7)

    def meddle():
        cache["other"] = len(cache)
        cache.get_or_create("another", list)
        cache.pop("another")
        del cache["other"]

    keys = [Colliding(i, meddle) for i in range(5)]
    for key in keys:
        cache[key] = key.value
    assert [cache[Colliding(i)] for i in range(5)] == list(range(5))
    assert len(cache) == 5


MEDDLING = {
    "clears": lambda cache, stored: cache.clear(),
    "pops": lambda cache, stored: cache.pop(stored, None),
    "pops the oldest": lambda cache, stored: len(cache) and cache.popitem(),
    "sets": lambda cache, stored: cache.__setitem__(stored, "meddled"),
    "fills": lambda cache, stored: cache.update(dict.fromkeys("abcdefgh")),
    "collects": lambda cache, stored: gc.collect(),
    "gives way": lambda cache, stored: time.sleep(0),
}


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize("meddle", MEDDLING.values(), ids=MEDDLING)
def test_eq_may_do_anything_to_the_key_that_is_looked_for(make_cache, use, meddle, equal):
    cache = make_cache(3)
    stored = Colliding(1)
    cache[stored] = "value"
    stored.on_compare = lambda: meddle(cache, stored)
    key = Colliding(1 if equal else 2)
    result = None
    with contextlib.suppress(KeyError):
        result = use(cache, key)
    assert result in {None, True, False, "value", "new", "meddled"}
    stored.on_compare = lambda: None
    keys = list(cache)
    assert len(cache) == len(keys) == len(set(keys)) <= 3
    assert all(cache[key] in {None, "value", "new", "meddled"} for key in keys)
    cache[key] = "last"
    assert cache[key] == "last"


def test_eq_that_stores_another_key_at_each_comparison_gets_an_error_and_no_hang(make_cache, use):
    class Breeding:
        breeding = False

        def __hash__(self):
            return 1

        def __eq__(self, other):
            if not Breeding.breeding:
                Breeding.breeding = True
                cache[Breeding()] = None
                Breeding.breeding = False
            return False

    cache = make_cache()
    cache[Breeding()] = None
    with pytest.raises(RuntimeError, match="changed during each attempt"):
        use(cache, Breeding())


@pytest.mark.parametrize(
    "keys",
    [[i << 40 for i in range(10_000)], [(i << 48) + 7 for i in range(2**12)]],
    ids=["of equal low bits", "of equal low and high bits"],
)
def test_integers_chosen_to_collide_are_told_apart(make_cache, keys):
    room = len(keys) - 1000
    cache = make_cache(room)
    for key in keys:
        cache[key] = str(key)
    assert len(cache) == room
    assert list(cache) == keys[1000:]
    assert all(cache[key] == str(key) for key in keys[1000:])
    assert not any(key in cache for key in keys[:1000])


def test_ten_thousand_integers_of_equal_hash_are_told_apart():
    """Only the first have at most 64 bits; all others are compared by Python."""
    keys = [7 + i * sys.hash_info.modulus for i in range(10_000)]
    assert {hash(key) for key in keys} == {7}
    cache = LRUCache(10_000)
    for key in keys:
        cache[key] = key
    assert list(cache) == keys
    assert 7 - sys.hash_info.modulus not in cache


def test_a_thousand_keys_that_only_python_tells_apart_may_collide(make_cache):
    cache = make_cache(1000)
    for i in range(1000):
        cache[Colliding(i)] = i
    assert [cache[Colliding(i)] for i in range(0, 1000, 100)] == list(range(0, 1000, 100))
    assert len(cache) == 1000


@pytest.mark.skipif(not hasattr(sys, "getrefcount"), reason="needs reference counts")
def test_a_finalizer_may_use_the_same_cache(make_cache):
    seen = []
    cache = make_cache(2, getsizeof=lambda _: 1)

    def look():
        seen.append((cache.get("key"), len(cache)))

    cache["key"] = Meddler(look)
    cache["key"] = "there"
    cache["deleted"] = Meddler(look)
    del cache["deleted"]
    cache["popped"] = Meddler(look)
    cache.pop("popped")
    cache["evicted"] = Meddler(look)
    cache["key"]
    cache["other"] = None
    cache.set("other", Meddler(look), tags="tag")
    cache.invalidate_tag("tag")
    cache.set("other", Meddler(look), ttl=5)
    cache.expire(5)
    cache["other"] = Meddler(look)
    cache["key"]
    cache.popitem()
    cache["other"] = Meddler(look)
    cache.get_or_create("refused", lambda: cache.set("refused", 1) or Meddler(look))
    cache.clear()
    assert [value for value, _ in seen[:8]] == ["there"] * 7 + [None]
    assert all(size <= 2 for _, size in seen)
    assert len(seen) >= 8


def test_a_finalizer_may_store_and_clear(make_cache):
    cache = make_cache(3)
    cache["a"] = Meddler(lambda: cache.update(a=1, b=2, c=3, d=4))
    cache["a"] = "replaced"
    assert cache == {"b": 2, "c": 3, "d": 4}
    cache["e"] = Meddler(cache.clear)
    del cache["e"]
    assert len(cache) == 0
    cache["f"] = Meddler(lambda: cache.__setitem__("g", 1))
    cache.clear()
    assert cache == {"g": 1}


def test_a_finalizer_that_raises_stops_nothing(make_cache, unraisable):
    cache = make_cache(1)
    cache["a"] = Meddler(explode)
    cache["b"] = 2
    assert cache == {"b": 2}
    assert kinds(unraisable) == [ZeroDivisionError]
