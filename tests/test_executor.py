"""The executor behaves as the standard library's does; both pass the same contract."""

import asyncio
import concurrent.futures
import contextvars
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import weakref

import pytest

from overdrive import WorkStealingExecutor


def occupy(executor):
    """Occupy one thread of an executor until the returned event is set."""
    begun, release = threading.Event(), threading.Event()
    executor.submit(lambda: begun.set() or release.wait(30))
    assert begun.wait(30)
    return release


def run_script(script):
    """Run a program that must end by itself and complain about nothing."""
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stderr == ""
    return ended.stdout


class UnspeakableError(Exception):
    """An exception that cannot even say what it is."""

    def __str__(self):
        raise ValueError("no words")

    __repr__ = __str__


class ExecutorContract:
    """What any thread pool of `concurrent.futures` promises."""

    make: type[concurrent.futures.ThreadPoolExecutor]

    def test_a_future_gives_the_result(self):
        with self.make(2) as executor:
            assert executor.submit(pow, 2, exp=5).result(5) == 32

    def test_a_future_gives_the_exception(self):
        with self.make(2) as executor, pytest.raises(ZeroDivisionError):
            executor.submit(lambda: 1 // 0).result(5)

    def test_system_exit_of_a_task_is_its_result_and_the_thread_goes_on(self):
        with self.make(1) as executor:
            assert isinstance(executor.submit(sys.exit).exception(5), SystemExit)
            assert executor.submit(int).result(5) == 0

    def test_map_keeps_the_order(self):
        with self.make(4) as executor:
            assert list(executor.map(str, range(500))) == [str(i) for i in range(500)]

    def test_no_more_threads_than_workers(self):
        together = threading.Barrier(3)
        with self.make(3) as executor:
            futures = [executor.submit(together.wait, 5) for _ in range(9)]
            assert sorted(future.result(5) for future in futures) == [0, 0, 0, 1, 1, 1, 2, 2, 2]

    def test_submission_after_shutdown_is_refused(self):
        executor = self.make(1)
        executor.shutdown()
        executor.shutdown()
        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            executor.submit(int)

    def test_shutdown_waits_for_what_was_submitted(self):
        executor = self.make(2)
        futures = [executor.submit(pow, i, 2) for i in range(100)]
        executor.shutdown()
        assert [future.result(0) for future in futures] == [i * i for i in range(100)]

    def test_shutdown_can_cancel_what_has_not_begun(self):
        executor = self.make(1)
        begun, release = threading.Event(), threading.Event()
        first = executor.submit(lambda: begun.set() or release.wait(5))
        assert begun.wait(5)
        others = [executor.submit(int) for _ in range(10)]
        executor.shutdown(wait=False, cancel_futures=True)
        release.set()
        assert all(future.cancelled() for future in others)
        assert first.result(5)

    def test_a_cancelled_future_does_not_run(self):
        ran = []
        with self.make(1) as executor:
            begun, release = threading.Event(), threading.Event()
            executor.submit(lambda: begun.set() or release.wait(5))
            assert begun.wait(5)
            future = executor.submit(ran.append, 1)
            assert future.cancel()
            release.set()
        assert ran == []

    def test_an_initializer_runs_on_each_thread(self):
        local = threading.local()
        with self.make(2, "named", lambda v: setattr(local, "value", v), (7,)) as executor:
            assert executor.submit(lambda: local.value).result(5) == 7
            assert executor.submit(lambda: threading.current_thread().name).result(5) == "named_0"

    def test_a_failing_initializer_breaks_the_executor(self, caplog):
        executor = self.make(1, initializer=lambda: 1 // 0)
        future = executor.submit(int)
        with pytest.raises(concurrent.futures.thread.BrokenThreadPool):
            future.result(5)
        with pytest.raises(concurrent.futures.thread.BrokenThreadPool):
            executor.submit(int)
        executor.shutdown()
        assert "Exception in initializer" in caplog.text

    def test_bad_options_are_refused(self):
        with pytest.raises(ValueError, match="max_workers must be greater than 0"):
            self.make(0)
        with pytest.raises(TypeError, match="initializer must be a callable"):
            self.make(initializer=1)

    def test_a_dropped_executor_finishes_and_ends_its_threads(self):
        executor = self.make(2, "dropped")
        futures = [executor.submit(int) for _ in range(50)]
        dropped = weakref.ref(executor)
        del executor
        gc.collect()
        assert dropped() is None
        assert [future.result(5) for future in futures] == [0] * 50
        for thread in threading.enumerate():
            if thread.name.startswith("dropped"):
                thread.join(5)
                assert not thread.is_alive()

    def test_what_a_task_referred_to_is_gone_with_its_result(self):
        class Argument:
            pass

        with self.make(1) as executor:
            argument = Argument()
            gone = weakref.ref(argument)
            future = executor.submit(id, argument)
            del argument
            future.result(5)
            executor.submit(int).result(5)
            assert gone() is None

    def test_asyncio_can_use_it_as_the_default_executor(self):
        async def main():
            loop = asyncio.get_running_loop()
            loop.set_default_executor(self.make(2))
            return await asyncio.gather(*(asyncio.to_thread(pow, i, 2) for i in range(20)))

        assert asyncio.run(main()) == [i * i for i in range(20)]

    def test_tasks_may_submit_tasks(self):
        with self.make(2) as executor:
            inner = executor.submit(lambda: [executor.submit(pow, i, 2) for i in range(50)])
            assert [future.result(5) for future in inner.result(5)] == [i * i for i in range(50)]

    def test_keywords_of_the_function_may_have_any_name(self):
        with self.make(1) as executor:
            future = executor.submit(lambda *args, **kwargs: (args, kwargs), 1, self=2, fn=3, key=4)
            assert future.result(5) == ((1,), {"self": 2, "fn": 3, "key": 4})
            with pytest.raises(TypeError):
                executor.submit(fn=int)
            with pytest.raises(TypeError):
                executor.submit()

    @pytest.mark.parametrize(
        "error", [ValueError("x"), KeyboardInterrupt(), SystemExit(3), GeneratorExit()]
    )
    def test_exceptions_of_every_kind_are_results(self, error):
        def fail():
            raise error

        with self.make(1) as executor:
            future = executor.submit(fail)
            assert future.exception(5) is error
            with pytest.raises(type(error)) as raised:
                future.result(5)
            assert raised.value is error
            assert executor.submit(int).result(5) == 0

    def test_an_exception_without_words_is_a_result(self):
        def fail():
            raise UnspeakableError

        with self.make(1) as executor:
            assert isinstance(executor.submit(fail).exception(5), UnspeakableError)
            assert executor.submit(int).result(5) == 0

    def test_an_exception_tells_where_it_was_raised(self):
        def deep():
            raise LookupError

        with self.make(1) as executor:
            error = executor.submit(deep).exception(5)
        frames = []
        trace = error.__traceback__
        while trace is not None:
            frames.append(trace.tb_frame.f_code.co_name)
            trace = trace.tb_next
        assert frames[-1] == "deep"

    def test_a_failed_future_is_freed_without_the_garbage_collector(self):
        with self.make(1) as executor:
            future = executor.submit(lambda: 1 // 0)
            with pytest.raises(ZeroDivisionError):
                future.result(5)
            executor.submit(int).result(5)
            gone = weakref.ref(future)
            gc.disable()
            try:
                del future
                assert gone() is None
            finally:
                gc.enable()

    def test_the_states_of_a_future(self):
        with self.make(1) as executor:
            release = occupy(executor)
            inside, leave = threading.Event(), threading.Event()
            future = executor.submit(lambda: inside.set() or leave.wait(30))
            assert not future.running()
            assert not future.done()
            with pytest.raises(TimeoutError):
                future.result(0)
            with pytest.raises(TimeoutError):
                future.exception(timeout=0.01)
            release.set()
            assert inside.wait(30)
            assert future.running()
            assert not future.cancel()
            leave.set()
            assert future.result(30)
            assert future.done()
            assert not future.running()
            assert not future.cancelled()
            assert future.exception() is None

    def test_a_cancelled_future_says_so_to_everybody(self):
        with self.make(1) as executor:
            release = occupy(executor)
            future = executor.submit(int)
            seen = []
            future.add_done_callback(seen.append)
            waiting = threading.Thread(target=lambda: seen.append(future.exception))
            assert future.cancel()
            assert future.cancel()
            waiting.start()
            waiting.join(30)
            assert future.cancelled()
            assert future.done()
            assert seen[0] is future
            with pytest.raises(concurrent.futures.CancelledError):
                future.result(0)
            with pytest.raises(concurrent.futures.CancelledError):
                future.exception(0)
            release.set()

    def test_callbacks_are_called_in_order_and_their_errors_logged(self, caplog):
        with self.make(1) as executor:
            release = occupy(executor)
            future = executor.submit(int)
            seen, done = [], threading.Event()
            future.add_done_callback(lambda _: seen.append("first"))
            future.add_done_callback(lambda _: 1 // 0)
            future.add_done_callback(lambda f: seen.append(f.result()))
            future.add_done_callback(lambda _: done.set())
            release.set()
            assert done.wait(30)
            assert seen == ["first", 0]
            assert "exception calling callback for <Future" in caplog.text
            assert "ZeroDivisionError" in caplog.text
            future.add_done_callback(lambda _: seen.append("late"))
            assert seen[-1] == "late"

    def test_many_threads_may_wait_for_one_future(self):
        with self.make(1) as executor:
            release = occupy(executor)
            future = executor.submit(int, "7")
            with self.make(8) as others:
                waits = [others.submit(future.result, 30) for _ in range(8)]
                release.set()
                assert [wait.result(30) for wait in waits] == [7] * 8

    def test_wait_and_as_completed(self):
        with self.make(2) as executor:
            release, other = occupy(executor), occupy(executor)
            slow = executor.submit(int)
            done, pending = concurrent.futures.wait([slow], timeout=0.01)
            assert (done, pending) == (set(), {slow})
            release.set()
            other.set()
            fast = executor.submit(pow, 2, 3)
            assert concurrent.futures.wait([slow, fast], timeout=30).not_done == set()
            failing = executor.submit(lambda: 1 // 0)
            done = concurrent.futures.wait([failing], 30, "FIRST_EXCEPTION").done
            assert done == {failing}
            futures = [executor.submit(pow, i, 2) for i in range(50)]
            completed = concurrent.futures.as_completed([*futures, failing], timeout=30)
            assert set(completed) == {*futures, failing}

    def test_waiting_for_a_future_that_is_cancelled_later(self):
        with self.make(1) as executor, self.make(1) as waiter:
            release = occupy(executor)
            future = executor.submit(int)
            wait = waiter.submit(concurrent.futures.wait, [future], 30)
            while not future._waiters:
                pass
            assert future.cancel()
            release.set()
            assert wait.result(30).done == {future}

    def test_futures_have_attributes_and_names(self):
        with self.make(1) as executor:
            future = executor.submit(int)
            future.result(5)
            future.note = "mine"
            assert future.note == "mine"
            assert isinstance(future, concurrent.futures.Future)
            assert "state=finished returned int>" in repr(future)
            assert hash(future) == hash(future)
            assert weakref.ref(future)() is future

    def test_asyncio_awaits_the_future(self):
        async def main():
            with self.make(1) as executor:
                future = executor.submit(pow, 2, 5)
                assert await asyncio.wrap_future(future) == 32
                with pytest.raises(ZeroDivisionError):
                    await asyncio.wrap_future(executor.submit(lambda: 1 // 0))
                release = occupy(executor)
                pending = executor.submit(int)
                wrapped = asyncio.wrap_future(pending)
                wrapped.cancel()
                await asyncio.sleep(0)
                assert pending.cancelled()
                release.set()

        asyncio.run(main())

    def test_map_takes_several_iterables_and_stops_at_the_shortest(self):
        with self.make(2) as executor:
            assert list(executor.map(pow, [2, 3, 4], itertools.count(1))) == [2, 9, 64]
            assert list(executor.map(pow, range(10), range(10), chunksize=3)) == [
                i**i for i in range(10)
            ]
            assert list(executor.map(int, [])) == []

    def test_map_begins_without_being_read(self):
        ran = []
        with self.make(2) as executor:
            executor.map(ran.append, range(20))
        assert sorted(ran) == list(range(20))

    def test_map_raises_where_a_call_failed(self):
        with self.make(2) as executor:
            results = executor.map(lambda n: 6 // n, [3, 2, 0, 1])
            assert [next(results), next(results)] == [2, 3]
            with pytest.raises(ZeroDivisionError):
                next(results)
            with pytest.raises(StopIteration):
                next(results)

    def test_map_raises_what_its_iterable_raises(self):
        def arguments():
            yield 1
            raise LookupError

        with self.make(1) as executor, pytest.raises(LookupError):
            executor.map(int, arguments())

    def test_a_map_that_takes_too_long_begins_no_further_calls(self):
        ran = []
        with self.make(1) as executor:
            release = occupy(executor)
            results = executor.map(ran.append, range(3), timeout=0.01)
            with pytest.raises(TimeoutError):
                next(results)
            release.set()
        assert ran == []

    def test_a_map_that_is_closed_begins_no_further_calls(self):
        ran = []
        with self.make(1) as executor:
            gate = threading.Event()
            results = executor.map(lambda n: ran.append(n) or (n > 0 and gate.wait(30)), range(9))
            next(results)
            while len(ran) < 2:
                pass
            results.close()
            gate.set()
        assert ran == [0, 1]

    def test_map_keeps_no_results(self):
        class Result:
            pass

        with self.make(2) as executor:
            for result in executor.map(lambda _: Result(), range(20)):
                gone = weakref.ref(result)
                del result
                gc.collect()
                assert gone() is None

    def test_a_subclass_sees_every_submission(self):
        class Counting(self.make):
            calls = 0

            def submit(self, fn, /, *args, **kwargs):
                self.calls += 1
                return super().submit(fn, *args, **kwargs)

        with Counting(1) as executor:
            assert list(executor.map(abs, [-1, 2])) == [1, 2]
            assert executor.calls == 2

    def test_threads_are_named_and_reused(self):
        with self.make(3, "mine") as executor:
            for _ in range(5):
                executor.submit(int).result(5)
            assert {thread.name for thread in executor._threads} == {"mine_0"}
        with self.make(1) as executor:
            name = executor.submit(lambda: threading.current_thread().name).result(5)
            assert name.startswith(f"{self.make.__name__}-")
            assert name.endswith("_0")

    def test_an_initializer_that_wants_to_exit_breaks_the_executor(self, caplog):
        executor = self.make(1, initializer=sys.exit)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            executor.submit(int).result(5)
        executor.shutdown()
        assert "Exception in initializer" in caplog.text

    def test_a_cancelled_future_does_not_keep_shutdown_waiting(self):
        executor = self.make(1)
        executor.submit(int).result(5)
        executor.submit(int).cancel()
        executor.shutdown()

    def test_submission_from_a_callback(self):
        with self.make(1) as executor:
            inner = concurrent.futures.Future()
            future = executor.submit(int)
            future.add_done_callback(lambda _: inner.set_result(executor.submit(int, "4")))
            assert inner.result(5).result(5) == 4

    @pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers")
    def test_a_signal_handler_runs_while_the_main_thread_waits(self):
        script = (
            f"from {self.make.__module__} import {self.make.__name__} as make\n"
            "import signal, threading\n"
            "release = threading.Event()\n"
            "signal.signal(signal.SIGALRM, lambda *_: (print('alarm'), release.set()))\n"
            "with make(1) as executor:\n"
            "    future = executor.submit(release.wait)\n"
            "    signal.setitimer(signal.ITIMER_REAL, 0.1)\n"
            "    print(future.result())\n"
            "    def interrupt(*_): raise KeyboardInterrupt\n"
            "    signal.signal(signal.SIGALRM, interrupt)\n"
            "    release.clear()\n"
            "    future = executor.submit(release.wait)\n"
            "    signal.setitimer(signal.ITIMER_REAL, 0.1)\n"
            "    try: future.result()\n"
            "    except KeyboardInterrupt: print('interrupted')\n"
            "    release.set()\n"
        )
        assert run_script(script).split() == ["alarm", "True", "interrupted"]

    def test_submission_at_exit_is_refused(self):
        script = (
            f"from {self.make.__module__} import {self.make.__name__} as make\n"
            "import atexit\n"
            "executor = make(1)\n"
            "def late():\n"
            "    try: executor.submit(int)\n"
            "    except RuntimeError as error: print(error)\n"
            "atexit.register(late)\n"
            "executor.submit(int).result()\n"
        )
        assert "cannot schedule new futures after" in run_script(script)

    def test_the_interpreter_exits_although_nobody_waited(self):
        script = (
            f"from {self.make.__module__} import {self.make.__name__} as make\n"
            "import time\n"
            "executor = make(3)\n"
            "executor.submit(lambda: (time.sleep(0.2), print('apple', flush=True)))\n"
            "executor.shutdown(wait=False)\n"
        )
        assert run_script(script) == "apple\n"

    @pytest.mark.parametrize("pending", [0, 200])
    def test_the_interpreter_exits_after_the_pending_work(self, pending):
        script = (
            f"from {self.make.__module__} import {self.make.__name__} as make\n"
            f"executor = make(2)\n"
            f"futures = [executor.submit(pow, i, 2) for i in range({pending})]\n"
            f"if futures: futures[-1].add_done_callback(lambda f: print('done', flush=True))\n"
        )
        ended = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
        )
        assert ended.stderr == ""
        assert ended.stdout == ("done\n" if pending else "")


class TestThreadPoolExecutor(ExecutorContract):
    make = concurrent.futures.ThreadPoolExecutor


class TestWorkStealingExecutor(ExecutorContract):
    make = WorkStealingExecutor

    def test_a_task_runs_in_the_context_of_its_submission(self):
        variable = contextvars.ContextVar("variable", default="unset")
        with self.make(1) as executor:
            variable.set("caller")
            assert executor.submit(variable.get).result(5) == "caller"
            executor.submit(variable.set, "task").result(5)
            assert executor.submit(variable.get).result(5) == "caller"

    def test_statistics_count_what_was_done(self):
        with self.make(2) as executor:
            for _ in range(100):
                executor.submit(int)
        stats = executor.stats()
        assert stats.submitted == stats.started == stats.run.count == 100
        assert stats.queued == stats.workers == 0

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_a_forked_child_has_a_usable_executor(self):
        with self.make(2) as executor:
            begun, release = threading.Event(), threading.Event()
            busy = executor.submit(lambda: begun.set() or release.wait(5))
            assert begun.wait(5)
            child = os.fork()
            if child == 0:
                usable = executor.submit(pow, 2, 5).result(5) == 32
                executor.shutdown()
                os._exit(0 if usable else 1)
            release.set()
            assert busy.result(5)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def test_parked_threads_use_no_processor_time(self):
        script = (
            "import time, threading\n"
            "from overdrive import WorkStealingExecutor\n"
            "executor = WorkStealingExecutor(64)\n"
            "gate = threading.Barrier(64)\n"
            "[f.result() for f in [executor.submit(gate.wait) for _ in range(64)]]\n"
            "before = time.process_time(); threading.Event().wait(1.0)\n"
            "print(time.process_time() - before)\n"
        )
        used = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
        ).stdout
        assert float(used) < 0.05
