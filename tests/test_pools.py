"""A pool lends each object to one borrower at a time, reset, and counts what becomes of it."""

import array
import copy
import gc
import os
import pickle
import signal
import subprocess
import sys
import threading
import weakref
from collections import OrderedDict, defaultdict, deque

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from overdrive.pools import MemoryPool, MemoryPoolStats, ObjectPool, PoolExhaustedError, PoolStats


class PlainPool:
    """The pool as one would write it without regard to speed or threads."""

    def __init__(self, factory, max_size, reset):
        self.factory, self.max_size, self.reset = factory, max_size, reset
        self.idle, self.lent = [], []
        self.created = self.reused = self.dropped = self.discarded = 0

    def acquire(self):
        if self.idle:
            self.reused += 1
            thing = self.idle.pop()
        else:
            self.created += 1
            thing = self.factory()
        self.lent.append(thing)
        return thing

    def release(self, thing):
        if not any(thing is other for other in self.lent):
            raise ValueError
        self.lent = [other for other in self.lent if other is not thing]
        try:
            self.reset(thing)
        except ZeroDivisionError:
            self.discarded += 1
            raise
        if len(self.idle) < self.max_size:
            self.idle.append(thing)
        else:
            self.dropped += 1


class Thing:
    number = 0
    broken = False

    def __init__(self, number):
        self.number = number

    def reset(self):
        if self.broken:
            raise ZeroDivisionError


class PoolIsAPlainPool(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        numbers, model_numbers = iter(range(10**6)), iter(range(10**6))
        self.pool = ObjectPool(lambda: Thing(next(numbers)), 3, Thing.reset)
        self.model = PlainPool(lambda: Thing(next(model_numbers)), 3, Thing.reset)
        self.held = []

    @rule()
    def acquire(self):
        mine, models = self.pool.acquire(), self.model.acquire()
        assert mine.number == models.number
        self.held.append((mine, models))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), broken=st.booleans())
    def release(self, data, broken):
        place = data.draw(st.integers(0, len(self.held) - 1))
        mine, models = self.held.pop(place)
        mine.broken = models.broken = broken
        for pool, thing in [(self.pool, mine), (self.model, models)]:
            if broken:
                with pytest.raises(ZeroDivisionError):
                    pool.release(thing)
            else:
                pool.release(thing)
            with pytest.raises(ValueError, match=r"foreign|^$"):
                pool.release(thing)

    @rule()
    def release_foreign(self):
        with pytest.raises(ValueError, match="this Thing is not lent by the pool"):
            self.pool.release(Thing(-1))

    @invariant()
    def counts_agree(self):
        stats, model = self.pool.stats(), self.model
        assert stats.pool_size == len(model.idle)
        assert stats.in_use == len(model.lent) == len(self.held)
        assert stats.created_count == model.created
        assert stats.reused_count == model.reused
        assert stats.dropped_count == model.dropped
        assert stats.discarded_count == model.discarded
        assert stats.leaked_count == 0


TestPoolIsAPlainPool = PoolIsAPlainPool.TestCase


def test_the_statistics_have_the_names_that_are_known():
    pool = ObjectPool(dict, 5)
    pool.release(pool.acquire())
    pool.acquire()
    assert pool.get_stats() == {
        "pool_size": 0,
        "max_size": 5,
        "created_count": 1,
        "reused_count": 1,
        "reuse_rate": 0.5,
        "in_use": 0,
        "discarded_count": 0,
        "dropped_count": 0,
        "leaked_count": 1,
    }
    assert isinstance(pool.stats(), PoolStats)
    assert ObjectPool(dict).get_stats()["reuse_rate"] == 0.0
    assert ObjectPool(dict).max_size == 100


def test_a_reset_function_gets_what_is_released():
    pool = ObjectPool(
        factory=lambda: np.zeros(100, dtype=np.float32),
        max_size=50,
        reset_func=lambda arr: arr.fill(0),
    )
    obj = pool.acquire()
    obj += 1
    pool.release(obj)
    assert pool.acquire() is obj
    assert not obj.any()


def test_a_borrowed_object_comes_back_also_when_the_block_raises():
    pool = ObjectPool(list)
    with pytest.raises(ZeroDivisionError), pool.borrow() as borrowed:
        raise ZeroDivisionError
    with pool.borrow() as again:
        assert again is borrowed
    assert pool.stats().in_use == 0


def test_a_borrow_is_one_object_at_a_time():
    pool = ObjectPool(list)
    borrow = pool.borrow()
    with borrow, pytest.raises(RuntimeError, match="in use already"):
        borrow.__enter__()
    with pytest.raises(RuntimeError, match="not in use"):
        borrow.__exit__(None, None, None)
    with borrow:
        assert pool.stats().in_use == 1
    assert pool.stats().in_use == 0


