"""Functions and methods whose results are kept."""

import copy
import functools
import gc
import pickle
import threading
import time
import weakref

import pytest

from overdrive.caches import CacheInfo, LRUCache, TTLCache, _cached, cached


@cached(10)
def squared(x):
    """Square a number."""
    return x * x


def counting(function=lambda *args, **kwargs: (args, tuple(kwargs.items()))):
    """Make a function that notes its calls."""

    def counted(*args, **kwargs):
        counted.calls.append((args, kwargs))
        return function(*args, **kwargs)

    counted.calls = []
    return counted


def test_a_result_is_computed_once():
    function = counting()
    f = cached(10)(function)
    assert f(1) == f(1) == ((1,), ())
    assert len(function.calls) == 1
    assert f.cache_info() == CacheInfo(hits=1, misses=1, maxsize=10, currsize=1)


WAYS = [
    *(cached, cached(), cached(maxsize=5), cached(5), cached(None), cached(maxsize=None)),
    *(cached(LRUCache(5)), cached(cache=TTLCache(5, 60)), cached(ttl=60), cached(5, ttl=60)),
    cached(LRUCache(5), lock=threading.Lock(), info=True),
]


@pytest.mark.parametrize("decorate", WAYS)
def test_there_are_many_ways_to_say_how_much_is_kept(decorate):
    function = counting()
    f = decorate(function)
    assert [f(1), f(2), f(1)] == [((1,), ()), ((2,), ()), ((1,), ())]
    assert len(function.calls) == 2


def test_an_unbounded_cache_has_no_maxsize():
    assert cached(None)(counting()).cache_info().maxsize is None
    assert cached()(counting()).cache_info().maxsize == 128


def test_it_looks_like_the_function():
    assert squared.__name__ == "squared"
    assert squared.__doc__ == "Square a number."
    assert squared.__wrapped__(3) == 9
    assert squared.__module__ == __name__
    assert "squared" in repr(squared)
    assert pickle.loads(pickle.dumps(squared)) is squared  # noqa: S301 - our own
    assert copy.copy(squared) is squared
    assert copy.deepcopy(squared) is squared


@pytest.mark.parametrize(
    "calls",
    [
        [((1,), {}), ((1,), {"a": 2}), ((1, "a", 2), {}), ((), {"a": 1}), (("a", 1), {})],
        [((), {}), ((None,), {}), (((),), {}), ((1, ()), {}), (((1, ()),), {})],
        [(("1",), {}), ((1,), {}), ((b"1",), {})],
        [((1, 2), {}), (((1, 2),), {}), ((2, 1), {})],
    ],
)
def test_different_arguments_have_different_results(calls):
    function = counting()
    f = cached(100)(function)
    for _ in range(2):
        for args, kwargs in calls:
            assert f(*args, **kwargs) == (args, tuple(kwargs.items()))
    assert len(function.calls) == len(calls)


def test_the_order_of_named_arguments_does_not_matter():
    function = counting(lambda **kwargs: sorted(kwargs.items()))
    f = cached(10)(function)
    assert f(a=1, b=2, c=3) == f(c=3, a=1, b=2)
    assert len(function.calls) == 1


def test_equal_arguments_are_one_unless_typed():
    plain, typed = counting(), counting()
    f, g = cached(10)(plain), cached(10, typed=True)(typed)
    for value in (1, 1.0, True, 1):
        f(value)
        g(value)
        g(x=value)
    assert len(plain.calls) == 1
    assert len(typed.calls) == 6


def test_unhashable_arguments_are_refused():
    with pytest.raises(TypeError, match="unhashable"):
        squared([])


def test_a_key_function_decides_what_is_the_same():
    function = counting()
    f = cached(10, key=lambda text: text.lower())(function)
    assert f("A") == f("a") == (("A",), ())
    assert f.cache_key("AbC") == "abc"
    assert list(f.cache) == ["a"]


def test_a_given_cache_has_tuples_as_keys():
    cache = LRUCache(10)
    f = cached(cache)(counting())
    f(1)
    f("a", 2)
    assert list(cache) == [(1,), ("a", 2)]
    assert f.cache is cache
    assert f.cache_key(1) == (1,)


def test_a_given_cache_that_overrides_is_used_as_it_is():
    class Doubling(LRUCache):
        def __getitem__(self, key):
            return super().__getitem__(key) * 2

    f = cached(Doubling(10))(lambda x: x)
    assert [f(1), f(1)] == [1, 2]


