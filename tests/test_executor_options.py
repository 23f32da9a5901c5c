"""What the executor does beyond the standard library's: bounds, keys, priorities, help."""

import concurrent.futures
import contextvars
import gc
import os
import queue
import threading
import weakref

import pytest

from overdrive.errors import QueueFullError
from overdrive.executor import WorkStealingExecutor


def occupy(executor):
    """Occupy one thread of an executor until the returned event is set."""
    begun, release = threading.Event(), threading.Event()
    executor.submit(lambda: begun.set() or release.wait(30))
    assert begun.wait(30)
    return release


class TestBoundedQueue:
    def test_reject_raises(self):
        with WorkStealingExecutor(1, max_queue=2, when_full="reject") as executor:
            release = occupy(executor)
            futures = [executor.submit(int, i) for i in range(2)]
            with pytest.raises(QueueFullError, match="2 calls wait") as raised:
                executor.submit(int)
            assert isinstance(raised.value, queue.Full)
            release.set()
            assert [future.result(30) for future in futures] == [0, 1]
            assert executor.submit(int, "3").result(30) == 3

    def test_block_waits_for_room(self):
        with WorkStealingExecutor(1, max_queue=1) as executor:
            release = occupy(executor)
            executor.submit(int)
            submitted = []
            thread = threading.Thread(target=lambda: submitted.append(executor.submit(int, "5")))
            thread.start()
            thread.join(0.05)
            assert submitted == []
            release.set()
            thread.join(30)
            assert submitted[0].result(30) == 5

    def test_a_blocked_submission_is_refused_by_shutdown(self):
        executor = WorkStealingExecutor(1, max_queue=1)
        release = occupy(executor)
        executor.submit(int)
        refused = []

        def submit():
            try:
                executor.submit(int)
            except RuntimeError as error:
                refused.append(error)

        thread = threading.Thread(target=submit)
        thread.start()
        thread.join(0.05)
        executor.shutdown(wait=False)
        thread.join(30)
        assert "after shutdown" in str(refused[0])
        release.set()
        executor.shutdown()

    def test_a_task_that_submits_to_its_own_full_executor_works_instead_of_waiting(self):
        with WorkStealingExecutor(1, max_queue=1) as executor:
            outer = executor.submit(lambda: [executor.submit(int, i) for i in range(20)])
            assert [future.result(30) for future in outer.result(30)] == list(range(20))

    def test_the_caller_runs_what_does_not_fit(self):
        with WorkStealingExecutor(1, max_queue=1, when_full="caller_runs") as executor:
            release = occupy(executor)
            waiting = executor.submit(threading.get_ident)
            variable = contextvars.ContextVar("variable")
            here = executor.submit(lambda: variable.set(1) and threading.get_ident())
            assert here.result(0) == threading.get_ident()
            assert variable.get(None) is None
            failed = executor.submit(lambda: 1 // 0)
            assert isinstance(failed.exception(0), ZeroDivisionError)
            release.set()
            assert waiting.result(30) != threading.get_ident()

    def test_the_oldest_is_dropped_and_its_future_cancelled(self):
        with WorkStealingExecutor(1, max_queue=2, when_full="drop_oldest") as executor:
            release = occupy(executor)
            futures = [executor.submit(int, i) for i in range(5)]
            release.set()
            concurrent.futures.wait(futures, 30)
            assert [future.cancelled() for future in futures] == [True] * 3 + [False] * 2

    def test_map_and_submit_many_keep_to_the_bound(self):
        with WorkStealingExecutor(1, max_queue=2, when_full="reject") as executor:
            release = occupy(executor)
            with pytest.raises(QueueFullError):
                executor.map(int, range(5))
            with pytest.raises(QueueFullError):
                executor.submit_many(int, range(5))
            release.set()
        with WorkStealingExecutor(2, max_queue=2) as executor:
            assert list(executor.map(int, range(50))) == list(range(50))

    @pytest.mark.parametrize("options", [{"max_queue": 0}, {"max_queue": -1}])
    def test_a_bound_must_be_positive(self, options):
        with pytest.raises(ValueError, match="max_queue must be greater than 0"):
            WorkStealingExecutor(1, **options)

    def test_a_policy_must_be_known(self):
        with pytest.raises(ValueError, match=r"when_full must be one of .* got 'panic'"):
            WorkStealingExecutor(1, max_queue=1, when_full="panic")


class TestManyAtOnce:
    def test_submit_many_returns_a_future_for_each_call(self):
        with WorkStealingExecutor(2) as executor:
            futures = executor.submit_many(pow, range(100), [2] * 200)
            assert [future.result(30) for future in futures] == [i * i for i in range(100)]
            assert executor.submit_many(int, []) == []

    def test_submit_many_starts_as_many_threads_as_it_needs(self):
        together = threading.Barrier(4)
        with WorkStealingExecutor(4) as executor:
            futures = executor.submit_many(lambda _: together.wait(30), range(4))
            assert sorted(future.result(30) for future in futures) == [0, 1, 2, 3]

    def test_map_uses_all_threads(self):
        together = threading.Barrier(4)
        with WorkStealingExecutor(4) as executor:
            assert len(list(executor.map(lambda _: together.wait(30), range(8)))) == 8

    def test_a_buffer_bounds_how_far_map_reads_ahead(self):
        read = []

        def arguments():
            for i in range(10):
                read.append(i)
                yield i

        with WorkStealingExecutor(2) as executor:
            results = executor.map(str, arguments(), buffersize=3)
            assert read == [0, 1, 2]
            assert next(results) == "0"
            assert read == [0, 1, 2, 3]
            assert list(results) == [str(i) for i in range(1, 10)]

    def test_a_bad_buffer_is_refused(self):
        with WorkStealingExecutor(1) as executor:
            with pytest.raises(ValueError, match="buffersize must be None or > 0"):
                executor.map(int, [1], buffersize=0)
            with pytest.raises(TypeError, match="buffersize must be an integer or None"):
                executor.map(int, [1], buffersize="1")

    def test_other_tasks_get_their_turn_during_a_long_map(self):
        with WorkStealingExecutor(1) as executor:
            gate = threading.Event()
            results = executor.map(lambda i: i > 0 or gate.wait(30), range(10_000))
            order = []
            other = executor.submit(order.append, "other")
            last = executor.submit(order.append, "last")
            gate.set()
            other.result(30)
            last.result(30)
            assert order == ["other", "last"]
            assert sum(1 for _ in results) == 10_000

    def test_a_map_can_be_cancelled_by_shutdown(self):
        executor = WorkStealingExecutor(1)
        release = occupy(executor)
        results = executor.map(int, range(5))
        executor.shutdown(wait=False, cancel_futures=True)
        release.set()
        with pytest.raises(concurrent.futures.CancelledError):
            next(results)
        executor.shutdown()

    def test_a_map_fails_when_the_executor_breaks(self, caplog):
        executor = WorkStealingExecutor(1, initializer=lambda: 1 // 0)
        with pytest.raises(concurrent.futures.BrokenExecutor):
            list(executor.map(int, range(5)))
        executor.shutdown()
        assert "Exception in initializer" in caplog.text

    def test_each_item_of_a_map_has_its_own_context(self):
        variable = contextvars.ContextVar("variable", default=0)
        with WorkStealingExecutor(2) as executor:
            variable.set(7)
            seen = list(executor.map(lambda i: (variable.get(), variable.set(i))[0], range(50)))
        assert seen == [7] * 50


class TestKeys:
    def test_calls_of_a_key_keep_their_order_and_never_overlap(self):
        inside, order = [], []

        def step(i):
            inside.append(i)
            assert inside == [i]
            order.append(i)
            inside.remove(i)

        with WorkStealingExecutor(4) as executor:
            lane = executor.with_options(key="agent")
            futures = [lane.submit(step, i) for i in range(500)]
            for future in futures:
                future.result(30)
        assert order == list(range(500))

    def test_calls_of_different_keys_run_together(self):
        together = threading.Barrier(3)
        with WorkStealingExecutor(3) as executor:
            futures = [executor.with_options(key=key).submit(together.wait, 30) for key in "abc"]
            assert sorted(future.result(30) for future in futures) == [0, 1, 2]

    def test_keys_take_turns(self):
        order = []
        with WorkStealingExecutor(1) as executor:
            release = occupy(executor)
            for key in ("a", "b"):
                lane = executor.with_options(key=key)
                for _ in range(5):
                    lane.submit(order.append, key)
            release.set()
        assert order == ["a", "b"] * 5

    def test_a_failing_call_does_not_stop_its_lane(self):
        with WorkStealingExecutor(2) as executor:
            lane = executor.with_options(key=1)
            failed = lane.submit(lambda: 1 // 0)
            assert lane.submit(int, "3").result(30) == 3
            assert isinstance(failed.exception(30), ZeroDivisionError)

    def test_a_cancelled_call_leaves_its_lane(self):
        with WorkStealingExecutor(1) as executor:
            release = occupy(executor)
            lane = executor.with_options(key=1)
            first, second = lane.submit(int, "1"), lane.submit(int, "2")
            assert first.cancel()
            release.set()
            assert second.result(30) == 2

    def test_equal_keys_share_a_lane_and_keys_may_use_the_executor(self):
        with WorkStealingExecutor(2) as executor:

            class Key:
                def __init__(self, name):
                    self.name = name

                def __hash__(self):
                    return 1

                def __eq__(self, other):
                    executor.submit(int).result(30)
                    return isinstance(other, Key) and self.name == other.name

            order = []
            for i in range(40):
                executor.with_options(key=Key(i % 2)).submit(order.append, i)
            executor.shutdown()
            assert [i for i in order if i % 2] == list(range(1, 40, 2))
            assert len(executor._lane_stats()) == 2

    def test_a_key_that_cannot_be_compared_raises(self):
        class Bad:
            def __hash__(self):
                return 1

            def __eq__(self, other):
                raise LookupError

        with WorkStealingExecutor(1) as executor:
            executor.with_options(key=Bad()).submit(int).result(30)
            with pytest.raises(LookupError):
                executor.with_options(key=Bad()).submit(int)
            with pytest.raises(TypeError, match="unhashable"):
                executor.with_options(key=[]).submit(int)

    def test_lane_statistics_tell_waits_and_runs(self):
        with WorkStealingExecutor(1) as executor:
            release = occupy(executor)
            lane = executor.with_options(key=("agent", 1))
            futures = [lane.submit(int) for _ in range(3)]
            assert executor.lane_stats()["agent", 1].queued == 3
            assert executor.stats().queued == 3
            release.set()
            for future in futures:
                future.result(30)
            executor.shutdown()
            stats = executor.lane_stats()["agent", 1]
            assert (stats.tasks, stats.queued) == (3, 0)
            assert stats.max_queue_wait <= stats.queue_wait

    def test_idle_lanes_are_forgotten(self):
        class Key:
            pass

        with WorkStealingExecutor(1) as executor:
            key = Key()
            executor.with_options(key=key).submit(int).result(30)
            gone = weakref.ref(key)
            del key
            for i in range(3000):
                executor.with_options(key=i).submit(int).result(30)
            assert gone() is None
            assert len(executor.lane_stats()) < 3000

    def test_shutdown_cancels_what_waits_in_lanes(self):
        executor = WorkStealingExecutor(1)
        begun, release = threading.Event(), threading.Event()
        lane = executor.with_options(key=1)
        lane.submit(lambda: begun.set() or release.wait(30))
        futures = [lane.submit(int) for _ in range(5)]
        assert begun.wait(30)
        executor.shutdown(wait=False, cancel_futures=True)
        assert all(future.cancelled() for future in futures)
        release.set()
        executor.shutdown()


class TestPrioritiesAndDeadlines:
    def test_higher_priorities_begin_first(self):
        order = []
        with WorkStealingExecutor(1) as executor:
            release = occupy(executor)
            for priority in (0, -5, 9, 1):
                executor.with_options(priority=priority).submit(order.append, priority)
            executor.submit(order.append, "plain")
            release.set()
        assert order == [9, 1, 0, "plain", -5]
        assert executor.stats().priorities[9].tasks == 1

    def test_a_call_with_a_key_may_have_a_priority(self):
        order = []
        with WorkStealingExecutor(1) as executor:
            release = occupy(executor)
            executor.submit(order.append, "plain")
            executor.with_options(key="k", priority=3).submit(order.append, "urgent")
            release.set()
        assert order == ["urgent", "plain"]

    def test_a_call_that_is_too_late_does_not_run(self):
        ran = []
        with WorkStealingExecutor(1) as executor:
            release = occupy(executor)
            late = executor.with_options(deadline=0).submit(ran.append, 1)
            timely = executor.with_options(deadline=30).submit(ran.append, 2)
            release.set()
            with pytest.raises(TimeoutError, match="beyond its deadline"):
                late.result(30)
            timely.result(30)
        assert ran == [2]
        assert executor.stats().expired == 1

    def test_a_deadline_must_not_be_negative(self):
        with WorkStealingExecutor(1) as executor, pytest.raises(ValueError, match="got -1"):
            executor.with_options(deadline=-1)

    def test_a_view_is_an_executor(self):
        with WorkStealingExecutor(2) as executor:
            view = executor.with_options(priority=1)
            assert isinstance(view, concurrent.futures.Executor)
            assert list(view.map(pow, [2, 3], [2, 2])) == [4, 9]
            assert [f.result(30) for f in view.submit_many(int, "123")] == [1, 2, 3]
            future = view.submit(lambda **kwargs: kwargs, key=1, priority=2, deadline=3)
            assert future.result(30) == {"key": 1, "priority": 2, "deadline": 3}
            with view:
                pass
            assert executor.submit(int).result(30) == 0


class TestHelp:
    def test_tasks_may_wait_for_tasks_deeper_than_there_are_threads(self):
        with WorkStealingExecutor(2) as executor:

            def fibonacci(n):
                if n < 2:
                    return n
                parts = [executor.submit(fibonacci, n - 1), executor.submit(fibonacci, n - 2)]
                return sum(part.result() for part in parts)

            assert executor.submit(fibonacci, 12).result(30) == 144

    def test_tasks_may_wait_for_maps(self):
        with WorkStealingExecutor(1) as executor:
            outer = executor.submit(lambda: list(executor.map(abs, [-1, -2, -3])))
            assert outer.result(30) == [1, 2, 3]

    def test_an_awaited_call_runs_in_its_own_context(self):
        variable = contextvars.ContextVar("variable", default="unset")
        with WorkStealingExecutor(1) as executor:

            def outer():
                inner = executor.submit(lambda: (variable.get(), variable.set("inner"))[0])
                variable.set("outer")
                return inner.result(), variable.get()

            assert executor.submit(outer).result(30) == ("unset", "outer")

    def test_only_the_awaited_call_is_run(self):
        with WorkStealingExecutor(1) as executor:
            ran = []

            def outer():
                executor.submit(ran.append, "other")
                wanted = executor.submit(ran.append, "wanted")
                executor.submit(ran.append, "another")
                wanted.result()
                return list(ran)

            assert executor.submit(outer).result(30) == ["wanted"]
        assert sorted(ran) == ["another", "other", "wanted"]
        assert executor.stats().started == 4

    def test_a_task_can_wait_without_helping(self):
        with WorkStealingExecutor(1) as executor:

            def outer():
                inner = executor.submit(int)
                with pytest.raises(TimeoutError):
                    inner.result(0.01, help=False)
                return inner

            assert executor.submit(outer).result(30).result(30) == 0

    def test_other_threads_do_not_run_what_they_wait_for(self):
        with WorkStealingExecutor(1) as executor, WorkStealingExecutor(1) as other:
            release = occupy(executor)
            future = executor.submit(threading.get_ident)
            waiting = other.submit(future.result)
            with pytest.raises(TimeoutError):
                future.result(0.01)
            release.set()
            assert waiting.result(30) == next(iter(executor._threads)).ident

    def test_a_call_of_a_key_is_not_run_out_of_turn(self):
        with WorkStealingExecutor(2) as executor:
            release = threading.Event()
            lane = executor.with_options(key=1)
            order = []
            lane.submit(lambda: release.wait(30) and order.append(1))
            second = lane.submit(order.append, 2)

            def wait():
                release.set()
                second.result()

            executor.submit(wait).result(30)
        assert order == [1, 2]

    def test_help_raises_what_is_meant_for_the_thread(self):
        with WorkStealingExecutor(1) as executor:
            release = occupy(executor)

            def interrupt():
                raise KeyboardInterrupt

            future = executor.submit(interrupt)
            with pytest.raises(KeyboardInterrupt):
                executor.help()
            assert isinstance(future.exception(0), KeyboardInterrupt)
            assert executor.help() is False
            release.set()

    def test_another_thread_stands_in_for_one_that_announced_to_wait(self):
        with WorkStealingExecutor(1) as executor:
            gate = threading.Event()

            def wait():
                with executor.blocking():
                    return gate.wait(30)

            waiting = executor.submit(wait)
            executor.submit(gate.set).result(30)
            assert waiting.result(30)
        with executor.blocking():
            pass


class TestLifeAndDeath:
    def test_an_executor_that_was_not_set_up_says_so(self):
        class Forgetful(WorkStealingExecutor):
            def __init__(self):
                pass

        with pytest.raises(RuntimeError, match=r"super\(\).__init__"):
            Forgetful().submit(int)

    def test_a_future_is_freed_with_a_cycle_through_its_callback(self):
        with WorkStealingExecutor(1) as executor:
            release = occupy(executor)
            future = executor.submit(int)
            future.add_done_callback(lambda f, future=future: None)
            future.itself = future
            gone = weakref.ref(future)
            release.set()
            future.result(30)
            executor.submit(int).result(30)
            del future
            gc.collect()
            assert gone() is None

    def test_a_dropped_bounded_executor_finishes(self):
        executor = WorkStealingExecutor(1, "bounded", max_queue=5)
        futures = [executor.submit(int, i) for i in range(5)]
        del executor
        assert [future.result(30) for future in futures] == list(range(5))

    def test_a_full_pool_of_statistics(self):
        with WorkStealingExecutor(2) as executor:
            executor.submit(int).result(30)
            executor.shutdown()
            stats = executor.stats()
            assert stats.queue_wait.count == stats.run.count == 1
            assert 0 <= stats.run.p50 <= stats.run.p999 <= stats.run.max <= stats.run.total
            assert stats.gil_wait.count >= 1
            assert executor.get_stats()["run"]["count"] == 1

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_children_of_a_busy_executor_work_and_exit(self):
        stop = threading.Event()
        with WorkStealingExecutor(3) as executor:

            def churn():
                while not stop.is_set():
                    list(executor.map(abs, range(-50, 0)))

            churning = threading.Thread(target=churn)
            churning.start()
            try:
                for _ in range(10):
                    child = os.fork()
                    if child == 0:
                        works = executor.submit(pow, 2, 5).result(20) == 32
                        works = works and list(executor.map(abs, [-1])) == [1]
                        executor.shutdown()
                        os._exit(0 if works else 1)
                    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            finally:
                stop.set()
                churning.join(30)

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
    @pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
    def test_an_executor_that_was_shut_down_stays_so_in_a_child(self):
        executor = WorkStealingExecutor(1)
        executor.shutdown()
        child = os.fork()
        if child == 0:
            try:
                executor.submit(int)
            except RuntimeError:
                os._exit(0)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
