"""The monitor reads, reports and alerts; it stops cleanly and keeps nothing alive."""

import asyncio
import gc
import logging
import math
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

from overdrive import OverdriveError
from overdrive._core import GcMeter, GilSampler, Histogram
from overdrive.observability import (
    PerformanceMonitor,
    Threshold,
    get_performance_monitor,
    get_performance_report,
    performance_monitor,
)
from overdrive.observability.loops import LoopWatch
from overdrive.observability.readings import Gil, Reading, rates
from overdrive.observability.threads import ThreadSamples

pytest.importorskip("psutil")

HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
needs_gil = pytest.mark.skipif(not HAS_GIL, reason="needs a global interpreter lock")
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


@pytest.fixture
def monitor():
    monitor = PerformanceMonitor(interval=0.01, gil_interval=0.001)
    yield monitor
    monitor.stop_monitoring()


def until(condition):
    """Wait for something that another thread does; the test's timeout ends it."""
    while not condition():
        threading.Event().wait(0.005)


def run(code):
    """Run code in a fresh interpreter, which has to end by itself and say nothing wrong."""
    command = [sys.executable, "-I", "-W", "error", "-c", textwrap.dedent(code)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=50)


class TestTiming:
    def test_each_kind_is_counted_apart(self, monitor):
        with monitor.time_api_request():
            with monitor.time_db_query():
                pass
            with monitor.time_db_query("SELECT 1"):
                pass
        with monitor.time_agent_step("Scout"):
            pass
        with monitor.time_websocket_message("/live"):
            pass
        latency = monitor.get_performance_report()["latency"]
        counts = {name: figures["count"] for name, figures in latency.items()}
        assert counts == {"api": 1, "database": 2, "agents": 1, "websocket": 1}

    def test_an_exception_is_an_error_and_goes_on(self, monitor):
        with pytest.raises(LookupError), monitor.time_api_request("/missing"):
            raise LookupError
        assert monitor.get_performance_report()["latency"]["api"]["errors"] == 1

    def test_labels_are_bounded(self, monitor):
        for number in range(200):
            with monitor.time_db_query(f"SELECT {number}"):
                pass
        assert len(monitor._timed["database"].series()) == 101
        assert monitor.get_performance_report()["latency"]["database"]["count"] == 200

    def test_the_module_times_with_the_monitor_of_the_process(self):
        def count():
            return get_performance_report()["latency"]["agents"]["count"]

        before = count()
        with performance_monitor.time_agent_step():
            pass
        assert count() == before + 1
        assert get_performance_monitor() is performance_monitor.get_performance_monitor()


KEYS = {
    "cpu_usage", "system_cpu_usage", "memory_usage", "memory_rss_bytes", "thread_count",
    "context_switches_per_second", "involuntary_switches_per_second", "gil_contention",
    "gc_time_share", "gc_pause_ms", "gc_collections_per_second", "api_response_time_ms",
    "api_requests_per_second", "db_query_time_ms", "db_queries_per_second",
    "agent_step_time_ms", "agent_steps_per_second", "websocket_message_time_ms",
    "websocket_messages_per_second", "event_loop_lag_ms", "api_errors_per_second",
    "database_errors_per_second", "agents_errors_per_second", "websocket_errors_per_second",
}  # fmt: skip


class TestReport:
    def test_it_has_the_names_that_are_promised(self, monitor):
        report = monitor.get_performance_report()
        own = {name for name in report["current_metrics"] if "." not in name}
        assert own == KEYS
        assert {"performance_insights", "gil_contention", "alerts", "alert_history"} <= set(report)
        assert report["monitoring"] is False

    def test_a_healthy_report_has_numbers_and_no_alerts(self, monitor):
        monitor.start_monitoring()
        until(lambda: len(monitor._readings) > 2)
        report = monitor.get_performance_report()
        figures = report["current_metrics"]
        assert 0 <= figures["cpu_usage"] <= 100
        assert 0 < figures["memory_usage"] < 100
        assert figures["thread_count"] >= 2
        assert report["overhead"]["monitor_seconds"] > 0
        assert report["monitoring"] is True

    def test_contention_is_not_a_number_where_it_is_not_known(self, monitor):
        report = monitor.get_performance_report()
        assert math.isnan(report["current_metrics"]["gil_contention"])
        assert report["gil_contention"]["applicable"] is HAS_GIL
        assert report["gil_contention"]["reason"]

    @needs_gil
    def test_contention_is_a_share_while_it_is_monitored(self, monitor):
        monitor.start_monitoring()
        until(lambda: (monitor._gil.read()[0]) > 5)
        contention = monitor.get_performance_report()["gil_contention"]
        assert contention["applicable"] is True
        assert 0 <= contention["ratio"] <= 1
        assert contention["held_seconds"] <= contention["covered_seconds"]

    def test_sources_are_read_and_a_broken_one_is_left_out(self, monitor, caplog):
        monitor.add_source("db", lambda: {"size": 10, "in_use": 3})
        monitor.add_source("broken", lambda: {"x": 1 / 0})
        figures = monitor.get_performance_report()["current_metrics"]
        assert (figures["db.size"], figures["db.in_use"]) == (10, 3)
        assert "the source broken failed" in caplog.text
        monitor.remove_source("db")
        assert "db.size" not in monitor.get_performance_report()["current_metrics"]