def test_results_expire():
    function = counting()
    f = cached(10, ttl=1e-9)(function)
    f(1)
    time.sleep(0.001)
    f(1)
    assert len(function.calls) == 2


def test_results_can_be_forgotten_one_by_one_or_all():
    function = counting()
    f = cached(10)(function)
    f(1)
    f(2, a=3)
    assert f.invalidate(2, a=3)
    assert not f.invalidate(2, a=3)
    f(1)
    f(2, a=3)
    assert len(function.calls) == 3
    f.cache_clear()
    assert f.cache_info().currsize == 0
    f(1)
    assert len(function.calls) == 4


def test_results_can_be_forgotten_by_tag():
    f = cached(10, tags=lambda x: [f"parity {x % 2}"])(counting())
    for i in range(5):
        f(i)
    assert f.cache.invalidate_tag("parity 0") == 3
    g = cached(10, tags=["all"])(counting())
    g(1)
    assert g.cache.invalidate_tag("all") == 1


def test_a_result_invalidated_while_it_is_computed_is_not_kept():
    def function(x):
        calls.append(x)
        f.invalidate(x)
        return len(calls)

    calls = []
    f = cached(10)(function)
    assert [f(1), f(1)] == [1, 2]


def test_errors_are_not_kept():
    function = counting(lambda _: 1 / 0)
    f = cached(10)(function)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            f(1)
    assert len(function.calls) == 2
    assert f.cache_info().currsize == 0


def test_chosen_errors_are_kept():
    function = counting(int)
    f = cached(10, cache_exceptions=ValueError)(function)
    depths = []
    for _ in range(5):
        with pytest.raises(ValueError, match="invalid literal") as error:
            f("x")
        depths.append(len(error.traceback))
    assert len(function.calls) == 1
    assert len(set(depths)) <= 2
    assert f("3") == 3
    with pytest.raises(TypeError):
        f(None)
    assert len(function.calls) == 3


def test_a_function_that_needs_its_own_result_raises():
    @cached(10)
    def f(x):
        return f(x)

    with pytest.raises(RuntimeError, match="needs the value of 1"):
        f(1)


def test_recursion_on_other_arguments_is_fine():
    @cached(None)
    def fib(n):
        return n if n < 2 else fib(n - 1) + fib(n - 2)

    assert fib(60) == 1548008755920
    assert fib.cache_info().misses == 61


def test_concurrent_callers_share_one_run():
    inside, go_on = threading.Event(), threading.Event()

    def slow(_):
        inside.set()
        go_on.wait()
        return object()

    function = counting(slow)
    f = cached(10)(function)
    results = []
    threads = [threading.Thread(target=lambda: results.append(f(1))) for _ in range(8)]
    threads[0].start()
    inside.wait()
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert len(function.calls) == 1
    assert len(set(map(id, results))) == 1


class Clock:
    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(_cached, "time", clock)
    return clock


def test_a_stale_result_is_returned_while_it_is_made_anew(clock):
    go_on, made = threading.Event(), threading.Event()

    def function(_):
        threads.append(threading.current_thread())
        if len(threads) > 1:
            go_on.wait()
            made.set()
        return len(threads)

    threads = []
    f = cached(10, refresh_after=30)(function)
    assert f("a") == 1
    clock.now = 29.0
    assert f("a") == 1
    assert len(threads) == 1
    clock.now = 30.0
    assert [f("a") for _ in range(5)] == [1] * 5
    go_on.set()
    assert made.wait(10)
    while f("a") == 1:
        pass
    assert f("a") == 2
    assert len(threads) == 2
    assert threads[1] is not threading.main_thread()


def test_a_refresh_that_fails_keeps_the_old_result_and_is_tried_again(clock, caplog):
    def function(_):
        calls.append(1)
        if len(calls) == 2:
            raise OSError("down")
        return len(calls)

    calls = []
    f = cached(10, refresh_after=30)(function)
    f(1)
    clock.now = 30.0
    while "down" not in caplog.text:
        assert f(1) == 1
    assert "could not refresh" in caplog.text
    clock.now = 59.0
    assert f(1) == 1
    clock.now = 1000.0
    while f(1) == 1:
        pass
    assert f(1) == 3