def test_an_object_that_a_block_released_itself_is_not_released_twice():
    pool = ObjectPool(list)
    with pytest.raises(ValueError, match="released before"), pool.borrow() as borrowed:
        pool.release(borrowed)
    assert pool.stats().pool_size == 1


@pytest.mark.parametrize("size", [0, -1, -(2**70)])
def test_a_pool_without_room_is_refused(size):
    with pytest.raises(ValueError, match=f"max_size must be at least 1, got {size}"):
        ObjectPool(list, size)


def test_a_pool_of_any_size_costs_nothing_in_advance():
    for size in (10**9, 2**70):
        pool = ObjectPool(list, size)
        pool.release(pool.acquire())
        assert pool.stats().pool_size == 1


def test_arguments_of_the_wrong_kind_are_refused():
    with pytest.raises(TypeError, match="factory must be callable, got 1"):
        ObjectPool(1)
    with pytest.raises(TypeError, match="reset_func must be callable, got 1"):
        ObjectPool(list, 1, 1)
    with pytest.raises(ValueError, match='reset must be None or "auto", got 1'):
        ObjectPool(list, reset=1)
    with pytest.raises(ValueError, match="not both"):
        ObjectPool(list, 1, list.clear, reset="auto")
    with pytest.raises(TypeError):
        ObjectPool(list, "many")


def test_a_factory_that_raises_leaves_the_pool_as_it_was():
    def explode():
        raise ZeroDivisionError

    pool = ObjectPool(explode)
    with pytest.raises(ZeroDivisionError):
        pool.acquire()
    assert pool.stats() == ObjectPool(explode).stats()


def test_a_factory_that_gives_the_same_object_again_is_found_out():
    same = []
    pool = ObjectPool(lambda: same)
    assert pool.acquire() is same
    with pytest.raises(RuntimeError, match="an object that the pool has already"):
        pool.acquire()
    pool.release(same)
    assert pool.acquire() is same


def test_unhashable_unreferenceable_and_all_equal_objects_are_told_apart():
    class Same:
        __slots__ = ()
        __hash__ = None

        def __eq__(self, other):
            raise ZeroDivisionError

    pool = ObjectPool(Same)
    first, second = pool.acquire(), pool.acquire()
    assert first is not second
    pool.release(first)
    pool.release(second)
    with pytest.raises(ValueError, match="foreign"):
        pool.release(Same())


def test_an_object_that_is_gone_without_release_counts_as_leaked_and_is_not_kept():
    pool = ObjectPool(lambda: Thing(0))
    kept = pool.acquire()
    gone = weakref.ref(pool.acquire())
    assert pool.stats().leaked_count == 1
    assert gone() is None
    assert pool.stats().in_use == 1
    pool.release(kept)


def test_what_leaks_is_bounded_without_asking_for_statistics():
    alive = weakref.WeakSet()

    def factory():
        thing = Thing(0)
        alive.add(thing)
        return thing

    pool = ObjectPool(factory)
    for _ in range(1000):
        pool.acquire()
    assert len(alive) <= 65


def test_a_factory_may_use_the_same_pool():
    def factory():
        made.append(1)
        return [pool.acquire()] if len(made) < 4 else []

    made = []
    pool = ObjectPool(factory)
    nested = pool.acquire()
    assert nested == [[[[]]]]
    assert pool.stats().in_use == 4


def test_a_reset_may_use_the_same_pool():
    def reset(thing):
        while len(others) < 3:
            others.append(pool.acquire())
            assert others[-1] is not thing

    others = []
    pool = ObjectPool(list, 1, reset)
    thing = pool.acquire()
    pool.release(thing)
    assert pool.acquire() is thing
    assert pool.stats().in_use == 4


def test_a_dropped_object_is_finalized_outside_the_lock():
    seen = []

    class Meddler:
        def __del__(self):
            seen.append(pool.get_stats()["dropped_count"])

    pool = ObjectPool(Meddler, 1)
    first, second = pool.acquire(), pool.acquire()
    pool.release(first)
    pool.release(second)
    del second
    assert seen == [1]


def test_releasing_during_the_reset_is_releasing_twice():
    def reset(thing):
        with pytest.raises(ValueError, match="released before"):
            pool.release(thing)

    pool = ObjectPool(list, 1, reset)
    pool.release(pool.acquire())
    assert pool.stats().pool_size == 1


