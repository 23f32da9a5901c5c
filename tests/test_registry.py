"""The registry behaves as a dict does, from any thread and with any keys."""

import gc
import threading
import weakref

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from overdrive import LockFreeAgentRegistry, ShardedRegistry


class Colliding:
    """A key whose hash is always the same and whose equality calls a function."""

    def __init__(self, value, on_compare=lambda: None):
        self.value = value
        self.on_compare = on_compare

    def __hash__(self):
        return 1

    def __eq__(self, other):
        self.on_compare()
        return isinstance(other, Colliding) and self.value == other.value


KEYS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**63, 2**64, -(2**70), True, False, 1.0, None]),
    st.text(max_size=2),
    st.binary(max_size=2),
    st.tuples(st.integers(0, 2), st.text(max_size=1)),
    st.builds(Colliding, st.integers(0, 3)),
)


class RegistryIsADict(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.registry = ShardedRegistry(3)
        self.model = {}

    @rule(key=KEYS, value=st.integers())
    def set(self, key, value):
        self.registry[key] = value
        self.model[key] = value

    @rule(key=KEYS, value=st.integers())
    def register(self, key, value):
        assert self.registry.register(key, value) == (key not in self.model)
        self.model.setdefault(key, value)

    @rule(key=KEYS)
    def get(self, key):
        assert self.registry.get(key, "none") == self.model.get(key, "none")
        assert (key in self.registry) == (key in self.model)

    @rule(key=KEYS)
    def remove(self, key):
        assert self.registry.remove(key, "none") == self.model.pop(key, "none")

    @rule()
    def compare(self):
        assert self.registry == self.model
        assert len(self.registry) == self.registry.size() == len(self.model)
        assert set(self.registry) == set(self.model)

    @rule()
    def clear(self):
        self.registry.clear()
        self.model.clear()


TestRegistryIsADict = RegistryIsADict.TestCase


def test_a_registry_needs_a_shard():
    with pytest.raises(ValueError, match="num_shards must be at least 1, got 0"):
        ShardedRegistry(0)


def test_the_first_registration_of_an_id_stays():
    registry = LockFreeAgentRegistry()
    assert registry.register("a", 1)
    assert not registry.register("a", 2)
    assert registry["a"] == 1


def test_a_missing_key_raises_key_error_with_the_key():
    with pytest.raises(KeyError) as caught:
        ShardedRegistry()["nobody"]
    assert caught.value.args == ("nobody",)


def test_an_exception_of_eq_reaches_the_caller_and_changes_nothing():
    def explode():
        raise ZeroDivisionError

    registry = ShardedRegistry()
    registry[Colliding(1, explode)] = "first"
    with pytest.raises(ZeroDivisionError):
        registry[Colliding(2)] = "second"
    assert len(registry) == 1


def test_an_unhashable_key_raises_type_error():
    with pytest.raises(TypeError, match="unhashable"):
        ShardedRegistry()[[]] = 1


@pytest.mark.timeout(10)
def test_eq_may_use_the_same_registry():
    registry = ShardedRegistry(1)

    def meddle():
        registry["other"] = len(registry)
        registry.remove("other")

    for i in range(5):
        registry[Colliding(i, meddle)] = i
    assert [registry[Colliding(i)] for i in range(5)] == list(range(5))


@pytest.mark.timeout(10)
def test_eq_that_removes_the_key_it_is_compared_with_is_no_trap():
    registry = ShardedRegistry(1)
    stored = Colliding(1)
    registry[stored] = "value"
    stored.on_compare = registry.clear
    assert registry.get(Colliding(1)) is None


@pytest.mark.timeout(10)
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
    assert seen == ["replaced", "replaced", None]


def test_a_cycle_through_a_value_is_collected():
    registry = ShardedRegistry()

    class Holder:
        pass

    holder = Holder()
    holder.registry = registry
    registry["holder"] = holder
    gone = weakref.ref(holder)
    del holder, registry
    gc.collect()
    assert gone() is None


def test_threads_that_register_the_same_ids_agree_on_one_winner_each():
    registry = ShardedRegistry(4)
    barrier = threading.Barrier(4)
    wins = [[] for _ in range(4)]

    def race(mine):
        barrier.wait()
        mine.extend(i for i in range(2000) if registry.register(i, mine))

    threads = [threading.Thread(target=race, args=(mine,)) for mine in wins]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(i for mine in wins for i in mine) == list(range(2000))
    assert all(registry[i] is mine for mine in wins for i in mine)
