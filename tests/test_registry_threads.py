"""The registry among threads, forks, signals and at the end of the interpreter."""

import sys
import threading
import time

from concurrency import busy_threads, in_child, needs_fork, run_script, run_together
from mapping_contract import Colliding

from overdrive import ShardedRegistry


def test_threads_that_register_the_same_ids_agree_on_one_winner_each():
    registry = ShardedRegistry(4)
    wins = [[] for _ in range(4)]

    def race(mine):
        mine.extend(i for i in range(2000) if registry.register(i, mine))

    run_together(*(lambda mine=mine: race(mine) for mine in wins))
    assert sorted(i for mine in wins for i in mine) == list(range(2000))
    assert all(registry[i] is mine for mine in wins for i in mine)


def test_eq_may_give_way_to_other_threads():
    registry = ShardedRegistry(1)
    keys = [Colliding(i, lambda: time.sleep(0)) for i in range(8)]

    def work():
        for key in keys:
            registry[key] = key.value
            assert registry[key] == key.value

    run_together(work, work, work)
    assert len(registry) == 8


def test_no_update_of_a_thread_is_lost():
    registry = ShardedRegistry()

    def count():
        for i in range(2000):
            registry.update(i % 3, lambda value: value + 1, default=0)

    def count_by_comparing():
        for _ in range(500):
            while not registry.compare_and_set(0, seen := registry.get(0, 0), seen + 1):
                registry.register(0, 0)

    run_together(count, count, count_by_comparing)
    assert sum(registry.values()) == 2 * 2000 + 500


def test_a_snapshot_is_of_one_moment():
    """One key is changed after the other, so at no moment are two apart by more than one."""
    registry = ShardedRegistry()
    registry.register_many((key, 0) for key in range(32))
    done = threading.Event()

    def write():
        for round_ in range(1, 300):
            for key in range(32):
                registry[key] = round_
        done.set()

    def read():
        while not done.is_set():
            values = list(registry.snapshot().values())
            assert max(values) - min(values) <= 1

    run_together(write, read, read)


def test_watchers_are_told_the_changes_of_each_key_in_their_order():
    registry = ShardedRegistry()
    told = {}

    def follow(change):
        assert told.get(change.key) is change.old
        told[change.key] = change.new

    failures = []
    hook = sys.unraisablehook
    sys.unraisablehook = failures.append
    try:
        with registry.watch(follow):

            def work():
                for i in range(1500):
                    registry[i % 5] = object()
                    registry.pop(i % 3, None)

            run_together(work, work, work)
            registry["last"] = "told after all others"
    finally:
        sys.unraisablehook = hook
    assert failures == []
    assert {key: value for key, value in told.items() if value is not None} == registry


def test_waiting_threads_get_what_one_factory_made():
    registry = ShardedRegistry()
    calls, got = [], []
    entered, leave = threading.Event(), threading.Event()

    def factory():
        calls.append(1)
        entered.set()
        assert leave.wait(30)
        return object()

    def want():
        got.append(registry.get_or_create("a", factory))

    first = threading.Thread(target=want)
    first.start()
    assert entered.wait(30)
    others = [threading.Thread(target=want) for _ in range(4)]
    for thread in others:
        thread.start()
    leave.set()
    for thread in [first, *others]:
        thread.join()
    assert len(calls) == 1
    assert len(got) == 5
    assert all(value is registry["a"] for value in got)


def test_after_a_factory_fails_the_next_waiter_tries():
    registry = ShardedRegistry()
    entered, leave = threading.Event(), threading.Event()
    results = []

    def fail():
        entered.set()
        assert leave.wait(30)
        raise ZeroDivisionError

    def want(factory):
        try:
            results.append(registry.get_or_create("a", factory))
        except ZeroDivisionError as error:
            results.append(type(error))

    first = threading.Thread(target=want, args=(fail,))
    first.start()
    assert entered.wait(30)
    second = threading.Thread(target=want, args=(lambda: 2,))
    second.start()
    leave.set()
    first.join()
    second.join()
    assert sorted(results, key=str) == [2, ZeroDivisionError]
    assert registry["a"] == 2


