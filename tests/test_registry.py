"""The registry behaves as a dict does, from any thread and with any keys."""

import gc
import pickle
import weakref

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from mapping_contract import Colliding, MappingContract

from overdrive.registry import ABSENT, Change, LockFreeAgentRegistry, ShardedRegistry

KEYS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**63, 2**64, -(2**70), True, False, 1.0, None]),
    st.text(max_size=2),
    st.binary(max_size=2),
    st.tuples(st.integers(0, 2), st.text(max_size=1)),
    st.builds(Colliding, st.integers(0, 3)),
)
VALUES = st.integers(0, 3)


class TestDict(MappingContract):
    make = dict


class TestShardedRegistry(MappingContract):
    make = ShardedRegistry


class TestShardedRegistryOfOneShard(MappingContract):
    @staticmethod
    def make():
        return ShardedRegistry(1)


class RegistryIsADict(RuleBasedStateMachine):
    """Every operation has the result that the same steps have on a dict, and is watched."""

    def __init__(self):
        super().__init__()
        self.registry = ShardedRegistry(3)
        self.model = {}
        self.mirror = {}
        self.registry.watch(self.follow)

    def follow(self, change):
        if change.kind == "removed":
            assert self.mirror.pop(change.key) is change.old
        else:
            assert (change.kind == "replaced") == (change.key in self.mirror)
            assert self.mirror.get(change.key) is change.old
            self.mirror[change.key] = change.new

    @rule(key=KEYS, value=VALUES)
    def set(self, key, value):
        self.registry[key] = value
        self.model[key] = value

    @rule(key=KEYS, value=VALUES)
    def register(self, key, value):
        assert self.registry.register(key, value) == (key not in self.model)
        self.model.setdefault(key, value)

    @rule(pairs=st.dictionaries(KEYS, VALUES, max_size=4))
    def register_many(self, pairs):
        new = sum(key not in self.model for key in pairs)
        assert self.registry.register_many(pairs) == new
        self.model = pairs | self.model

    @rule(key=KEYS, value=VALUES)
    def setdefault(self, key, value):
        assert self.registry.setdefault(key, value) == self.model.setdefault(key, value)

    @rule(key=KEYS)
    def get(self, key):
        assert self.registry.get(key, "none") == self.model.get(key, "none")
        assert (key in self.registry) == (key in self.model)

    @rule(keys=st.lists(KEYS, max_size=4))
    def get_many(self, keys):
        assert self.registry.get_many(keys, "none") == [self.model.get(k, "none") for k in keys]

    @rule(key=KEYS)
    def remove(self, key):
        assert self.registry.remove(key, "none") == self.model.pop(key, "none")

    @rule(keys=st.lists(KEYS, max_size=4))
    def remove_many(self, keys):
        assert self.registry.remove_many(keys, 9) == [self.model.pop(k, 9) for k in keys]

    @rule()
    def popitem(self):
        if self.model:
            key, value = self.registry.popitem()
            assert self.model.pop(key) == value

    @rule(key=KEYS, value=VALUES)
    def get_or_create(self, key, value):
        assert self.registry.get_or_create(key, lambda: value) == self.model.setdefault(key, value)

    @rule(key=KEYS, expected=st.one_of(VALUES, st.just(ABSENT)), new=VALUES)
    def compare_and_set(self, key, expected, new):
        done = self.model.get(key, ABSENT) == expected
        assert self.registry.compare_and_set(key, expected, new) == done
        if done:
            self.model[key] = new

    @rule(key=KEYS, expected=st.one_of(VALUES, st.just(ABSENT)))
    def compare_and_remove(self, key, expected):
        done = self.model.get(key, ABSENT) == expected
        assert self.registry.compare_and_set(key, expected, ABSENT) == done
        if done:
            self.model.pop(key, None)

    @rule(key=KEYS)
    def update(self, key):
        new = self.registry.update(key, lambda value: value + 1, default=0)
        self.model[key] = self.model.get(key, 0) + 1
        assert new == self.model[key]

    @rule(key=KEYS)
    def pop_if(self, key):
        taken = self.registry.pop_if(key, lambda value: value > 1, "none")
        if self.model.get(key, 0) > 1:
            assert taken == self.model.pop(key)
        else:
            assert taken == "none"

    @rule()
    def compare(self):
        assert self.registry == self.model
        assert len(self.registry) == self.registry.size() == len(self.model)
        assert set(self.registry) == set(self.model)
        assert self.mirror == self.model

    @rule()
    def clear(self):
        self.registry.clear()
        self.model.clear()


TestRegistryIsADict = RegistryIsADict.TestCase


