"""A pool lends each object to one borrower at a time, reset, and counts what becomes of it."""

import copy
import gc
import pickle
import weakref

import pytest
from concurrency import busy_threads, in_child, needs_fork, run_script, run_together
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from overdrive.pools import MemoryPool, ObjectPool, PoolStats

np = pytest.importorskip("numpy")


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


def test_an_object_is_never_with_two_threads():
    pool = ObjectPool(lambda: {"owner": None, "log": []}, 2, reset="auto")

    def work():
        name = object()
        for i in range(1500):
            thing = pool.acquire()
            thing["log"].append(i)
            assert thing == {"owner": None, "log": [i]}
            thing["owner"] = name
            assert thing["owner"] is name
            pool.release(thing)

    run_together(work, work, work, work)
    stats = pool.stats()
    assert stats.in_use == stats.leaked_count == stats.discarded_count == 0
    assert stats.created_count + stats.reused_count == 6000


@needs_fork
def test_a_fork_among_busy_threads_leaves_the_child_usable_pools():
    def use(pool, memory):
        with pool.borrow() as borrowed:
            assert borrowed == []
            borrowed.append(1)
        memory.release(memory.acquire())

    pool, memory = ObjectPool(list, reset="auto"), MemoryPool(8, 4)
    with busy_threads(use, pool, memory):
        codes = [in_child(use, pool, memory) for _ in range(10)]
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
    done = run_script(code)
    assert (done.returncode, done.stderr) == (0, "")