def test_factories_of_two_threads_that_wait_for_each_other_get_an_error_and_no_hang():
    registry = ShardedRegistry()
    both = threading.Barrier(2)
    results = []

    def factory(other):
        both.wait(30)
        return registry.get_or_create(other, lambda: "made for the other")

    def want(mine, other):
        try:
            results.append(registry.get_or_create(mine, lambda: factory(other)))
        except RuntimeError as error:
            results.append(str(error))

    threads = [threading.Thread(target=want, args=pair) for pair in [("a", "b"), ("b", "a")]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(results) == 2
    assert sum("for itself" in result for result in results) == 1


def test_waiting_for_a_factory_can_be_interrupted():
    """A signal ends the wait of the main thread; the factory goes on."""
    code = """
import os, signal, threading
from overdrive import ShardedRegistry
registry = ShardedRegistry()
entered, leave = threading.Event(), threading.Event()
def factory():
    entered.set()
    leave.wait(30)
    return "made"
maker = threading.Thread(target=registry.get_or_create, args=("a", factory))
maker.start()
entered.wait(30)
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    registry.get_or_create("a", int)
except KeyboardInterrupt:
    print("interrupted")
leave.set()
maker.join()
print(registry["a"])
"""
    done = run_script(code)
    assert (done.stdout.split(), done.stderr) == (["interrupted", "made"], "")


@needs_fork
def test_a_fork_among_busy_threads_leaves_the_child_a_usable_registry():
    def work(registry):
        for i in range(50):
            registry[i] = i
            registry.get_or_create((i, "x"), list)
            registry.remove((i, "x"))
            registry.snapshot()

    def use(registry):
        told = []
        registry.watch(told.append)
        registry["child"] = 1
        assert registry.update("child", lambda value: value + 1) == 2
        assert registry.get_or_create("made", lambda: 3) == 3
        assert [change.key for change in told] == ["child", "child", "made"]
        registry.clear()
        assert len(registry) == 0

    registry = ShardedRegistry(2)
    registry.watch(lambda _: None)
    with busy_threads(work, registry):
        codes = [in_child(use, registry) for _ in range(10)]
    assert codes == [0] * 10


@needs_fork
def test_a_child_does_not_wait_for_factories_and_watchers_of_its_parents_threads():
    registry = ShardedRegistry()
    in_factory, in_watcher, leave = threading.Event(), threading.Event(), threading.Event()

    def factory():
        in_factory.set()
        assert leave.wait(30)
        return "of the parent"

    def watcher(change):
        if change.key == "watched":
            in_watcher.set()
            assert leave.wait(30)

    registry.watch(watcher)
    threads = [
        threading.Thread(target=registry.get_or_create, args=("a", factory)),
        threading.Thread(target=registry.register, args=("watched", 1)),
    ]
    for thread in threads:
        thread.start()
    assert in_factory.wait(30)
    assert in_watcher.wait(30)

    def use(registry):
        told = []
        registry.watch(told.append)
        assert registry.get_or_create("a", lambda: "of the child") == "of the child"
        assert len(told) == 1

    code = in_child(use, registry)
    leave.set()
    for thread in threads:
        thread.join()
    assert code == 0
    assert registry["a"] == "of the parent"


def test_the_interpreter_ends_well_with_a_registry_alive():
    code = """
import threading, time
from overdrive import ShardedRegistry
registry = ShardedRegistry()
class Meddler:
    def __del__(self):
        registry and registry.get("a")
registry["a"] = Meddler()
registry["self"] = registry
registry.watch(lambda change: registry)
other = ShardedRegistry()
def work():
    while True:
        other["b"] = [other.get("b")]
        other.clear()
threading.Thread(target=work, daemon=True).start()
time.sleep(0.05)
"""
    done = run_script(code)
    assert (done.returncode, done.stderr) == (0, "")