@pytest.mark.parametrize("hold", ["idle", "lent", "factory", "reset"])
def test_a_cycle_through_the_pool_is_collected(hold):
    class Holder:
        def __call__(self, *_):
            return Holder()

    holder = Holder()
    if hold == "factory":
        holder.pool = ObjectPool(holder)
    elif hold == "reset":
        holder.pool = ObjectPool(Holder, 1, holder)
    else:
        holder.pool = ObjectPool(list)
        thing = holder.pool.acquire()
        thing.append(holder)
        if hold == "idle":
            holder.pool.release(thing)
        del thing
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None


def test_a_cycle_through_a_planned_dict_is_collected():
    class Holder:
        pass

    holder = Holder()
    holder.pool = ObjectPool(lambda: {"members": [], "inner": {"deep": []}}, reset="auto")
    state = holder.pool.acquire()
    state["inner"]["deep"].append(holder)
    gone = weakref.ref(holder)
    del holder, state
    gc.collect()
    assert gone() is None


def test_a_pool_cannot_be_pickled_or_copied_and_says_so():
    for pool in (ObjectPool(list), MemoryPool(1, 1)):
        for use in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match="cannot pickle"):
                use(pool)


def test_a_pool_shows_what_it_holds():
    pool = ObjectPool(list, 3)
    pool.release(pool.acquire())
    assert repr(pool) == "<ObjectPool: 0 in use, 1 of 3 idle>"
    assert repr(MemoryPool(2, 3)) == "<MemoryPool: 0 of 2 blocks of 3 in use>"


class SubList(list):
    cleared = 0

    def clear(self):
        self.cleared += 1
        super().clear()


AUTOMATIC = {
    "list": (list, lambda x: x.append(1), lambda x: x == []),
    "subclass of list": (SubList, lambda x: x.append(1), lambda x: x == [] and x.cleared),
    "set": (set, lambda x: x.add(1), lambda x: x == set()),
    "dict": (dict, lambda x: x.update(a=1), lambda x: x == {}),
    "defaultdict": (lambda: defaultdict(int), lambda x: x["a"], lambda x: x == {}),
    "OrderedDict": (OrderedDict, lambda x: x.update(a=1), lambda x: x == {}),
    "deque": (deque, lambda x: x.append(1), lambda x: len(x) == 0),
    "bounded deque": (lambda: deque(maxlen=2), lambda x: x.extend("abc"), lambda x: len(x) == 0),
    "bytearray": (lambda: bytearray(4), lambda x: x.__setitem__(1, 7), lambda x: x == bytes(4)),
    "array": (
        lambda: array.array("d", [0.0] * 3),
        lambda x: x.__setitem__(1, 7.5),
        lambda x: list(x) == [0.0] * 3,
    ),
}
for dtype in [
    "f4",
    "f8",
    "i2",
    "u1",
    "?",
    "c16",
    "M8[s]",
    "m8[D]",
    "U3",
    "S2",
    "f4,i8",
    "O",
    ">f8",
]:
    AUTOMATIC[f"array of {dtype}"] = (
        lambda dtype=dtype: np.zeros(6, dtype),
        lambda x: x.__setitem__(slice(None), np.ones(6, x.dtype)),
        lambda x: (x == np.zeros(6, x.dtype)).all(),
    )
for name, shape in {
    "matrix": lambda: np.zeros((3, 4)),
    "Fortran matrix": lambda: np.zeros((3, 4), order="F"),
    "strided array": lambda: np.zeros((3, 8))[:, ::2],
    "reversed array": lambda: np.zeros(5)[::-1],
    "empty array": lambda: np.zeros(0),
    "scalar array": lambda: np.zeros(()),
    "array of fields with objects": lambda: np.zeros(3, "f4,O"),
}.items():
    AUTOMATIC[name] = (
        shape,
        lambda x: x.__setitem__(Ellipsis, np.ones(x.shape, x.dtype)),
        lambda x: (x == np.zeros(x.shape, x.dtype)).all(),
    )


@pytest.mark.parametrize("kind", AUTOMATIC)
def test_automatic_reset_empties_or_zeroes(kind):
    factory, use, is_reset = AUTOMATIC[kind]
    pool = ObjectPool(factory, reset="auto")
    thing = pool.acquire()
    assert is_reset(thing)
    use(thing)
    pool.release(thing)
    assert pool.acquire() is thing
    assert is_reset(thing)


def test_automatic_reset_leaves_the_neighbours_of_a_view_alone():
    whole = np.ones((4, 8), dtype=np.float32)
    rows = iter(range(4))
    pool = ObjectPool(lambda: whole[next(rows), 2:5], reset="auto")
    pool.acquire()
    assert whole.sum() == 4 * 8 - 3
    assert whole[0].tolist() == [1, 1, 0, 0, 0, 1, 1, 1]


