"""Caches among threads: nothing is lost, doubled, stale or waited for in vain."""

import asyncio
import collections
import contextlib
import copy
import pickle
import sys
import threading
import time

import pytest
from concurrency import run_script, run_together
from hostile import Clock, Colliding

from overdrive.caches import LRUCache, TTLCache, _flights, cached

THREADS = 4


@pytest.fixture(autouse=True)
def _switch_often():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def on_threads(function, *others):
    """Run a function, which is given a number, on several threads, and other functions too."""
    run_together(*(lambda n=n: function(n) for n in range(THREADS)), *others)


def hammer(cache, n, rounds=400):
    for i in range(rounds):
        cache[i * 7 % 40] = 1 + i % 3
        cache.get(i % 40)
        cache.set((n, i % 5), 1 + n % 3, ttl=50, tags=str(n))
        cache.pop(i * 3 % 40, None)
        cache.setdefault(i % 11, 1)
        if i % 20 == 0:
            cache.invalidate_tag(str(n))
        if i % 30 == 0:
            cache.update({n: 1, -n: 2})
            # Another thread may have emptied it.
            with contextlib.suppress(KeyError):
                cache.popitem()
        if i % 90 == 0:
            cache.clear()


@pytest.mark.parametrize("sizer", [None, lambda value: value], ids=["counted", "sized"])
def test_a_cache_never_holds_more_than_it_may(make_cache, sizer):
    cache = make_cache(30, getsizeof=sizer)
    done = threading.Event()

    def watch():
        while not done.is_set():
            assert 0 <= cache.currsize <= 30
            assert 0 <= len(cache) <= 30
            assert len(cache._entries()) <= 30
            twin = copy.copy(cache)
            assert twin.currsize == sum(map(twin.getsizeof, twin.values())) <= 30
            assert len(twin) == len(set(twin))

    def work(n):
        try:
            hammer(cache, n)
        finally:
            finished.append(n)
            if len(finished) == THREADS:
                done.set()

    finished = []
    on_threads(work, watch)
    entries = cache._entries()
    assert len(cache) == len(entries) == len({key for key, _ in entries})
    assert cache.currsize == sum(cache.getsizeof(value) for _, value in entries)
    stats = cache.stats()
    assert stats.size == len(entries)
    assert stats.hits + stats.misses > 0


def test_looking_at_a_cache_never_fails_because_others_change_it(make_cache):
    cache = make_cache(20)
    done = threading.Event()

    def look():
        while not done.is_set():
            for key, value in cache.items():
                assert (key, value) != (None, None)
            assert len(list(cache.values())) <= 40
            assert repr(cache).startswith(type(cache).__name__)
            pickle.dumps(cache)
            assert cache != {"nothing": "like it"}

    def work(n):
        hammer(cache, n, 150)
        if n == 0:
            done.set()

    on_threads(work, look)


def test_each_value_is_made_once(make_cache):
    cache = make_cache(1000)
    calls = collections.Counter()
    lock = threading.Lock()

    def make(key):
        with lock:
            calls[key] += 1
        return [key]

    function = cached(None)(lambda key: make(("function", key)))
    got = [[] for _ in range(THREADS)]

    def work(n):
        for key in range(200):
            made = cache.get_or_create(key, lambda: make(key))  # noqa: B023 - called at once
            got[n].append((made, function(key)))

    on_threads(work)
    assert set(calls.values()) == {1}
    assert len(calls) == 400
    identities = {tuple((id(made), id(result)) for made, result in mine) for mine in got}
    assert len(identities) == 1


def test_no_update_of_what_was_made_together_is_lost(make_cache):
    cache = make_cache(50)

    def work(n):
        for i in range(500):
            cache.get_or_create(i % 50, list).append((n, i))

    on_threads(work)
    assert sorted(pair for values in cache.values() for pair in values) == sorted(
        (n, i) for n in range(THREADS) for i in range(500)
    )


INVALIDATIONS = {
    "pop": lambda cache, key: cache.pop(key, None),
    "tag": lambda cache, key: cache.invalidate_tag("tag"),
    "clear": lambda cache, key: cache.clear(),
}


@pytest.fixture(params=INVALIDATIONS.values(), ids=INVALIDATIONS)
def invalidate(request):
    return request.param


