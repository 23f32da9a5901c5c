"""The sharded registry beside what one writes without it: dictionaries and locks."""

import threading
from collections.abc import Callable
from typing import Any

from overdrive.registry import ShardedRegistry

AGENTS = 4_000
ROUNDS = 5


class LockedDict:
    """One dictionary, one lock."""

    def __init__(self) -> None:
        self._agents: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def register(self, agent_id: Any, agent: Any) -> bool:
        """Store an agent unless its id is taken."""
        with self._lock:
            if agent_id in self._agents:
                return False
            self._agents[agent_id] = agent
            return True

    def get(self, agent_id: Any) -> Any:
        """Return an agent or `None`."""
        with self._lock:
            return self._agents.get(agent_id)

    def remove(self, agent_id: Any) -> Any:
        """Remove an agent and return it."""
        with self._lock:
            return self._agents.pop(agent_id, None)

    def get_all(self) -> dict[Any, Any]:
        """Copy all entries."""
        with self._lock:
            return dict(self._agents)


class LockedShards:
    """One dictionary and one re-entrant lock per shard."""

    def __init__(self, num_shards: int = 16) -> None:
        self._num_shards = num_shards
        self._shards: list[dict[Any, Any]] = [{} for _ in range(num_shards)]
        self._locks = [threading.RLock() for _ in range(num_shards)]

    def register(self, agent_id: Any, agent: Any) -> bool:
        """Store an agent unless its id is taken."""
        i = hash(agent_id) % self._num_shards
        with self._locks[i]:
            if agent_id in self._shards[i]:
                return False
            self._shards[i][agent_id] = agent
            return True

    def get(self, agent_id: Any) -> Any:
        """Return an agent or `None`."""
        i = hash(agent_id) % self._num_shards
        with self._locks[i]:
            return self._shards[i].get(agent_id)

    def remove(self, agent_id: Any) -> Any:
        """Remove an agent and return it."""
        i = hash(agent_id) % self._num_shards
        with self._locks[i]:
            return self._shards[i].pop(agent_id, None)

    def get_all(self) -> dict[Any, Any]:
        """Copy all entries, shard after shard."""
        entries: dict[Any, Any] = {}
        for lock, shard in zip(self._locks, self._shards, strict=True):
            with lock:
                entries.update(shard)
        return entries


WAYS: dict[str, Callable[[], Any]] = {
    "ShardedRegistry": ShardedRegistry,
    "dict and lock": LockedDict,
    "dicts and RLocks": LockedShards,
}


def on_threads(count: int, work: Callable[[int], None]) -> None:
    """Run `work` with each thread's number, from a common start, and wait."""
    start = threading.Barrier(count)

    def run(number: int) -> None:
        start.wait()
        work(number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Registry:
    """The time for all of the operations, by way and number of threads."""

    param_names = ("way", "threads")
    params = (list(WAYS), [1, 4])

    def setup(self, way: str, threads: int) -> None:
        """Fill a registry with agents known by name."""
        self.ids = [f"agent-{i}" for i in range(AGENTS)]
        self.registry = WAYS[way]()
        for agent_id in self.ids:
            self.registry.register(agent_id, agent_id)
        self.shares = [[f"new-{t}-{i}" for i in range(AGENTS)] for t in range(threads)]

    def time_get(self, _way: str, threads: int) -> None:
        """Every thread looks every agent up, five times."""

        def work(_number: int) -> None:
            get = self.registry.get
            for _ in range(ROUNDS):
                for agent_id in self.ids:
                    get(agent_id)

        on_threads(threads, work)

    def time_register_and_remove(self, _way: str, threads: int) -> None:
        """Every thread registers agents of its own, and removes them again."""

        def work(number: int) -> None:
            register, remove = self.registry.register, self.registry.remove
            for agent_id in self.shares[number]:
                register(agent_id, agent_id)
            for agent_id in self.shares[number]:
                remove(agent_id)

        on_threads(threads, work)

    def time_read_mostly(self, _way: str, threads: int) -> None:
        """Every thread looks nine agents up for each one that it registers and removes."""

        def work(number: int) -> None:
            registry, ids = self.registry, self.ids
            for i, agent_id in enumerate(self.shares[number][: AGENTS // 9]):
                registry.register(agent_id, agent_id)
                for known in ids[9 * i : 9 * i + 9]:
                    registry.get(known)
                registry.remove(agent_id)

        on_threads(threads, work)

    def time_copy_all(self, _way: str, threads: int) -> None:
        """Every thread copies all entries, ten times."""

        def work(_number: int) -> None:
            for _ in range(10):
                self.registry.get_all()

        on_threads(threads, work)
