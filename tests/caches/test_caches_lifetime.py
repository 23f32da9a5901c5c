"""Caches that are not set up, collected, copied, pickled, forked and left behind at exit."""

import contextlib
import copy
import functools
import gc
import itertools
import pickle
import sys
import sysconfig
import threading
import time
import weakref

import pytest
from concurrency import busy_threads, in_child, needs_fork, run_script
from hostile import Clock, Colliding

from overdrive.caches import CacheStats, LRUCache, TTLCache, cached


class Forgetful(LRUCache):
    """A cache without its constructor."""

    def __init__(self):
        pass


USES = [
    *(len, repr, list, dict, bool, copy.copy, copy.deepcopy, pickle.dumps),
    *(
        lambda cache: cache["a"],
        lambda cache: cache.__setitem__("a", 1),
        lambda cache: "a" in cache,
    ),
    *(lambda cache: cache.get("a"), lambda cache: cache.pop("a", 1), lambda cache: cache.popitem()),
    *(lambda cache: cache.set("a", 1), lambda cache: cache.setdefault("a", 1)),
    *(lambda cache: cache.expire(), lambda cache: cache.maxsize, lambda cache: cache.currsize),
    *(lambda cache: cache.get_or_create("a", int), lambda cache: cached(cache)(len)),
    *(lambda cache: cache == {}, lambda cache: cache.update(a=1), lambda cache: {**cache}),
]


@pytest.mark.parametrize("make", [Forgetful, lambda: TTLCache.__new__(TTLCache)])
def test_a_cache_without_its_constructor_says_so(make):
    for use in USES:
        with pytest.raises(RuntimeError, match=r"call super\(\).__init__"):
            use(make())
    cache = make()
    cache.clear()
    assert cache.invalidate_tag("tag") == 0
    assert cache.stats() == CacheStats(0, 0, 0, 0, 0)


def test_a_constructor_that_is_called_again_changes_nothing(make_cache):
    cache = make_cache(10, getsizeof=lambda _: 2)
    cache["a"] = 1
    again = (5, lambda _: 7) if isinstance(cache, LRUCache) else (5, 1, Clock(), lambda _: 7)
    with pytest.raises(RuntimeError, match="already initialised"):
        cache.__init__(*again)
    cache["b"] = 2
    assert cache.currsize == 4
    assert cache.maxsize == 10


def test_a_constructor_that_failed_may_be_called_again():
    cache = LRUCache.__new__(LRUCache)
    with pytest.raises(ValueError, match="non-negative"):
        cache.__init__(-1, getsizeof=lambda _: 7)
    cache.__init__(3)
    cache["a"] = 1
    assert cache.currsize == 1


def test_a_weak_reference_to_a_cache_dies_with_it(make_cache):
    cache = make_cache()
    gone = []
    reference = weakref.ref(cache, gone.append)
    assert reference() is cache
    cache["a"] = 1
    del cache
    gc.collect()
    assert gone == [reference]


def test_a_cache_that_contains_itself_can_be_shown_and_copied(make_cache):
    cache = make_cache()
    cache["self"] = [cache]
    assert "'self': [...]" in repr(cache)
    for twin in (copy.deepcopy(cache), copy.copy(cache)):
        assert twin is not cache
        assert "'self': [" in repr(twin)
    assert copy.deepcopy(cache)["self"][0] is not cache
    assert type(copy.deepcopy(cache)["self"][0]) is type(cache)
    simple = LRUCache(3)
    simple["self"] = [simple]
    twin = pickle.loads(pickle.dumps(simple))  # noqa: S301 - our own
    assert twin["self"][0] is twin


class Node:
    """Something that can refer to anything, and is easily found among all objects."""

    def __init__(self, *things):
        self.things = things


class OwnListener(LRUCache):
    def __init__(self):
        super().__init__(3, listener=self.listen)

    def listen(self, key, value, reason):
        pass


class OwnTimer(TTLCache):
    def __init__(self):
        super().__init__(3, 10, self.now)

    def now(self):
        return 0


def cycle_through_value():
    cache = TTLCache(3, 10)
    cache["a"] = Node(cache)


def cycle_through_key():
    cache = LRUCache(3)
    cache[Node(cache)] = 1