def test_who_asks_after_an_invalidation_does_not_get_what_was_asked_for_before(
    make_cache, invalidate
):
    cache = make_cache()
    function = cached(cache, key=lambda make: "a", tags="tag")(lambda make: make())
    entered, leave = threading.Event(), threading.Event()
    results = []

    def old():
        entered.set()
        assert leave.wait(30)
        return "old"

    def load(make):
        return cache.get_or_create("a", make, tags="tag")

    for ask in (load, function):
        cache.clear()
        results.clear()
        entered.clear()
        leave.clear()
        first = threading.Thread(target=lambda: results.append(ask(old)))  # noqa: B023 - joined here
        first.start()
        assert entered.wait(30)
        invalidate(cache, "a")
        assert ask(lambda: "new") == "new"
        leave.set()
        first.join()
        assert results == ["old"]
        assert cache["a"] == "new"


def test_an_invalidation_leaves_nothing_stale(make_cache, invalidate):
    """Who changes the source and then invalidates must not get the old value afterwards."""
    cache = make_cache(10)
    source = dict.fromkeys(range(THREADS), 0)
    done = threading.Event()

    def load(key):
        return cache.get_or_create(key, lambda: source[key], tags=["tag"])

    def change(n):
        for version in range(1, 400):
            source[n] = version
            invalidate(cache, n)
            assert load(n) >= version
        done.set()

    def read():
        while not done.is_set():
            for key in range(THREADS):
                before = source[key]
                assert load(key) >= before - 1

    on_threads(change, read, read)
    assert {key: load(key) for key in source} == source


def test_an_invalidated_result_of_a_function_does_not_come_back():
    source = [0]
    done = threading.Event()

    @cached
    def function():
        return source[0]

    def change():
        for version in range(1, 1500):
            source[0] = version
            function.invalidate()
            assert function() == version
        done.set()

    def read():
        while not done.is_set():
            function()

    run_together(change, read, read)
    assert function() == 1499


def test_a_tag_takes_all_that_have_it_and_no_others(make_cache):
    cache = make_cache(10_000)

    def work(n):
        for i in range(200):
            cache.set((n, i), i, tags=[str(n), "all"])
            if i % 40 == 39:
                assert cache.invalidate_tag(str(n)) == 40
                assert not any(key[0] == n for key in cache)
        cache.set((n, "last"), n, tags=(str(n), "all"))

    on_threads(work)
    assert sorted(cache.values()) == list(range(THREADS))
    assert cache.invalidate_tag("all") == THREADS
    assert len(cache) == 0


def test_popitem_gives_each_entry_to_one_thread(make_cache):
    cache = make_cache(2000)
    cache.update(zip(range(2000), range(2000), strict=True))
    taken = [[] for _ in range(THREADS)]

    def work(n):
        with contextlib.suppress(KeyError):
            while True:
                taken[n].append(cache.popitem())

    on_threads(work)
    assert sorted(key for mine in taken for key, _ in mine) == list(range(2000))


def test_a_listener_is_told_once_of_each_value_that_leaves(make_cache):
    told = []
    cache = make_cache(20, listener=lambda key, value, reason: told.append((value, reason)))

    def work(n):
        for i in range(500):
            cache[i % 30] = (n, i)
            if i % 7 == 0:
                cache.pop(i % 30, None)

    on_threads(work)
    cache.clear()
    assert sorted(value for value, _ in told) == [
        (n, i) for n in range(THREADS) for i in range(500)
    ]
    assert {reason for _, reason in told} == {"evicted", "replaced", "removed"}


@pytest.mark.parametrize("maxsize", [1, 3])
def test_an_overridden_popitem_makes_room_for_several_threads(maxsize):
    class Noting(LRUCache):
        def popitem(self):
            pair = super().popitem()
            popped.append(pair)
            return pair

        def __delitem__(self, key):
            time.sleep(0)
            super().__delitem__(key)

    popped = []
    cache = Noting(maxsize)

    def work(n):
        for i in range(300):
            cache[n, i] = i
            if i % 50 == 0:
                cache.clear()

    on_threads(work)
    assert len(cache) <= maxsize
    assert len(popped) > 0


def test_eq_may_give_way_to_other_threads(make_cache):
    cache = make_cache(6)
    keys = [Colliding(i, lambda: time.sleep(0)) for i in range(8)]

    def work(n):
        for i in range(60):
            key = keys[(i + n) % 8]
            cache[key] = key.value
            assert cache.get(key) in {key.value, None}
            assert cache.get_or_create(key, lambda: key.value) == key.value  # noqa: B023 - called at once
            if i % 5 == 0:
                cache.pop(keys[i % 8], None)

    on_threads(work)
    assert len({key.value for key in cache}) == len(cache) <= 6


