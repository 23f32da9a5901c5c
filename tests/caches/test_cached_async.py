"""Coroutine functions whose results are kept."""

import asyncio
import contextvars
import gc
import inspect
import threading
import weakref

import pytest

from overdrive.caches import LRUCache, TTLCache, cached


class Gate:
    """A coroutine function that notes its calls and goes on when it is told to."""

    def __init__(self, result=None):
        self.calls = 0
        self.cancelled = 0
        self.open = asyncio.Event()
        self.result = result

    async def __call__(self, *args):
        self.calls += 1
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if isinstance(self.result, Exception):
            raise self.result
        return (args, self.calls)


def gated(result=None, **options):
    gate = Gate(result)

    async def function(*args):
        return await gate(*args)

    return cached(10, **options)(function), gate


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


def run(test):
    """Make a test of a coroutine function."""

    def wrapper():
        asyncio.run(test())

    wrapper.__name__ = test.__name__
    return wrapper


@run
async def test_a_result_is_computed_once():
    f, gate = gated()
    gate.open.set()
    assert await f(1) == await f(1) == ((1,), 1)
    assert await f(2) == ((2,), 2)
    assert f.cache_info()[:2] == (1, 2)


@run
async def test_a_hit_does_not_give_way():
    f, gate = gated()
    gate.open.set()
    await f(1)
    with pytest.raises(StopIteration) as stop:
        f(1).send(None)
    assert stop.value.value == ((1,), 1)


@run
async def test_it_is_known_as_a_coroutine_function():
    f, _ = gated()
    assert asyncio.iscoroutinefunction(f)
    call = f(1)
    assert inspect.iscoroutine(call)
    call.close()
    assert f.__name__ == "function"


@run
async def test_concurrent_callers_share_one_run():
    f, gate = gated()
    tasks = [asyncio.create_task(f(1)) for _ in range(1000)]
    await settle()
    gate.open.set()
    results = await asyncio.gather(*tasks)
    assert gate.calls == 1
    assert set(results) == {((1,), 1)}


@run
async def test_cancelling_one_waiter_leaves_the_run_to_the_others():
    f, gate = gated()
    first, second, third = (asyncio.create_task(f(1)) for _ in range(3))
    await settle()
    first.cancel()
    third.cancel()
    await settle()
    assert first.cancelled()
    assert third.cancelled()
    gate.open.set()
    assert await second == ((1,), 1)
    assert gate.cancelled == 0
    assert await f(1) == ((1,), 1)


@run
async def test_cancelling_the_last_waiter_ends_the_run():
    f, gate = gated()
    tasks = [asyncio.create_task(f(1)) for _ in range(3)]
    await settle()
    for task in tasks:
        task.cancel()
    await settle()
    assert gate.cancelled == 1
    gate.open.set()
    assert await f(1) == ((1,), 2)


@run
async def test_who_comes_while_a_run_is_being_cancelled_begins_another():
    stubborn = asyncio.Event()
    calls = []

    @cached(10)
    async def f(x):
        calls.append(x)
        try:
            await asyncio.sleep(3600 if len(calls) == 1 else 0)
        except asyncio.CancelledError:
            await stubborn.wait()
            raise
        return len(calls)

    task = asyncio.create_task(f(1))
    await settle()
    task.cancel()
    await settle()
    assert await f(1) == 2
    stubborn.set()
    await settle()
    assert await f(1) == 2


@run
async def test_a_timeout_of_one_caller_is_its_own():
    f, gate = gated()
    patient = asyncio.create_task(f(1))
    await settle()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(f(1), 0.001)
    gate.open.set()
    assert await patient == ((1,), 1)


@run
async def test_all_waiters_get_the_error_and_nothing_is_kept():
    f, gate = gated(result=OSError("down"))
    tasks = [asyncio.create_task(f(1)) for _ in range(3)]
    await settle()
    gate.open.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(result) for result in results] == ["down"] * 3
    gate.result = None
    assert await f(1) == ((1,), 2)


@run
async def test_chosen_errors_are_kept():
    f, gate = gated(result=LookupError("none"), cache_exceptions=(LookupError,))
    gate.open.set()
    for _ in range(3):
        with pytest.raises(LookupError, match="none"):
            await f(1)
    assert gate.calls == 1


