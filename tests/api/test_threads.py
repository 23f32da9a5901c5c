"""One middleware under several event loops, each in a thread of its own, and after a fork."""

import asyncio
import multiprocessing
import threading

import pytest
from harness import Origin, ask, run

from overdrive.api import CacheConfig, CompressionConfig, PerformanceConfig, PerformanceMiddleware

THREADS = 4


def make(**options):
    config = PerformanceConfig(
        cache_config=CacheConfig(max_size=8, max_bytes=60_000),
        compression_config=CompressionConfig(offload_bytes=3_000),
    )
    origin = Origin(lambda scope: scope["path"].encode() * 2000, **options)
    return PerformanceMiddleware(origin, config)


def in_threads(work):
    errors = []
    start = threading.Barrier(THREADS)

    def begin(number):
        start.wait()
        try:
            run(work(number))
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            errors.append(error)

    threads = [threading.Thread(target=begin, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_answers_are_right_and_bounds_kept_whatever_other_threads_do():
    app = make(headers={"cache-tag": "t"})

    async def work(number):
        for turn in range(150):
            path = f"/{(turn * 7 + number) % 12}"
            coding = ("identity", "gzip", "br")[turn % 3]
            asking = [ask(app, path, headers={"accept-encoding": coding}) for _ in range(3)]
            for reply in await asyncio.gather(*asking):
                assert reply.status == 200
                if coding == "identity":
                    assert reply.body == path.encode() * 2000
            if turn % 20 == 0:
                purges = ({"path": path}, {"pattern": "/1*"}, {"tag": "t"}, {})
                await app.invalidate_cache(**purges[number])
            app.get_statistics()
        await app.close()

    in_threads(work)
    store = app._cache.store
    stats = app.get_statistics()
    assert len(store) <= 8
    assert store.size_bytes <= 60_000
    assert len(store.paths()) == len(store)
    assert not store._tickets
    assert stats["cache"]["faults"] == 0
    assert stats["requests"]["total"] == THREADS * 150 * 3
    assert stats["requests"]["active"] == 0


def child(app, channel):
    reply = run(ask(app, "/1", headers={"accept-encoding": "gzip"}))
    channel.send((reply.status, reply["content-encoding"], app.stats().cache.faults))


@pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="needs a system that forks"
)
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_serves_on():
    app = make()
    # Starts the threads that compress.
    run(ask(app, "/2", headers={"accept-encoding": "gzip"}))
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()
    process = context.Process(target=child, args=(app, theirs))
    process.start()
    assert mine.poll(20)
    assert mine.recv() == (200, "gzip", 0)
    process.join(20)
    assert process.exitcode == 0
    app._compression.close()