def cycle_through_listener():
    cache = OwnListener()
    cache.update(a=Node(cache))


def cycle_through_timer():
    cache = OwnTimer()
    cache.update(a=Node())


def cycle_through_sizer():
    node = Node()
    node.things = LRUCache(3, getsizeof=lambda _: len(node.things))


def cycle_through_time_to_live():
    class Ttl(float):
        pass

    ttl = Ttl(5)
    ttl.node = Node(TTLCache(3, ttl))


def cycle_through_frozen_time():
    class Time(float):
        pass

    clock = Clock()
    clock.time = Time(5)
    cache = TTLCache(3, 5, clock)
    clock.time.node = Node(cache)
    with cache.timer:
        cache["a"] = 1


def cycle_through_result():
    @cached
    def function(node):
        return node

    function(Node(function))


def cycle_through_key_function():
    @cached(key=lambda node: (function, id(node)))
    def function(node):
        return node

    function(Node())


def cycle_through_refreshed_result():
    @cached(ttl=5, refresh_after=1)
    def function(node):
        return node

    function(Node(function))


def cycle_through_kept_error():
    @cached(cache_exceptions=ValueError)
    def function(node):
        raise ValueError(node)

    with pytest.raises(ValueError):  # noqa: PT011 - which one is not the point
        function(Node(function))


def cycle_through_attribute():
    @cached
    def function():
        pass

    function.node = Node(function)


def cycle_through_method():
    if sysconfig.get_config_var("Py_GIL_DISABLED") and sys.version_info < (3, 14):
        pytest.skip("CPython 3.13 without the GIL keeps classes for ever once a thread was started")

    class Owner(Node):
        @cached
        def method(self):
            return self

    owner = Owner()
    assert owner.method() is owner


def cycle_through_coroutine_function():
    @cached
    async def function(node):
        return node

    function.node = Node(function)


def cycle_through_factory():
    cache = LRUCache(3)
    node = Node(cache)
    cache.get_or_create("a", lambda: node)


CYCLES = [value for name, value in globals().items() if name.startswith("cycle_")]


@pytest.mark.parametrize("make_cycle", CYCLES, ids=lambda make: make.__name__)
def test_a_cycle_is_collected(make_cycle):
    make_cycle()
    gc.collect()
    gc.collect()
    # A weak reference would be dead also if the collector had given up.
    assert not [thing for thing in gc.get_objects() if isinstance(thing, Node)]


@pytest.mark.parametrize("fail", [True, False])
def test_a_load_leaves_no_garbage(make_cache, fail):
    def factory(node):
        return 1 / 0 if fail else node

    def load(use):
        node = Node()
        nodes.append(weakref.ref(node))
        with contextlib.suppress(ZeroDivisionError):
            use(node)

    nodes = []
    gc.collect()
    gc.disable()
    try:
        load(lambda node: make_cache().get_or_create("a", lambda: factory(node)))
        if fail:
            load(cached(factory))
        assert [node() for node in nodes] == [None] * len(nodes)
    finally:
        gc.enable()


def test_an_operation_ends_well_though_its_cache_is_dropped_meanwhile(make_cache):
    caches = [make_cache()]
    stored = Colliding(1)
    caches[0][stored] = "value"

    def drop():
        caches.clear()
        gc.collect()

    stored.on_compare = drop
    assert caches[0][Colliding(1)] == "value"
    assert caches == []


def test_the_garbage_collector_may_run_at_any_allocation(make_cache):
    @cached
    def function(i):
        return [function]

    left = []
    cache = make_cache(20, listener=lambda *_: left.append([]))
    thresholds = gc.get_threshold()
    gc.set_threshold(1)
    try:
        for i in range(300):
            cache[Colliding(i % 7)] = [cache]
            cache.get_or_create((i, "x"), dict)
            cache.set(i, [cache], ttl=1 + i % 3, tags=str(i % 2))
            cache.invalidate_tag(str(i % 2))
            function(i % 200)
            list(cache.items())
            copy.copy(cache)
    finally:
        gc.set_threshold(*thresholds)
    assert len(cache) <= 20
    assert len(left) >= 300


def test_caches_nested_a_hundred_thousand_deep_can_be_dropped(make_cache):
    cache = None
    for _ in range(100_000):
        outer = make_cache(1)
        outer["inner"] = cache
        cache = outer
    del outer, cache
    gc.collect()