@run
async def test_a_result_invalidated_meanwhile_is_given_and_not_kept():
    f, gate = gated()
    early = asyncio.create_task(f(1))
    await settle()
    f.invalidate(1)
    late = asyncio.create_task(f(1))
    await settle()
    assert gate.calls == 2
    gate.open.set()
    assert await early == ((1,), 2)
    assert await late == ((1,), 2)
    assert gate.calls == 2
    assert f.cache_info().currsize == 1


@run
async def test_a_coroutine_that_needs_its_own_result_raises():
    @cached(10)
    async def f(x):
        return await f(x)

    with pytest.raises(RuntimeError, match="needs the value of 1"):
        await f(1)


@run
async def test_a_circle_through_tasks_raises():
    @cached(10)
    async def f(x):
        await asyncio.sleep(0)
        (result,) = await asyncio.gather(f(1 - x))
        return result

    results = await asyncio.wait_for(asyncio.gather(f(0), f(1), return_exceptions=True), 10)
    assert all(isinstance(result, RuntimeError) for result in results)


@run
async def test_recursion_on_other_arguments_is_fine():
    @cached(None)
    async def fib(n):
        return n if n < 2 else sum(await asyncio.gather(fib(n - 1), fib(n - 2)))

    assert await fib(50) == 12586269025
    assert fib.cache_info().currsize == 51


def test_each_loop_has_its_own_runs():
    loops = []

    @cached(10)
    async def f(x):
        loops.append(asyncio.get_running_loop())
        everyone.wait()
        return x

    everyone = threading.Barrier(2)
    threads = [threading.Thread(target=lambda: asyncio.run(f(1))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(loops)) == 2
    assert asyncio.run(f(1)) == 1
    assert len(loops) == 2


def test_a_loop_that_ends_in_the_middle_leaves_nothing_behind():
    async def abandon():
        task = asyncio.create_task(f(1))
        await settle()
        return weakref.ref(task)

    calls = []

    @cached(10)
    async def f(x):
        calls.append(x)
        if len(calls) == 1:
            await asyncio.sleep(3600)
        return x

    task = asyncio.run(abandon())
    gc.collect()
    assert task() is None
    assert asyncio.run(f(1)) == 1
    assert f.cache._stats()[-1] == 1


@run
async def test_a_stale_result_is_returned_while_it_is_made_anew():
    f, gate = gated(refresh_after=1e-9)
    gate.open.set()
    assert await f(1) == ((1,), 1)
    gate.open.clear()
    await settle()
    assert await f(1) in (((1,), 1), ((1,), 2))
    gate.open.set()
    await settle()
    assert (await f(1))[1] > 1


@run
async def test_context_variables_are_those_of_the_first_caller():
    name = contextvars.ContextVar("name")

    @cached(10)
    async def f(x):
        return (x, name.get())

    name.set("first")
    assert await f(1) == (1, "first")


@run
async def test_methods_have_results_for_each_instance():
    class Client:
        def __init__(self, name):
            self.name = name

        @cached(10, ttl=60)
        async def fetch(self, x):
            calls.append(x)
            return f"{self.name} {x}"

    calls = []
    one, two = Client("one"), Client("two")
    assert [await one.fetch(1), await two.fetch(1), await one.fetch(1)] == [
        "one 1",
        "two 1",
        "one 1",
    ]
    assert len(calls) == 2
    assert one.fetch.cache_info().hits == 1
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None


@run
async def test_given_caches_tags_and_keys_work_as_for_functions():
    cache = TTLCache(5, 60)

    @cached(cache, tags=lambda user, **_: [f"user {user}"], key=lambda user, **_: user)
    async def profile(user, *, trace=None):
        return (user, trace)

    assert await profile("a", trace=1) == await profile("a", trace=2) == ("a", 1)
    assert cache.invalidate_tag("user a") == 1
    assert await profile("a", trace=3) == ("a", 3)
    assert profile.cache is cache
    with pytest.raises(TypeError, match="unhashable"):
        await cached(LRUCache(5))(profile)([])


@pytest.mark.parametrize("steps", range(12))
def test_cancelled_at_any_point_it_leaves_no_flight_behind(steps):
    async def test():
        @cached(10)
        async def f(x):
            for _ in range(3):
                await asyncio.sleep(0)
            return x

        task = asyncio.create_task(f(1))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await settle()
        assert not any(f._loads._flights._tables.values())
        assert await f(1) == 1
        f.invalidate(1)
        assert await f(1) == 1

    asyncio.run(test())