def reading(at, **figures):
    timed = dict.fromkeys(("api", "database", "agents", "websocket", "loop"))
    zero = {
        "cpu_seconds": 0.0, "processors": 2, "system_cpu_seconds": 0.0, "system_processors": 4,
        "memory_rss_bytes": 1000, "memory_usage": 50.0, "thread_count": 3,
        "voluntary_switches": 0, "involuntary_switches": 0, "gil": None,
        "pauses": [Histogram().snapshot()] * 3,
        "durations": {name: Histogram().snapshot() for name in timed},
    }  # fmt: skip
    return Reading(at=at, **zero | figures)


class TestRates:
    def test_figures_are_about_the_time_between(self):
        before = reading(10, cpu_seconds=5, voluntary_switches=100, errors={"api": 1})
        now = reading(
            12, cpu_seconds=7, voluntary_switches=150, involuntary_switches=10, errors={"api": 5}
        )
        figures = rates(before, now)
        assert figures["cpu_usage"] == 50  # one of two processors
        assert figures["context_switches_per_second"] == 30
        assert figures["api_errors_per_second"] == 2

    def test_contention_is_held_over_covered(self):
        before = reading(0, gil=Gil(10, 2.0, 1.0, 0.1, None))
        now = reading(1, gil=Gil(20, 3.0, 1.75, 0.2, None))
        assert rates(before, now)["gil_contention"] == 0.75

    def test_a_sampler_that_began_anew_is_taken_as_it_is(self):
        before = reading(0, gil=Gil(100, 9.0, 9.0, 1.0, None))
        now = reading(1, gil=Gil(2, 1.0, 0.25, 0.1, None))
        assert rates(before, now)["gil_contention"] == 0.25

    def test_what_did_not_happen_has_no_duration(self):
        figures = rates(reading(0), reading(1))
        assert math.isnan(figures["api_response_time_ms"])
        assert figures["api_requests_per_second"] == 0


