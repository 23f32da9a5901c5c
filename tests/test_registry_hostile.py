"""The registry with keys and values that do their worst."""

import gc

import pytest
from mapping_contract import Colliding

from overdrive import ShardedRegistry


def test_an_exception_of_eq_reaches_the_caller_and_changes_nothing():
    def explode():
        raise ZeroDivisionError

    registry = ShardedRegistry()
    registry[Colliding(1, explode)] = "first"
    key = Colliding(2)
    for use in (
        lambda: registry.__setitem__(key, "second"),
        lambda: registry.get(key),
        lambda: registry.pop(key),
        lambda: key in registry,
        lambda: registry.get_or_create(key, int),
        lambda: registry.get_many([key]),
        lambda: registry.compare_and_set(key, 1, 2),
    ):
        with pytest.raises(ZeroDivisionError):
            use()
    assert len(registry) == 1


def test_an_exception_of_hash_reaches_the_caller():
    class Unhashable:
        def __hash__(self):
            raise ZeroDivisionError

    registry = ShardedRegistry()
    with pytest.raises(ZeroDivisionError):
        registry[Unhashable()] = 1
    with pytest.raises(ZeroDivisionError):
        registry.register_many([("a", 1), (Unhashable(), 2)])
    assert registry == {"a": 1}


def test_a_hash_that_is_no_integer_raises():
    class Nonsense:
        def __hash__(self):
            return "hash"  # noqa: PLE0309 - the point

    with pytest.raises(TypeError):
        ShardedRegistry().get(Nonsense())


def test_an_eq_whose_answer_has_no_truth_raises():
    class Nonsense(Colliding):
        __hash__ = Colliding.__hash__

        def __eq__(self, other):
            return NoTruth()

    class NoTruth:
        def __bool__(self):
            raise ArithmeticError

    registry = ShardedRegistry()
    registry[Nonsense(1)] = 1
    with pytest.raises(ArithmeticError):
        registry.get(Nonsense(1))


def test_a_key_whose_hash_changes_is_lost_and_harms_nothing():
    class Wandering:
        def __init__(self):
            self.hash = 0

        def __hash__(self):
            self.hash += 1
            return self.hash

    registry = ShardedRegistry()
    key = Wandering()
    registry[key] = 1
    assert key not in registry
    registry[key] = 2
    assert len(registry) == 2
    registry.clear()
    assert len(registry) == 0


def test_eq_may_use_the_same_registry():
    registry = ShardedRegistry(1)

    def meddle():
        registry["other"] = len(registry)
        registry.remove("other")

    for i in range(5):
        registry[Colliding(i, meddle)] = i
    assert [registry[Colliding(i)] for i in range(5)] == list(range(5))


def test_eq_that_removes_the_key_it_is_compared_with_is_no_trap():
    registry = ShardedRegistry(1)
    stored = Colliding(1)
    registry[stored] = "value"
    stored.on_compare = registry.clear
    assert registry.get(Colliding(1)) is None


def test_eq_that_stores_another_key_at_each_comparison_gets_an_error_and_no_hang():
    registry = ShardedRegistry(1)

    class Breeding:
        breeding = False

        def __hash__(self):
            return 1

        def __eq__(self, other):
            if not Breeding.breeding:
                Breeding.breeding = True
                registry[Breeding()] = None
                Breeding.breeding = False
            return False

    registry[Breeding()] = None
    with pytest.raises(RuntimeError, match="changed during each attempt"):
        registry.get(Breeding())


def test_a_finalizer_may_use_the_same_registry():
    registry = ShardedRegistry(1)
    seen = []

    class Meddler:
        def __del__(self):
            seen.append(registry.get("key"))

    registry["key"] = Meddler()
    registry["key"] = "replaced"
    registry["gone"] = Meddler()
    del registry["gone"]
    registry["cleared"] = Meddler()
    registry.clear()
    registry["many"] = Meddler()
    registry.remove_many(["many"])
    registry.register("popped", Meddler())
    registry.popitem()
    registry["key"] = 1
    registry.register("key", Meddler())
    registry.compare_and_set("key", 1, Meddler())
    registry.update("key", lambda _: 2)
    assert seen == ["replaced", "replaced", None, None, None, 1, 2]


def test_keys_chosen_to_collide_are_spread_over_the_buckets():
    """Integers hash to themselves: these agree in all bits that a plain table would look at."""
    registry = ShardedRegistry()
    flood = [i << 40 for i in range(50_000)]
    registry.register_many((key, key) for key in flood)
    assert registry.get_many(flood) == flood
    assert len(registry) == len(flood)


def test_the_garbage_collector_may_run_at_any_allocation():
    registry = ShardedRegistry(2)
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for i in range(300):
            registry[Colliding(i % 7)] = [registry]
            registry.get_or_create((i, "x"), dict)
            registry.update(i, lambda value: [value], default=None)
            registry.snapshot()
    finally:
        gc.set_threshold(*thresholds)
    assert len(registry) == 7 + 300 + 300