@pytest.mark.parametrize("size", [0, -1, -(2**70)])
def test_a_registry_needs_a_shard(size):
    with pytest.raises(ValueError, match=f"num_shards must be at least 1, got {size}"):
        ShardedRegistry(size)


def test_more_shards_than_can_be_of_use_are_refused():
    with pytest.raises(ValueError, match="num_shards must be at most 65536, got 65537"):
        ShardedRegistry(65537)
    with pytest.raises(ValueError, match="num_shards must be at most 65536"):
        ShardedRegistry(2**70)


def test_a_number_of_shards_that_is_no_integer_is_refused():
    with pytest.raises(TypeError):
        ShardedRegistry("16")
    with pytest.raises(TypeError):
        ShardedRegistry(1.5)


def test_the_first_registration_of_an_id_stays():
    registry = LockFreeAgentRegistry()
    assert registry.register("a", 1)
    assert not registry.register("a", 2)
    assert registry["a"] == 1


def test_get_takes_names_of_its_arguments():
    registry = ShardedRegistry()
    registry["a"] = 1
    assert registry.get(key="a") == 1
    assert registry.get("b", default=2) == 2
    assert registry.get(default=3, key="c") == 3


def test_register_many_counts_what_it_stored():
    registry = ShardedRegistry()
    registry["a"] = 1
    assert registry.register_many([("a", 2), ("b", 2), ("b", 3)]) == 1
    assert registry == {"a": 1, "b": 2}


def test_a_changed_registry_does_not_disturb_its_iterators():
    registry = ShardedRegistry()
    registry.update(a=1, b=2)
    for key, value in registry.items():
        registry[key * 2] = value
        del registry[key]
    assert registry == {"aa": 1, "bb": 2}
    values = iter(registry.values())
    registry.clear()
    assert sorted(values) == [1, 2]


def test_a_subclass_keeps_its_type_and_attributes_when_pickled():
    registry = Named(3)
    registry.name = "x"
    registry["a"] = 1
    again = pickle.loads(pickle.dumps(registry))  # noqa: S301 - our own
    assert type(again) is Named
    assert (again.name, again.num_shards, dict(again)) == ("x", 3, {"a": 1})


class Named(ShardedRegistry):
    pass


def test_compare_and_set_compares_by_equality_and_by_identity_first():
    registry = ShardedRegistry()
    nan = float("nan")
    registry["a"] = 1000
    assert not registry.compare_and_set("a", 999, 1)
    assert registry.compare_and_set("a", int("1000"), nan)
    assert registry.compare_and_set("a", nan, 2)
    assert registry["a"] == 2


def test_compare_and_set_knows_absence_from_none():
    registry = ShardedRegistry()
    assert not registry.compare_and_set("a", None, 1)
    assert not registry.compare_and_set("a", 1, ABSENT)
    assert registry.compare_and_set("a", ABSENT, ABSENT)
    assert "a" not in registry
    assert registry.compare_and_set("a", ABSENT, None)
    assert not registry.compare_and_set("a", ABSENT, 1)
    assert registry.compare_and_set("a", None, ABSENT)
    assert "a" not in registry


def test_absent_is_one_object_also_after_pickling():
    assert pickle.loads(pickle.dumps(ABSENT)) is ABSENT  # noqa: S301 - our own
    assert repr(ABSENT) == "ABSENT"
    with pytest.raises(TypeError):
        type(ABSENT)()


def test_update_of_one_key_needs_the_key_or_a_default():
    registry = ShardedRegistry()
    with pytest.raises(KeyError) as caught:
        registry.update("a", str)
    assert caught.value.args == ("a",)
    assert registry.update("a", str, default=1) == "1"
    assert registry.update("a", len) == 1
    with pytest.raises(TypeError, match="no keyword but default"):
        registry.update("a", len, other=1)


def test_an_exception_in_a_function_changes_nothing_and_reaches_the_caller():
    registry = ShardedRegistry()
    registry["a"] = 0

    def explode(*_):
        raise ZeroDivisionError

    for call in (
        lambda: registry.update("a", explode),
        lambda: registry.pop_if("a", explode),
        lambda: registry.get_or_create("b", explode),
    ):
        with pytest.raises(ZeroDivisionError):
            call()
    assert registry == {"a": 0}
    assert registry.get_or_create("b", lambda: 1) == 1


def test_what_changes_the_key_that_it_is_called_for_gets_an_error_and_no_hang():
    registry = ShardedRegistry()
    registry["a"] = 0

    def change(*_):
        registry["a"] = object()
        return True

    class EqualToAll:
        __eq__ = change
        __hash__ = None

    for call in (
        lambda: registry.update("a", change),
        lambda: registry.pop_if("a", change),
        lambda: registry.compare_and_set("a", EqualToAll(), 1),
    ):
        with pytest.raises(RuntimeError, match="changed during each attempt"):
            call()