def unpicklable():
    return (i for i in ())


@pytest.mark.parametrize(
    "make",
    [
        lambda: fill(LRUCache(3), "a", unpicklable()),
        lambda: fill(LRUCache(3), unpicklable(), "a"),
        lambda: fill(LRUCache(3, listener=lambda *_: None), "a", 1),
        lambda: fill(LRUCache(3, getsizeof=lambda _: 1), "a", 1),
        lambda: fill(TTLCache(3, 5, lambda: 0), "a", 1),
        lambda: fill(LRUCache(3), "a", threading.Lock()),
    ],
    ids=["value", "key", "listener", "sizer", "timer", "lock"],
)
def test_what_cannot_be_pickled_raises_and_harms_nothing(make):
    cache = make()
    before = cache._entries()
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        pickle.dumps(cache)
    assert cache._entries() == before
    assert cache.currsize == 1


def fill(cache, key, value):
    cache[key] = value
    return cache


def test_what_cannot_be_copied_raises_and_harms_nothing(make_cache):
    cache = fill(make_cache(), "a", threading.Lock())
    with pytest.raises(TypeError, match="pickle"):
        copy.deepcopy(cache)
    assert copy.copy(cache)["a"] is cache["a"]


def test_a_key_that_does_not_survive_pickling_is_reported():
    cache = fill(LRUCache(3), Turncoat(), 1)
    data = pickle.dumps(cache)
    with pytest.raises(ZeroDivisionError):
        pickle.loads(data)  # noqa: S301 - our own


class Turncoat:
    """A key that can be hashed only before it was pickled."""

    pickled = False

    def __hash__(self):
        return 1 // (not self.pickled)

    def __getstate__(self):
        return {"pickled": True}


@cached
def of_the_module(x):
    return x


def test_a_cached_function_is_pickled_by_name():
    assert pickle.loads(pickle.dumps(of_the_module)) is of_the_module  # noqa: S301 - our own
    assert copy.deepcopy(of_the_module) is of_the_module

    @cached
    def local():
        pass

    with pytest.raises((AttributeError, pickle.PicklingError)):
        pickle.dumps(local)


def hammer(cache, function, numbers):
    i = next(numbers)
    cache.set(i % 50, i, ttl=5, tags="tag")
    cache.get_or_create((i % 50, "x"), functools.partial(function, i % 9))
    cache.pop(i % 50, None)
    if i % 100 == 0:
        cache.clear()


def use_in_child(cache, function):
    cache.clear()
    cache["child"] = 1
    assert cache.get_or_create("made", functools.partial(function, "child")) == ["child"]
    assert function("child") == ["child"]
    assert dict(cache) == {"child": 1, "made": ["child"]}
    assert cache.invalidate_tag("tag") == 0


@needs_fork
def test_a_fork_among_busy_threads_leaves_the_child_usable_caches(make_cache):
    cache = make_cache(20)
    function = cached(maxsize=5)(lambda x: [x])
    with busy_threads(hammer, cache, function, itertools.count()):
        codes = [in_child(use_in_child, cache, function) for _ in range(10)]
    assert codes == [0] * 10


@needs_fork
def test_a_child_does_not_wait_for_loads_of_its_parents_threads(make_cache):
    cache = make_cache()
    entered, leave = threading.Semaphore(0), threading.Event()

    def factory():
        entered.release()
        assert leave.wait(30)
        return "of the parent"

    function = cached(factory)
    threads = [
        threading.Thread(target=cache.get_or_create, args=("a", factory)),
        threading.Thread(target=function),
    ]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert entered.acquire(timeout=30)
    code = in_child(load_in_child, cache, function, leave)
    leave.set()
    for thread in threads:
        thread.join()
    assert code == 0
    assert cache["a"] == "of the parent"


def load_in_child(cache, function, leave):
    leave.set()
    assert cache.get_or_create("a", lambda: "of the child") == "of the child"
    assert cache["a"] == "of the child"
    assert function() == "of the parent"


