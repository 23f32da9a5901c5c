"""Causes are planted in a running process, and the monitor names them."""

import asyncio
import gc
import threading
import time

import pytest

from overdrive.observability import PerformanceMonitor

pytest.importorskip("psutil")


@pytest.fixture
def monitor():
    return PerformanceMonitor()


@pytest.fixture
def measured(monitor):
    """Have collections measured without the monitor's threads."""
    gc.callbacks.append(monitor._meter)
    yield monitor
    gc.callbacks.remove(monitor._meter)


def first(monitor):
    """Return the causes that are named, the first first."""
    monitor.sample()
    return [insight.cause for insight in monitor.get_insights()]


def test_a_slow_query_is_named_with_its_statement(monitor):
    monitor.sample()
    for _ in range(20):
        monitor._timed["database"].labels("SELECT * FROM flights").record(0.7)
        monitor._timed["database"].labels("SELECT 1").record(0.001)
        monitor._api.record(0.75)
    assert first(monitor)[0] == "database"
    assert "SELECT * FROM flights" in monitor.get_performance_report()["performance_insights"][0]


def test_an_exhausted_pool_is_named(monitor):
    pool = threading.Semaphore(2)
    waiting = []

    def borrow():
        waiting.append(threading.get_ident())
        pool.acquire()

    monitor.add_source(
        "sessions", lambda: {"size": 2, "in_use": 2 - pool._value, "waiting": len(waiting)}
    )
    pool.acquire()
    pool.acquire()
    threads = [threading.Thread(target=borrow) for _ in range(3)]
    monitor.sample()
    for thread in threads:
        thread.start()
    while len(waiting) < 3:
        threading.Event().wait(0.005)
    causes = first(monitor)
    pool.release(3)
    for thread in threads:
        thread.join()
    assert causes[0] == "pool"


def test_a_storm_of_collections_is_named(measured):
    cycles = []
    measured.sample()
    for _ in range(5):
        cycles.append(cycles)
        gc.collect()
    assert first(measured)[0] == "gc"


def test_a_lock_convoy_is_named_with_its_place(monitor):
    lock = threading.Lock()

    def save():
        with lock:
            pass

    threads = [threading.Thread(target=save) for _ in range(5)]
    monitor.sample()
    with lock:
        for thread in threads:
            thread.start()
        while (crowd := monitor._threads.crowd()) is None or crowd.share < 0.5:
            monitor._look()
        causes = first(monitor)
    for thread in threads:
        thread.join()
    assert causes[0] == "lock"
    [insight, *_] = monitor.get_insights()
    assert insight.evidence["at"].endswith(" save")


def test_a_blocked_loop_is_named_with_the_place(monitor):
    entered, go_on = threading.Event(), threading.Event()

    def parse():
        entered.set()
        go_on.wait()

    async def main():
        monitor.watch_event_loop()
        await asyncio.sleep(0)
        parse()

    monitor.sample()
    thread = threading.Thread(target=lambda: asyncio.run(main()))
    thread.start()
    entered.wait()
    block = monitor._watches[0].check(time.monotonic() + 10)
    monitor._blocks.append((time.monotonic(), block))
    causes = first(monitor)
    go_on.set()
    thread.join()
    assert causes[0] == "event_loop"
    assert "parse" in monitor.get_insights()[0].evidence["stack"]


def test_a_queue_is_named_with_its_share(monitor):
    monitor.sample()
    for _ in range(50):
        monitor._agents.record(0.2, waited=0.17)
    assert first(monitor)[0] == "queue"
    assert monitor.get_insights()[0].evidence["of_which_queue_ms"] == pytest.approx(170)


def test_a_healthy_process_has_no_insight(measured):
    measured.sample()
    for _ in range(100):
        with measured.time_api_request(), measured.time_db_query("SELECT 1"):
            pass
    busy = {"cpu", "memory"}  # of the machine, which others use too
    assert set(first(measured)) <= busy