def test_a_factory_that_wants_its_own_key_gets_an_error_and_no_hang():
    registry = ShardedRegistry()

    def factory():
        return registry.get_or_create("a", factory)

    with pytest.raises(RuntimeError, match="waits, directly or through other threads, for itself"):
        registry.get_or_create("a", factory)
    assert registry.get_or_create("a", lambda: 1) == 1


def test_a_factory_may_make_other_keys():
    registry = ShardedRegistry()

    def factory(n):
        return n and registry.get_or_create(n - 1, lambda: factory(n - 1)) + 1

    assert registry.get_or_create(9, lambda: factory(9)) == 9
    assert registry == {n: n for n in range(10)}


def test_what_a_factory_registers_itself_stays():
    registry = ShardedRegistry()

    def factory():
        registry["a"] = "inner"
        return "outer"

    assert registry.get_or_create("a", factory) == "inner"
    assert registry["a"] == "inner"


def test_a_change_says_what_happened():
    registry = ShardedRegistry()
    changes = []
    with registry.watch(changes.append) as watch:
        registry["a"] = 1
        registry["a"] = None
        del registry["a"]
        assert not watch.closed
    assert watch.closed
    registry["b"] = 1
    described = [(c.kind, c.key, c.old, c.new) for c in changes]
    assert described == [
        ("added", "a", None, 1),
        ("replaced", "a", 1, None),
        ("removed", "a", None, None),
    ]
    assert repr(changes[0]) == "Change(kind='added', key='a', old=None, new=1)"
    match changes[1]:
        case Change("replaced", key, old, None):
            assert (key, old) == ("a", 1)
        case _:
            pytest.fail("no match")


def test_what_changes_nothing_is_not_told():
    registry = ShardedRegistry()
    registry["a"] = 1
    registry.watch(lambda change: pytest.fail(repr(change)))
    registry.register("a", 2)
    registry.setdefault("a", 2)
    registry.get_or_create("a", int)
    registry.compare_and_set("a", 2, 3)
    registry.remove("b")
    registry.pop_if("a", lambda _: False)
    registry.register_many({"a": 2})
    registry.remove_many(["b"])


def test_a_watcher_that_raises_is_reported_and_does_not_stop_the_others(monkeypatch):
    reported, told = [], []
    monkeypatch.setattr("sys.unraisablehook", lambda hook: reported.append(hook.exc_type))
    registry = ShardedRegistry()
    registry.watch(lambda _: 1 // 0)
    registry.watch(told.append)
    registry["a"] = 1
    assert reported == [ZeroDivisionError]
    assert len(told) == 1
    assert registry["a"] == 1


def test_a_watcher_that_changes_the_registry_is_told_in_order_and_without_recursion():
    registry = ShardedRegistry()
    depth = 0
    seen = []

    def count_down(change):
        nonlocal depth
        depth += 1
        seen.append((depth, change.key))
        if change.key:
            registry[change.key - 1] = None
        depth -= 1

    registry.watch(count_down)
    registry[2000] = None
    assert seen == [(1, key) for key in range(2000, -1, -1)]


def test_a_watcher_sees_no_change_from_before_or_after():
    registry = ShardedRegistry()
    early, late = [], []
    handles = []

    def subscribe(change):
        early.append(change.key)
        if change.key == 1:
            registry[2] = None
            handles.append(registry.watch(lambda change: late.append(change.key)))
            registry[3] = None
        if change.key == 3:
            handles[0].close()
            handles[0].close()
            registry[4] = None

    registry.watch(subscribe)
    registry[1] = None
    assert early == [1, 2, 3, 4]
    assert late == []
    registry.watch(lambda change: late.append(change.key))
    registry[5] = None
    assert late == [5]


def test_only_a_callable_can_watch():
    with pytest.raises(TypeError, match="the callback must be callable, got 1"):
        ShardedRegistry().watch(1)


def test_a_cycle_through_a_watcher_is_collected():
    registry = ShardedRegistry()
    watch = registry.watch(registry.get)
    gone = weakref.ref(registry)
    del registry, watch
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    "cycle",
    [
        lambda registry, holder: registry.register("key", holder),
        lambda registry, holder: registry.register(holder, "value"),
    ],
)
def test_a_cycle_through_keys_and_values_is_collected(cycle):
    class Holder:
        pass

    registry, holder = ShardedRegistry(), Holder()
    holder.registry = registry
    cycle(registry, holder)
    gone = weakref.ref(holder)
    del holder, registry
    gc.collect()
    assert gone() is None
