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


def get_from_dict(agents: dict[Any, Any], keys: list[Any]) -> list[Any]:
    """Get many values of a dictionary."""
    return [agents[key] for key in keys]


def register_in_dict(agents: dict[Any, Any], pairs: dict[Any, Any]) -> list[Any]:
    """Store many values in a dictionary unless their keys are taken."""
    return [agents.setdefault(key, value) for key, value in pairs.items()]


ONE_THREAD: dict[str, Callable[[], Any]] = {
    "ShardedRegistry": ShardedRegistry,
    "dict": dict,
    "dicts and RLocks": LockedShards,
}


class OneThread:
    """The time for 1,000 keys that are `str`, on one thread, beside a dictionary without a lock."""

    param_names = ("way",)
    params = (list(ONE_THREAD),)

    def setup(self, way: str) -> None:
        """Fill a registry with agents known by name."""
        self.ids = [f"agent-{i}" for i in range(1_000)]
        self.equal_ids = [f"agent-{i}" for i in range(1_000)]
        self.registry = ONE_THREAD[way]()
        register = getattr(self.registry, "register", None) or self.registry.setdefault
        for agent_id in self.ids:
            register(agent_id, agent_id)

    def time_get(self, _way: str) -> None:
        """Look up by the very keys that were stored."""
        registry = self.registry
        for agent_id in self.ids:
            registry.get(agent_id)

    def time_get_by_equal_keys(self, _way: str) -> None:
        """Look up by keys that are equal to those stored, and have to be compared."""
        registry = self.registry
        for agent_id in self.equal_ids:
            registry.get(agent_id)


BULK: dict[str, tuple[Any, Any, Any]] = {
    "ShardedRegistry": (
        ShardedRegistry,
        ShardedRegistry.get_many,
        ShardedRegistry.register_many,
    ),
    "dict": (dict, get_from_dict, register_in_dict),
}


class Bulk:
    """The time for 1,000 keys at once, beside a list comprehension over a dictionary."""

    param_names = ("way",)
    params = (list(BULK),)

    def setup(self, way: str) -> None:
        """Fill a registry with agents known by name."""
        self.ids = [f"agent-{i}" for i in range(1_000)]
        self.pairs = {agent_id: agent_id for agent_id in self.ids}
        self.make, self.get_many, self.register_many = BULK[way]
        self.registry = self.make()
        self.register_many(self.registry, self.pairs)

    def time_get_many(self, _way: str) -> None:
        """Get all values."""
        self.get_many(self.registry, self.ids)

    def time_register_many(self, _way: str) -> None:
        """Fill a new registry."""
        self.register_many(self.make(), self.pairs)

    def time_register_many_again(self, _way: str) -> None:
        """Register keys that are all taken."""
        self.register_many(self.registry, self.pairs)


class Threads:
    """The time for 200,000 look-ups by each thread; it stays the same if threads scale."""

    param_names = ("way", "keys", "threads")
    params = (["ShardedRegistry", "dict"], ["disjoint", "same", "one"], [1, 2])

    def setup(self, way: str, keys: str, threads: int) -> None:
        """Fill a registry, and choose which keys each thread uses."""
        self.registry = ONE_THREAD[way]()
        shares = [[f"agent-{t}-{i}" for i in range(500)] for t in range(2)]
        self.registry.update((key, object()) for share in shares for key in share)
        of_threads = {
            "disjoint": shares,
            "same": [shares[0], shares[0]],
            "one": [shares[0][:1] * 500] * 2,
        }
        self.keys = of_threads[keys][:threads]

    def time_get(self, _way: str, _keys: str, threads: int) -> None:
        """Every thread looks its keys up, 400 times."""

        def work(number: int) -> None:
            get, keys = self.registry.get, self.keys[number]
            for _ in range(400):
                for key in keys:
                    get(key)

        on_threads(threads, work)