@pytest.mark.parametrize("refresh_after", [0, -1, 60, 61])
def test_refreshing_must_come_before_expiring(refresh_after):
    with pytest.raises(ValueError, match=f"refresh_after must be .* got {refresh_after}"):
        cached(ttl=60, refresh_after=refresh_after)


@pytest.mark.parametrize("cache", [{}, "many", object()])
def test_other_caches_are_refused(cache):
    with pytest.raises(TypeError, match="cache must be a cache of overdrive"):
        cached(cache)


def test_a_given_cache_has_its_own_time_to_live():
    with pytest.raises(TypeError, match="its own time to live"):
        cached(LRUCache(5), ttl=5)


def test_generators_are_refused():
    def generator():
        yield 1

    async def asynchronous():
        yield 1

    for function in (generator, asynchronous):
        with pytest.raises(TypeError, match="generator"):
            cached(function)
    with pytest.raises(TypeError, match="only functions"):
        cached(5)("text")


class Account:
    made = 0

    def __init__(self, factor):
        self.factor = factor

    @cached(10)
    def scaled(self, x, *, offset=0):
        """Scale."""
        Account.made += 1
        return self.factor * x + offset

    @staticmethod
    @cached(5)
    def static(x):
        Account.made += 1
        return x

    def __eq__(self, other):
        return True

    __hash__ = None


@pytest.fixture
def made():
    Account.made = 0
    return lambda: Account.made


def test_each_instance_has_results_of_its_own(made):
    one, two = Account(1), Account(2)
    assert [one.scaled(5), two.scaled(5), one.scaled(5), two.scaled(5)] == [5, 10, 5, 10]
    assert one.scaled(5, offset=1) == 6
    assert made() == 3
    assert one.scaled.cache_info() == CacheInfo(hits=1, misses=2, maxsize=10, currsize=2)
    assert two.scaled.cache_info().currsize == 1
    assert Account.scaled.cache_info().currsize == 3


def test_results_of_one_instance_can_be_forgotten(made):
    one, two = Account(1), Account(2)
    one.scaled(5)
    two.scaled(5)
    assert one.scaled.invalidate(5)
    one.scaled.cache_clear()
    assert two.scaled.cache_info().currsize == 1
    Account.scaled.cache_clear()
    assert two.scaled.cache_info().currsize == 0
    assert made() == 2


def test_a_method_looks_like_the_method():
    method = Account(1).scaled
    assert method.__name__ == "scaled"
    assert method.__doc__ == "Scale."
    assert method.__self__.factor == 1
    assert method.cache_key(5) == 5


def test_results_do_not_keep_an_instance_alive():
    account = Account(3)
    account.scaled(1)
    gone = weakref.ref(account)
    del account
    assert gone() is None
    assert Account.scaled.cache_info().currsize == 0


def test_a_bound_method_keeps_its_instance_alive():
    method = Account(3).scaled
    gc.collect()
    assert method(2) == 6


def test_static_methods_may_be_cached(made):
    assert (Account(4).static(1), Account.static(1)) == (1, 1)
    assert made() == 1


def test_instances_must_allow_weak_references():
    class Slotted:
        __slots__ = ()

        @cached(5)
        def method(self):
            return 1

    with pytest.raises(TypeError, match="add '__weakref__' to its __slots__"):
        Slotted().method()


def test_a_given_cache_is_not_for_methods():
    class Wrong:
        @cached(LRUCache(5))
        def method(self):
            return 1

    with pytest.raises(TypeError, match="give cached a size"):
        Wrong().method()


def test_calling_a_method_through_its_class_uses_the_instance(made):
    account = Account(5)
    assert Account.scaled(account, 2) == account.scaled(2) == 10
    assert made() == 1
    gone = weakref.ref(account)
    del account
    assert gone() is None


def test_it_is_collected_with_what_it_refers_to():
    class Thing:
        def __call__(self, _):
            return self

    thing = Thing()
    thing.cached = cached(5)(thing)
    thing.cached(1)
    gone = weakref.ref(thing)
    del thing
    gc.collect()
    assert gone() is None


def test_it_works_with_partial_and_callable_objects():
    class Adder:
        def __call__(self, x):
            return x + 1

    assert cached(5)(Adder())(1) == 2
    assert cached(5)(functools.partial(pow, 2))(5) == 32
    assert cached(5)(len)("abc") == 3
