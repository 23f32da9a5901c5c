"""The queue is a deque of whose two ends one is for the owner and one for thieves."""

import collections
import gc
import pickle
import weakref

import pytest
from concurrency import busy_threads, in_child, needs_fork, run_together
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from overdrive import WorkStealingQueue

ITEMS = st.integers(0, 9)


class QueueIsADeque(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.queue = WorkStealingQueue()
        self.model = collections.deque()

    @rule(item=ITEMS)
    def push(self, item):
        self.queue.push(item)
        self.model.append(item)

    @rule(items=st.lists(ITEMS, max_size=5))
    def push_many(self, items):
        self.queue.push_many(iter(items))
        self.model.extend(items)

    @rule()
    def pop(self):
        assert self.queue.pop() == (self.model.pop() if self.model else None)

    @rule()
    def steal(self):
        assert self.queue.steal() == (self.model.popleft() if self.model else None)

    @rule(n=st.integers(0, 6))
    def steal_many(self, n):
        expected = [self.model.popleft() for _ in range(min(n, len(self.model)))]
        assert self.queue.steal_many(n) == expected

    @rule()
    def compare(self):
        assert len(self.queue) == self.queue.size() == len(self.model)
        assert self.queue.is_empty() == (not self.model) == (not self.queue)

    @rule()
    def clear(self):
        self.queue.clear()
        self.model.clear()


TestQueueIsADeque = QueueIsADeque.TestCase


def test_the_owner_takes_the_newest_and_thieves_take_the_oldest():
    queue = WorkStealingQueue()
    queue.push_many("abcd")
    assert queue.pop() == "d"
    assert queue.steal() == "a"
    assert queue.steal_many(9) == ["b", "c"]
    assert queue.pop() is None
    assert queue.steal() is None
    assert queue.steal_many(9) == []


def test_none_is_refused_because_it_means_that_there_is_no_item():
    queue = WorkStealingQueue()
    with pytest.raises(ValueError, match="None cannot be an item"):
        queue.push(None)
    with pytest.raises(ValueError, match="None cannot be an item"):
        queue.push_many([1, None])
    assert queue.is_empty()


def test_items_of_an_iterable_that_raises_are_not_pushed():
    def items():
        yield 1
        raise ZeroDivisionError

    queue = WorkStealingQueue()
    with pytest.raises(ZeroDivisionError):
        queue.push_many(items())
    assert queue.is_empty()


def test_an_iterable_may_use_the_queue_that_it_is_pushed_to():
    queue = WorkStealingQueue()
    queue.push_many(queue.push(i) or -i for i in range(1, 4))
    assert queue.steal_many(9) == [1, 2, 3, -1, -2, -3]


def test_a_number_of_items_is_at_least_zero_and_has_no_limit():
    queue = WorkStealingQueue()
    queue.push_many([1, 2])
    for n in (-1, -(2**70)):
        with pytest.raises(ValueError, match=f"n must be at least 0, got {n}"):
            queue.steal_many(n)
    with pytest.raises(TypeError):
        queue.steal_many(1.5)
    assert queue.steal_many(0) == []
    assert queue.steal_many(2**70) == [1, 2]


def test_a_finalizer_may_use_the_same_queue():
    queue = WorkStealingQueue()
    seen = []

    class Meddler:
        def __del__(self):
            seen.append(len(queue))
            queue.push(1)

    queue.push_many([Meddler(), Meddler()])
    queue.clear()
    queue.push(Meddler())
    queue.pop()
    queue.pop()
    assert seen == [0, 1, 2]


def test_a_cycle_through_an_item_is_collected():
    class Holder:
        pass

    holder = Holder()
    holder.queue = WorkStealingQueue()
    holder.queue.push(holder)
    gone = weakref.ref(holder)
    del holder
    gc.collect()
    assert gone() is None


def test_a_queue_cannot_be_pickled_and_says_so():
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(WorkStealingQueue())


def test_its_repr_shows_how_much_is_in_it():
    queue = WorkStealingQueue()
    queue.push(queue)
    assert repr(queue) == "<WorkStealingQueue of 1 items>"
    queue.clear()


def test_each_item_is_taken_once_whoever_takes_it():
    queue = WorkStealingQueue()
    taken = [[] for _ in range(4)]

    def own(mine):
        for i in range(3000):
            queue.push(i)
            if i % 3 == 0:
                mine.append(queue.pop())

    def steal(mine):
        for _ in range(500):
            mine.append(queue.steal())
            mine.extend(queue.steal_many(2))

    run_together(lambda: own(taken[0]), *(lambda mine=mine: steal(mine) for mine in taken[1:]))
    everything = [item for mine in taken for item in mine if item is not None]
    assert sorted(everything + queue.steal_many(3000)) == list(range(3000))


@needs_fork
def test_a_fork_among_busy_threads_leaves_the_child_a_usable_queue():
    def work(queue):
        queue.push_many(range(10))
        queue.steal_many(5)
        queue.clear()

    def use(queue):
        queue.clear()
        queue.push(1)
        assert queue.pop() == 1

    queue = WorkStealingQueue()
    with busy_threads(work, queue):
        codes = [in_child(use, queue) for _ in range(10)]
    assert codes == [0] * 10