def test_what_is_lent_first_is_as_what_is_lent_again():
    pool = ObjectPool(lambda: np.ones(3), reset="auto")
    assert not pool.acquire().any()
    assert ObjectPool(lambda: [1, 2], reset="auto").acquire() == []


@pytest.mark.parametrize(
    "thing", [object(), 1, "text", b"bytes", (1, 2), None, np.float32(1), memoryview(b"abc")]
)
def test_automatic_reset_refuses_what_it_cannot_reset(thing):
    with pytest.raises(TypeError, match='reset="auto" does not know how to reset'):
        ObjectPool(lambda: thing, reset="auto").acquire()


def create_agent_state():
    return {
        "beliefs": np.zeros(100),
        "observations": deque(maxlen=10),
        "actions": [],
        "name": "agent",
        "steps": 0,
        "nested": {"seen": set(), "weight": 1.5},
    }


def assert_same_state(state, other):
    assert list(state) == list(other)
    assert np.array_equal(state.pop("beliefs"), other.pop("beliefs"))
    assert state == other


def test_a_dict_is_reset_member_by_member():
    pool = ObjectPool(create_agent_state, reset="auto")
    state = pool.acquire()
    members = {key: id(value) for key, value in state.items()}
    state["beliefs"][3] = 1
    state["observations"].append(1)
    state["actions"].append(2)
    state["steps"] += 5
    state["nested"]["seen"].add(1)
    state["nested"]["weight"] = "other"
    state["extra"] = "left over"
    state["nested"]["extra"] = "left over"
    pool.release(state)
    assert pool.acquire() is state
    assert {key: id(value) for key, value in state.items()} == members
    assert_same_state(state, create_agent_state())


def test_a_member_that_was_replaced_is_reset_and_the_first_one_is_left_alone():
    pool = ObjectPool(create_agent_state, reset="auto")
    state = pool.acquire()
    kept = state["actions"]
    kept.append("mine")
    state["actions"] = deque([1])
    pool.release(state)
    assert kept == ["mine"]
    assert pool.acquire()["actions"] == deque()


def test_a_member_that_is_missing_or_cannot_be_reset_discards_the_dict():
    pool = ObjectPool(create_agent_state, reset="auto")
    state = pool.acquire()
    del state["actions"]
    with pytest.raises(ValueError, match="misses the member 'actions'"):
        pool.release(state)
    state = pool.acquire()
    state["actions"] = object()
    with pytest.raises(TypeError, match="does not know how to reset <class 'object'>"):
        pool.release(state)
    assert pool.stats().discarded_count == 2
    assert pool.stats().pool_size == 0


def test_a_dict_inside_itself_is_refused():
    def factory():
        state = {}
        state["self"] = state
        return state

    with pytest.raises(ValueError, match="is one inside itself"):
        ObjectPool(factory, reset="auto").acquire()


def test_an_array_that_became_read_only_is_discarded():
    pool = ObjectPool(lambda: np.zeros(3), reset="auto")
    thing = pool.acquire()
    thing.setflags(write=False)
    with pytest.raises(ValueError, match="read-only"):
        pool.release(thing)
    assert pool.stats().discarded_count == 1


def test_an_array_that_was_resized_in_place_is_zeroed_where_it_is_now():
    pool = ObjectPool(lambda: np.zeros(3), reset="auto")
    thing = pool.acquire()
    thing.resize(100_000, refcheck=False)
    thing += 1
    pool.release(thing)
    assert not pool.acquire().any()


def test_what_is_cleared_may_use_the_pool():
    class Meddler:
        def __del__(self):
            seen.append(pool.acquire())

    seen = []
    pool = ObjectPool(lambda: {"things": [], "later": []}, reset="auto")
    state = pool.acquire()
    state["things"].append(Meddler())
    state["later"].append(1)
    pool.release(state)
    assert len(seen) == 1
    assert seen[0] is not state
    assert state == {"things": [], "later": []}


def test_recycling_allocates_a_fifth_of_what_making_does_or_less():
    pool = ObjectPool(create_agent_state, 100, reset="auto")
    warm = [pool.acquire() for _ in range(100)]
    for state in warm:
        pool.release(state)
    del warm

    def blocks(make):
        gc.collect()
        before = sys.getallocatedblocks()
        things = [make() for _ in range(100)]
        return (sys.getallocatedblocks() - before) / len(things)

    assert blocks(pool.acquire) <= 0.2 * blocks(create_agent_state)


