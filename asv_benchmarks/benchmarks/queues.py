"""The work-stealing queue beside the deque of the standard library."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from overdrive.queues import WorkStealingQueue

ITEMS = list(range(1_000))


class DequeQueue:
    """A deque with the verbs of the queue, each of them the bound method of the deque."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self.push = self._items.append
        self.pop = self._items.pop
        self.steal = self._items.popleft
        self.push_many = self._items.extend

    def steal_many(self, n: int) -> Iterable[Any]:
        """Take up to `n` of the oldest items, one after the other."""
        steal = self.steal
        return [steal() for _ in range(min(n, len(self._items)))]


WAYS: dict[str, Callable[[], Any]] = {
    "WorkStealingQueue": WorkStealingQueue,
    "deque": DequeQueue,
}


class Queue:
    """The time for 1,000 items on one thread."""

    param_names = ("way",)
    params = (list(WAYS),)

    def setup(self, way: str) -> None:
        """Make a queue."""
        self.queue = WAYS[way]()

    def time_push_and_pop(self, _way: str) -> None:
        """Push an item and pop it, 1,000 times."""
        push, pop = self.queue.push, self.queue.pop
        for item in ITEMS:
            push(item)
            pop()

    def time_push_and_steal(self, _way: str) -> None:
        """Push 1,000 items, then steal them one by one."""
        push, steal = self.queue.push, self.queue.steal
        for item in ITEMS:
            push(item)
        for _ in ITEMS:
            steal()

    def time_push_many_and_steal_many(self, _way: str) -> None:
        """Push 1,000 items at once, then steal them by ten."""
        self.queue.push_many(ITEMS)
        for _ in range(100):
            self.queue.steal_many(10)