@needs_fork
def test_a_child_refreshes_what_its_parent_was_refreshing():
    entered, leave = threading.Event(), threading.Event()
    runs = []

    @cached(refresh_after=1e-9)
    def function():
        runs.append(1)
        if len(runs) == 2:
            entered.set()
            assert leave.wait(30)
        return len(runs)

    assert function() == 1
    assert function() == 1
    assert entered.wait(30)
    code = in_child(refresh_in_child, function)
    leave.set()
    assert code == 0


def refresh_in_child(function):
    while function() == 1:
        time.sleep(0.001)


def test_the_interpreter_ends_well_with_caches_alive():
    code = """
import threading, time
from overdrive.caches import LRUCache, TTLCache, cached

class Meddler:
    def __del__(self):
        if cache is not None:
            cache.get("a")
            cache["b"] = 1

cache = LRUCache(3, listener=lambda key, value, reason: cache and cache.get(key))
cache["a"] = Meddler()
cache["self"] = cache
timed = TTLCache(3, 10, getsizeof=lambda value: 1)
timed["a"] = Meddler()

@cached(maxsize=3, ttl=10)
def function(x):
    return Meddler()

class Owner:
    @cached
    def method(self):
        return self

owner = Owner()
assert owner.method() is owner
function(1)

@cached
async def coroutine_function(x):
    return Meddler()

def work():
    i = 0
    while True:
        i += 1
        timed[i % 9] = [timed.get(i)]
        timed.pop(i % 5, None)

for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.05)
"""
    done = run_script(code)
    assert (done.returncode, done.stderr) == (0, "")


FOREVER = {
    "a cached function": "cached(forever)()",
    "a key function": "cached(key=forever)(len)('a')",
    "a kept error": "cached(cache_exceptions=ValueError)(forever)()",
    "a factory": "LRUCache(3).get_or_create('a', forever)",
    "a listener": "LRUCache(1, listener=forever).update(a=1, b=2)",
    "a timer": "TTLCache(3, 10, forever).get('a')",
    "a sizer": "LRUCache(3, getsizeof=forever)['a'] = 1",
    "an eq": "LRUCache(3).update([(Key(), 1), (Key(), 2)])",
    "missing": "type('C', (LRUCache,), {'__missing__': forever})(3)['a']",
    "popitem": "type('C', (LRUCache,), {'popitem': forever})(1).update(a=1, b=2)",
    "expire": "len(type('C', (TTLCache,), {'expire': forever})(1, 1))",
    "a registry": "ShardedRegistry().get_or_create('a', forever)",
    "an update of a registry": "ShardedRegistry().update('a', forever, default=1)",
    "a watcher of a registry": "watched.register('a', 1)",
    "a factory of a pool": "ObjectPool(forever).acquire()",
    "a reset of a pool": "pool.release(pool.acquire())",
}


@pytest.mark.parametrize("use", FOREVER.values(), ids=FOREVER)
def test_the_interpreter_ends_well_with_a_thread_inside(use):
    """Until CPython 3.14, such a thread is unwound, which Rust code does not survive."""
    code = f"""
import threading, time
from overdrive import ShardedRegistry
from overdrive.caches import LRUCache, TTLCache, cached
from overdrive.pools import ObjectPool

begun = threading.Event()

def forever(*args):
    begun.set()
    while True:
        pass

watched = ShardedRegistry()
watched.watch(forever)
pool = ObjectPool(list, reset_func=forever)

class Key:
    def __hash__(self):
        return 1

    def __eq__(self, other):
        forever()

def use():
    {use}

threading.Thread(target=use, daemon=True).start()
assert begun.wait(30)
"""
    done = run_script(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_interpreter_ends_well_with_a_load_and_a_refresh_in_progress():
    code = """
import threading, time
from overdrive.caches import LRUCache, cached

cache = LRUCache(3)
begun = threading.Semaphore(0)

def forever():
    begun.release()
    time.sleep(1000)

for _ in range(3):
    threading.Thread(target=cache.get_or_create, args=("a", forever), daemon=True).start()
assert begun.acquire(timeout=30)

runs = []

@cached(refresh_after=1e-9)
def function():
    runs.append(1)
    if len(runs) > 1:
        begun.release()
        time.sleep(0.1)
    return len(runs)

function()
assert function() == 1
assert begun.acquire(timeout=30)
"""
    done = run_script(code)
    assert (done.returncode, done.stderr) == (0, "")