def test_an_object_is_never_with_two_threads():
    pool = ObjectPool(lambda: {"owner": None, "log": []}, 2, reset="auto")
    barrier = threading.Barrier(4)
    failures = []

    def work(name):
        barrier.wait(30)
        for i in range(1500):
            thing = pool.acquire()
            thing["log"].append(i)
            if thing["owner"] is not None or thing["log"] != [i]:
                failures.append((name, i))
            thing["owner"] = name
            if thing["owner"] is not name:
                failures.append((name, i))
            pool.release(thing)

    threads = [threading.Thread(target=work, args=(object(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    stats = pool.stats()
    assert stats.in_use == stats.leaked_count == stats.discarded_count == 0
    assert stats.created_count + stats.reused_count == 6000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_among_busy_threads_leaves_the_child_usable_pools():
    pool, memory = ObjectPool(list, reset="auto"), MemoryPool(8, 4)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            pool.release(pool.acquire())
            memory.release(memory.acquire())

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    codes = []
    for _ in range(10):
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            with pool.borrow() as borrowed:
                borrowed.append(1)
            memory.release(memory.acquire())
            os._exit(borrowed != [])
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    stop.set()
    for thread in threads:
        thread.join()
    assert codes == [0] * 10


def test_the_interpreter_ends_well_with_pools_alive():
    code = """
from overdrive.pools import MemoryPool, ObjectPool
class Meddler:
    def __del__(self):
        pool and pool.acquire
pool = ObjectPool(lambda: [Meddler(), pool], reset_func=lambda thing: pool)
held = pool.acquire()
pool.release(pool.acquire())
borrow = pool.borrow()
borrow.__enter__()
memory = MemoryPool(4, 4)
block = memory.acquire()
memory.release(memory.acquire())
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=50
    )
    assert (done.returncode, done.stderr) == (0, "")


class MemoryPoolIsASetOfRows(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.pool = MemoryPool(3, 5)
        self.held = []

    @rule(value=st.floats(width=32, allow_nan=False))
    def acquire(self, value):
        if len(self.held) == 3:
            with pytest.raises(PoolExhaustedError, match="all 3 blocks are in use"):
                self.pool.acquire()
            return
        block = self.pool.acquire()
        assert block.dtype == np.float32
        assert block.shape == (5,)
        assert not block.any()
        block[:] = value
        self.held.append((block, value))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data):
        block, _ = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.pool.release(block)
        with pytest.raises(ValueError, match="released before"):
            self.pool.release(block)

    @rule()
    def release_foreign(self):
        with pytest.raises(ValueError, match="this ndarray is not lent by the pool"):
            self.pool.release(np.zeros(5, dtype=np.float32))

    @invariant()
    def blocks_are_apart_and_counted(self):
        assert all((block == value).all() for block, value in self.held)
        used = len(self.held)
        assert self.pool.get_stats() == {
            "available": 3 - used,
            "in_use": used,
            "utilization": used / 3,
        }
        assert self.pool.stats() == MemoryPoolStats(3 - used, used, used / 3)


TestMemoryPoolIsASetOfRows = MemoryPoolIsASetOfRows.TestCase


def test_all_blocks_are_rows_of_one_slab():
    pool = MemoryPool(4, 16)
    blocks = [pool.acquire() for _ in range(4)]
    assert len({id(block.base) for block in blocks}) == 1
    assert {np.diff(sorted(block.ctypes.data for block in blocks)).tolist()[0]} == {64}


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (-1, 1), (1, -(2**70))])
def test_a_memory_pool_needs_blocks_of_some_size(sizes):
    with pytest.raises(ValueError, match=r"(pool|state)_size must be at least 1, got (0|-\d+)"):
        MemoryPool(*sizes)


def test_a_slab_too_large_for_the_machine_is_an_error():
    with pytest.raises((MemoryError, ValueError)):
        MemoryPool(2**62, 2**62)


def test_blocks_survive_their_pool():
    block = MemoryPool(1, 3).acquire()
    gc.collect()
    block += 1
    assert block.tolist() == [1, 1, 1]


def test_without_numpy_a_memory_pool_says_what_to_install():
    code = """
import sys
sys.modules["numpy"] = None
from overdrive import MemoryPool, ObjectPool
ObjectPool(lambda: {"a": [], "b": bytearray(3)}, reset="auto").acquire()
try:
    MemoryPool(1, 1)
except ImportError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=False, text=True, timeout=50
    )
    assert done.stderr == ""
    assert 'numpy is not installed; run: pip install "overdrive[agents]"' in done.stdout
