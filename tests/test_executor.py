"""The executor behaves as the standard library's does; both pass the same contract."""

import asyncio
import concurrent.futures
import contextvars
import gc
import os
import subprocess
import sys
import threading
import weakref

import pytest

from overdrive import WorkStealingExecutor


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