def test_time_that_stands_still_for_one_thread_hides_nothing():
    clock = Clock()
    cache = TTLCache(10, 10, clock)
    with cache.timer:
        clock.time = 5
        run_together(lambda: cache.__setitem__("later", 1))
        cache["earlier"] = 2
    clock.time = 12
    assert (len(cache), list(cache), cache.currsize) == (1, ["later"], 1)


def outcome(results, use):
    try:
        results.append(use())
    except RuntimeError as error:
        results.append(str(error))


def run_all(*functions):
    """Run functions on threads, none of which may hang."""
    threads = [threading.Thread(target=function, daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("count", [2, 3])
def test_factories_of_threads_that_wait_for_each_other_get_an_error(make_cache, count):
    cache = make_cache()
    all_inside = threading.Barrier(count)
    results = []

    def factory(other):
        all_inside.wait(30)
        return cache.get_or_create(other, lambda: "made for the other")

    def want(mine):
        other = (mine + 1) % count
        outcome(results, lambda: cache.get_or_create(mine, lambda: factory(other)))

    run_all(*(lambda n=n: want(n) for n in range(count)))
    assert len(results) == count
    assert any("is waiting for it" in result for result in results)


@pytest.mark.parametrize("first", ["inner", "outer"])
def test_a_circle_may_go_through_a_load_inside_another(make_cache, first):
    """One thread makes a, in it b, and in it wants c; the other makes c and wants a."""
    cache = make_cache()
    both = threading.Barrier(2)
    waiting = threading.Event()
    results = []

    def inner():
        both.wait(30)
        if first == "outer":
            assert waiting.wait(30)
        return cache.get_or_create("c", lambda: "c")

    def outer():
        both.wait(30)
        if first == "inner":
            assert waiting.wait(30)
        return cache.get_or_create("a", lambda: "a")

    def note_wait(kind):
        original = kind.wait

        def wait(self):
            threading.Timer(0.05, waiting.set).start()
            return original(self)

        return wait

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_flights._ThreadFlight, "wait", note_wait(_flights._ThreadFlight))
        run_all(
            lambda: outcome(
                results,
                lambda: cache.get_or_create("a", lambda: cache.get_or_create("b", inner)),
            ),
            lambda: outcome(results, lambda: cache.get_or_create("c", outer)),
        )
    assert len(results) == 2
    assert any("is waiting for it" in result for result in results)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_what_ends_the_leader_is_shared_if_it_is_an_error_and_else_another_leads(make_cache, error):
    cache = make_cache()
    entered, leave = threading.Event(), threading.Event()
    results = []

    def fail():
        entered.set()
        assert leave.wait(30)
        raise error

    def want(factory):
        try:
            results.append(cache.get_or_create("a", factory))
        except BaseException as raised:  # noqa: BLE001 - what is looked at
            results.append(type(raised))

    threads = [threading.Thread(target=want, args=(fail,), daemon=True)]
    threads[0].start()
    assert entered.wait(30)
    arrived = threading.Semaphore(0)

    def late():
        arrived.release()
        want(lambda: "made")

    threads += [threading.Thread(target=late, daemon=True) for _ in range(3)]
    for thread in threads[1:]:
        thread.start()
        assert arrived.acquire(timeout=30)
    leave.set()
    for thread in threads:
        thread.join(30)
    assert len(results) == 4
    assert results.count(error) >= 1
    if not issubclass(error, Exception):
        assert sorted(map(str, results)) == sorted(map(str, [error, "made", "made", "made"]))
    assert cache.get_or_create("a", lambda: "made") == "made"


def test_a_key_that_fails_at_the_end_of_a_load_keeps_nobody_waiting(make_cache):
    class Turning:
        bad = False

        def __hash__(self):
            if self.bad and threading.current_thread() is threads[0]:
                raise ZeroDivisionError
            return 1

    cache = make_cache()
    key = Turning()
    entered, leave = threading.Event(), threading.Event()
    results = []

    def factory():
        entered.set()
        assert leave.wait(30)
        key.bad = True
        return "made"

    def want():
        try:
            results.append(cache.get_or_create(key, factory))
        except ZeroDivisionError as error:
            results.append(type(error))

    threads = [threading.Thread(target=want, daemon=True) for _ in range(3)]
    threads[0].start()
    assert entered.wait(30)
    for thread in threads[1:]:
        thread.start()
    leave.set()
    for thread in threads:
        thread.join(30)
    assert len(results) == 3
    assert results[0] is ZeroDivisionError or ZeroDivisionError in results


def test_wherever_a_load_is_interrupted_the_next_one_is_made(make_cache):
    """An interrupt is raised before each line of the module in turn, as a signal handler might."""

    def interrupt(frame, event, _):
        nonlocal left
        if frame.f_code.co_filename != _flights.__file__:
            return None
        if event == "line":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return interrupt

    interrupted = 0
    for line in range(1, 200):
        left = line
        cache = make_cache()
        before = sys.gettrace()
        sys.settrace(interrupt)
        try:
            cache.get_or_create("a", lambda: "first")
        except KeyboardInterrupt:
            interrupted += 1
        finally:
            sys.settrace(before)
        cache.clear()
        run_all(lambda: cache.get_or_create("a", lambda: "second"))  # noqa: B023 - joined here
        assert cache["a"] == "second"
        if left > 0:
            break
    assert interrupted > 20


@pytest.mark.parametrize("wanted", ["cache.get_or_create('a', int)", "function()"])
def test_waiting_for_a_load_can_be_interrupted(wanted):
    """A signal ends the wait of the main thread; the load goes on."""
    code = f"""
import os, signal, threading
from overdrive.caches import LRUCache, cached
cache = LRUCache(3)
entered, leave = threading.Event(), threading.Event()
def factory():
    entered.set()
    leave.wait(30)
    return "made"
function = cached(factory)
threads = [
    threading.Thread(target=cache.get_or_create, args=("a", factory)),
    threading.Thread(target=function),
]
for thread in threads:
    thread.start()
    entered.wait(30)
    entered.clear()
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    {wanted}
except KeyboardInterrupt:
    print("interrupted")
leave.set()
for thread in threads:
    thread.join()
print(cache["a"], function())
"""
    done = run_script(code)
    assert (done.stdout.split(), done.stderr) == (["interrupted", "made", "made"], "")


def test_a_factory_may_be_interrupted_while_others_wait():
    """The interrupt goes to the leader, in the main thread, and one of the others takes over."""
    code = """
import os, signal, threading
from overdrive.caches import LRUCache
cache = LRUCache(3)
entered = threading.Event()
def factory():
    entered.set()
    threading.Event().wait(30)
def want():
    entered.wait(30)
    got.append(cache.get_or_create("a", lambda: "made"))
got = []
threads = [threading.Thread(target=want) for _ in range(3)]
for thread in threads:
    thread.start()
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    cache.get_or_create("a", factory)
except KeyboardInterrupt:
    print("interrupted")
for thread in threads:
    thread.join()
print(*got)
"""
    done = run_script(code)
    assert (done.stdout.split(), done.stderr) == (["interrupted", *["made"] * 3], "")


def test_who_awaits_after_an_invalidation_does_not_get_what_was_asked_for_before(invalidate):
    async def ask():
        old = asyncio.create_task(function())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert versions == [1]
        invalidate(function.cache, function.cache_key())
        new = asyncio.create_task(function())
        await asyncio.sleep(0)
        release.set()
        assert (await old, await new) == (1, 2)
        assert await function() == 2

    @cached(tags="tag")
    async def function():
        versions.append(len(versions) + 1)
        mine = versions[-1]
        await release.wait()
        return mine

    versions = []
    release = asyncio.Event()
    asyncio.run(ask())


def test_a_task_that_is_cancelled_before_it_begins_ends_its_load():
    """As when the loop is closed; counting loads would make every later change slower."""

    async def ask():
        asyncio.get_running_loop().set_task_factory(cancelling)
        with contextlib.suppress(asyncio.CancelledError):
            await function()

    def cancelling(loop, coroutine, **options):
        task = asyncio.Task(coroutine, loop=loop, **options)
        if "_make" in coroutine.__qualname__:
            task.cancel()
        return task

    @cached
    async def function():
        pytest.fail("it was cancelled")

    begun, ended = [], []
    with pytest.MonkeyPatch.context() as patch:
        kind = type(function.cache)
        begin, end = kind._begin_load, kind._end_load
        patch.setattr(kind, "_begin_load", lambda cache: begun.append(1) or begin(cache), False)
        patch.setattr(kind, "_end_load", lambda cache: ended.append(1) or end(cache), False)
        asyncio.run(ask())
    assert begun == ended == [1]