class TestLife:
    def test_it_starts_and_stops_twice(self, monitor):
        threads = set(threading.enumerate())
        for _ in range(2):
            monitor.start_monitoring()
            monitor.start_monitoring()
            assert monitor.is_monitoring
            assert len(set(threading.enumerate()) - threads) == 1
            assert gc.callbacks.count(monitor._meter) == 1
            monitor.stop_monitoring()
            monitor.stop_monitoring()
            assert not monitor.is_monitoring
            assert set(threading.enumerate()) <= threads
            assert monitor._meter not in gc.callbacks

    def test_it_is_a_context(self):
        with PerformanceMonitor() as monitor:
            assert monitor.is_monitoring
        assert not monitor.is_monitoring

    def test_many_threads_start_and_stop_it(self, monitor):
        def toggle():
            for _ in range(10):
                monitor.start_monitoring()
                monitor.stop_monitoring()

        threads = [threading.Thread(target=toggle) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not monitor.is_monitoring
        assert monitor._meter not in gc.callbacks

    def test_a_process_that_monitors_ends(self):
        ended = run("""
            import threading
            from overdrive.observability import start_performance_monitoring
            monitor = start_performance_monitoring()
            with monitor.time_api_request():
                pass
            threading.Thread(target=lambda: sum(range(10_000))).start()
        """)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")

    def test_a_callback_that_hangs_does_not_keep_the_process_alive(self):
        ended = run("""
            import threading
            from overdrive.observability import PerformanceMonitor
            monitor = PerformanceMonitor(interval=0.01)
            called = threading.Event()

            def hang(alert):
                called.set()
                threading.Event().wait()

            monitor.add_alert_callback(hang)
            monitor.set_thresholds({
                "memory_usage": {"warning": 0, "critical": 0, "for_seconds": 0}
            })
            monitor.start_monitoring()
            called.wait()
        """)
        assert ended.returncode == 0
        assert "Traceback" not in ended.stderr

    def test_a_callback_may_start_what_is_being_stopped(self, monitor):
        called = threading.Event()

        def start(_):
            called.set()
            monitor.start_monitoring()

        monitor.add_alert_callback(start)
        monitor.set_thresholds({"memory_usage": Threshold(0, 0, for_seconds=0)})
        monitor.start_monitoring()
        assert called.wait(30)
        monitor.stop_monitoring()
        assert not monitor.is_monitoring

    @needs_fork
    def test_a_forked_child_may_monitor_and_its_parent_goes_on(self):
        ended = run("""
            import os, gc, warnings
            from overdrive.observability import start_performance_monitoring
            warnings.simplefilter("ignore", DeprecationWarning)  # it forks with threads
            monitor = start_performance_monitoring()
            with monitor.time_api_request():
                pass
            child = os.fork()
            if child == 0:
                assert not monitor.is_monitoring
                assert monitor._meter not in gc.callbacks
                assert monitor.get_performance_report()["latency"]["api"]["count"] == 0
                start_performance_monitoring()
                assert monitor.is_monitoring
            else:
                assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
                assert monitor.is_monitoring
                assert monitor.get_performance_report()["latency"]["api"]["count"] == 1
        """)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


class TestAlerts:
    def test_callbacks_hear_of_alerts_and_one_that_fails_stops_nobody(self, monitor, caplog):
        heard = []
        monitor.add_alert_callback(lambda _: 1 / 0)
        monitor.add_alert_callback(heard.append)
        monitor.set_thresholds({"q.depth": {"warning": 5, "critical": 9, "for_seconds": 0}})
        depth = iter([0, 7, 7, 1])
        monitor.add_source("q", lambda: {"depth": next(depth)})
        with caplog.at_level(logging.INFO):
            for _ in range(4):
                monitor.sample()
        assert [(alert.severity, alert.resolved) for alert in heard] == [
            ("warning", False),
            ("warning", True),
        ]
        assert caplog.text.count("a callback for alerts failed") == 2
        assert monitor.get_alert_history() == heard
        assert monitor.get_active_alerts() == []

    def test_a_callback_may_use_the_monitor(self, monitor):
        reports = []
        monitor.set_thresholds({"q.depth": Threshold(5, 9, for_seconds=0)})
        monitor.add_source("q", lambda: {"depth": 7})
        monitor.add_alert_callback(lambda _: reports.append(monitor.get_performance_report()))
        monitor.start_monitoring()
        until(lambda: reports)
        monitor.stop_monitoring()
        assert reports[0]["alerts"][0].metric == "q.depth"

    def test_a_callback_that_would_wait_for_itself_is_told(self, monitor):
        raised = []

        def stop(_):
            try:
                monitor.stop_monitoring()
            except OverdriveError as error:
                raised.append(error)

        monitor.set_thresholds({"q.depth": Threshold(5, 9, for_seconds=0)})
        monitor.add_source("q", lambda: {"depth": 7})
        monitor.add_alert_callback(stop)
        monitor.start_monitoring()
        until(lambda: raised)
        assert monitor.is_monitoring

    def test_a_callback_that_is_removed_hears_nothing(self, monitor):
        heard = []
        monitor.add_alert_callback(heard.append)
        monitor.remove_alert_callback(heard.append)
        monitor.set_thresholds({"memory_usage": Threshold(0, 0, for_seconds=0)})
        monitor.sample()
        monitor.sample()
        assert heard == []
        assert len(monitor.get_active_alerts()) == 1


class TestInterpreterLock:
    @needs_gil
    def test_a_thread_that_keeps_the_lock_is_seen(self):
        sampler = GilSampler(0.001)
        while sampler.read()[0] < 20:
            pass
        sampler.stop()
        _, seconds, held, waited, _ = sampler.read()
        assert held / seconds > 0.5
        assert 0 < waited <= held

    @needs_gil
    def test_threads_that_wait_for_something_else_leave_it_free(self):
        sampler = GilSampler(0.001)
        until(lambda: sampler.read()[0] >= 20)
        sampler.stop()
        _, seconds, held, _, _ = sampler.read()
        assert held / seconds < 0.5

    def test_it_stops_twice_and_reads_on(self):
        sampler = GilSampler(3600)
        sampler.stop()
        sampler.stop()
        assert sampler.read()[0] == 0

    @pytest.mark.parametrize("interval", [0, -1, math.nan, math.inf])
    def test_an_interval_that_makes_no_sense_is_refused(self, interval):
        with pytest.raises(ValueError, match="interval"):
            GilSampler(interval)


class TestCollections:
    def test_pauses_are_told_apart_by_generation(self):
        meter = GcMeter()
        for generation in (0, 1, 1, 2):
            meter("start", {"generation": generation, "collected": 0, "uncollectable": 0})
            meter("stop", {"generation": generation, "collected": 2, "uncollectable": 1})
        assert [pauses.count for pauses in meter.pauses()] == [1, 2, 1]
        assert (meter.collected, meter.uncollectable) == (8, 4)

    def test_an_end_without_a_beginning_is_nothing(self):
        meter = GcMeter()
        meter("stop", {"generation": 2, "collected": 0, "uncollectable": 0})
        assert sum(pauses.count for pauses in meter.pauses()) == 0

    def test_the_collector_itself_is_measured(self, monitor):
        monitor.start_monitoring()
        gc.collect()
        assert monitor._meter.pauses()[2].count >= 1

    def test_a_storm_is_the_first_insight(self, monitor):
        gc.callbacks.append(monitor._meter)
        try:
            monitor.sample()
            for _ in range(5):
                gc.collect()
            monitor.sample()
        finally:
            gc.callbacks.remove(monitor._meter)
        assert monitor.get_insights()[0].cause == "gc"

    def test_a_timed_block_knows_how_much_of_it_was_collections(self):
        meter, histogram = GcMeter(), Histogram()
        gc.callbacks.append(meter)
        try:
            with histogram.time():
                gc.collect()
        finally:
            gc.callbacks.remove(meter)
        _, mean, collecting, _ = histogram.snapshot().tail(0.5)
        assert 0 < collecting <= mean


class TestEventLoop:
    def test_a_blocked_loop_is_found_once_with_its_stack(self, monitor):
        entered, go_on = threading.Event(), threading.Event()

        def blocks_the_loop():
            entered.set()
            go_on.wait()

        async def main():
            watch = monitor.watch_event_loop()
            await asyncio.sleep(0)
            assert watch._due is not None
            blocks_the_loop()
            return watch

        watches = []
        thread = threading.Thread(target=lambda: watches.append(asyncio.run(main())))
        thread.start()
        entered.wait()
        [watch] = monitor._watches
        now = time.monotonic()
        block = watch.check(now + 60)
        again = watch.check(now + 61)
        go_on.set()
        thread.join()
        assert "blocks_the_loop" in block.stack
        assert 59 < block.late < 61
        assert again is None
        assert watches[0].is_over

    def test_a_loop_that_is_on_time_is_not_blocked(self, monitor):
        async def main():
            watch = monitor.watch_event_loop()
            await asyncio.sleep(0)
            return watch.check(time.monotonic())

        assert asyncio.run(main()) is None

    def test_beats_are_recorded_and_end_with_the_watch(self):
        lag = Histogram()

        async def main():
            watch = LoopWatch(asyncio.get_running_loop(), lag)
            watch.start()
            await asyncio.to_thread(until, lambda: lag.snapshot().count >= 2)
            watch.stop()
            watch.stop()
            await asyncio.sleep(0)
            assert watch.is_over
            assert watch._handle.cancelled()

        asyncio.run(main())

    def test_a_loop_that_does_not_run_is_not_late(self):
        loop = asyncio.new_event_loop()
        watch = LoopWatch(loop, Histogram())
        watch.start()
        loop.run_until_complete(asyncio.sleep(0))
        assert watch.check(time.monotonic() + 60) is None
        loop.close()
        watch.stop()
        assert watch.is_over


class TestLocks:
    def test_threads_at_one_lock_are_a_crowd(self):
        lock, samples = threading.Lock(), ThreadSamples()

        def convoy():
            with lock:
                pass

        threads = [threading.Thread(target=convoy) for _ in range(4)]
        with lock:
            for thread in threads:
                thread.start()

            def all_there():
                samples.look()
                crowd = samples.crowd()
                return crowd is not None and crowd.threads > 3

            until(all_there)
        for thread in threads:
            thread.join()
        assert samples.crowd().place.endswith(" convoy")

    def test_threads_that_wait_for_work_are_no_crowd(self):
        done, samples = threading.Event(), ThreadSamples()
        threads = [threading.Thread(target=done.wait) for _ in range(5)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            samples.look()
        done.set()
        for thread in threads:
            thread.join()
        assert samples.crowd() is None
