"""Parts of the package tell the monitor what they do, once, without being asked."""

import asyncio
import gc
import os
import threading

import pytest

from overdrive import sources
from overdrive._core import Histogram, attribute_seconds, current_timing
from overdrive.agents import OptimizedAgentManager
from overdrive.api import PerformanceConfig, PerformanceMiddleware
from overdrive.executor import WorkStealingExecutor
from overdrive.observability import PerformanceMonitor

pytest.importorskip("psutil")

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")


class Echo:
    def step(self, observation):
        return observation


async def answer(_scope, _receive, send):
    attribute_seconds(database=1e-6)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"here"})


async def ask(app, path="/"):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "scheme": "http",
        "query_string": b"", "headers": [(b"host", b"here")], "server": ("here", 80),
        "http_version": "1.1",
    }  # fmt: skip
    await app(scope, receive, send)
    return sent


@pytest.fixture
def monitor():
    return PerformanceMonitor()


def counted(monitor, kind):
    return monitor.get_performance_report()["latency"][kind]["count"]


def test_steps_of_a_manager_are_counted(monitor):
    with OptimizedAgentManager() as manager:
        for number in range(10):
            manager.register_agent(number, Echo())
        manager.step_agents(dict.fromkeys(range(10)))
        assert counted(monitor, "agents") == 10


def test_a_step_that_is_timed_by_hand_is_counted_once(monitor):
    with OptimizedAgentManager() as manager:
        manager.register_agent("scout", Echo())
        with monitor.time_agent_step("Echo"):
            manager.step_agent("scout", None)
        assert counted(monitor, "agents") == 1


def test_what_a_part_did_stays_counted_when_it_is_gone(monitor):
    manager = OptimizedAgentManager()
    manager.register_agent("scout", Echo())
    manager.step_agent("scout", None)
    manager.shutdown()
    del manager
    gc.collect()
    assert counted(monitor, "agents") == 1


def test_a_monitor_counts_from_when_it_is_made():
    with OptimizedAgentManager() as manager:
        manager.register_agent("scout", Echo())
        manager.step_agent("scout", None)
        assert counted(PerformanceMonitor(), "agents") == 0


def test_requests_are_counted_once_also_where_middlewares_are_nested(monitor):
    config = PerformanceConfig(caching_enabled=False, deduplication_enabled=False)
    app = PerformanceMiddleware(PerformanceMiddleware(answer, config), config)
    asyncio.run(ask(app))
    assert counted(monitor, "api") == 1


def test_a_request_that_the_application_times_is_counted_once(monitor):
    async def application(scope, receive, send):
        with monitor.time_api_request("/"):
            await answer(scope, receive, send)

    asyncio.run(ask(PerformanceMiddleware(application)))
    assert counted(monitor, "api") == 1


def test_a_request_knows_what_its_time_went_into():
    app = PerformanceMiddleware(answer)
    asyncio.run(ask(app))
    [(_, mean, parts)] = [app._feed.snapshot().parts(0.5)]
    _, _, database, _ = parts
    assert 0 < database <= mean
    assert current_timing() is None


def test_a_failing_request_is_an_error(monitor):
    async def application(_scope, _receive, _send):
        raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(ask(PerformanceMiddleware(application)))
    report = monitor.get_performance_report()
    assert report["latency"]["api"]["errors"] == 1
    assert current_timing() is None


def test_a_query_in_a_query_timed_by_hand_is_counted_once():
    by_hand, by_pool = Histogram("database"), Histogram("database", fed=True)
    with by_hand.time():
        by_pool.note(0.5)
    by_pool.note(0.5)
    assert (by_hand.snapshot().count, by_pool.snapshot().count) == (1, 1)


def test_parts_are_never_more_than_the_whole():
    histogram = Histogram("api", fed=True)
    timing = histogram.open()
    attribute_seconds(database=1000.0, queue=3000.0)
    timing.stop()
    timing.leave()
    _, mean, (_, queue, database, _) = histogram.snapshot().parts(1.0)
    assert queue + database == pytest.approx(mean)
    assert queue == pytest.approx(3 * database)


def test_an_executor_tells_its_waits_also_when_it_is_gone():
    before = sources.durations()
    with WorkStealingExecutor(2) as executor:
        executor.submit(int).result()
        assert any(source.figures().get("workers") for source in sources.live())
    del executor
    gc.collect()
    after = sources.durations()
    for name in ("queue_wait", "run"):
        old = before[name].count if name in before else 0
        assert after[name].count == old + 1


def test_threads_announce_and_read_at_once():
    made = []

    def announce():
        for _ in range(50):
            manager = OptimizedAgentManager()
            made.append(manager._counts.feed)
            sources.durations()

    threads = [threading.Thread(target=announce) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(feed) for feed in made}) == 200


@needs_fork
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_begins_at_zero():
    with OptimizedAgentManager() as manager:
        manager.register_agent("scout", Echo())
        manager.step_agent("scout", None)
        pid = os.fork()
        if pid == 0:
            zero = sources.durations()["agents"].count == 0
            manager.step_agent("scout", None)
            one = sources.durations()["agents"].count == 1
            os._exit(0 if zero and one else 1)
        _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        assert sources.durations()["agents"].count >= 1
