"""`RequestDeduplicator` in direct use."""

import asyncio
import itertools

import pytest
from harness import run, scope_of, settle
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse

from overdrive.api import RequestDeduplicator


def request(path="/", **options):
    return Request(scope_of(path, **options))


def test_identical_requests_are_handled_once_within_the_window():
    async def scenario():
        calls = []

        async def handler(asked):
            calls.append(asked)
            await settle()
            return {"value": len(calls)}

        deduplicator = RequestDeduplicator(window_seconds=10)
        results = await asyncio.gather(
            *(deduplicator.deduplicate_request(request(), handler) for _ in range(20))
        )
        assert results == [{"value": 1}] * 20
        assert await deduplicator.deduplicate_request(request(), handler) == {"value": 1}
        assert await deduplicator.deduplicate_request(request("/b"), handler) == {"value": 2}

    run(scenario())


def test_after_the_window_a_request_is_handled_again():
    async def scenario():
        counter = itertools.count()
        deduplicator = RequestDeduplicator(window_seconds=0)
        results = [
            await deduplicator.deduplicate_request(request(), lambda _: next(counter))
            for _ in range(3)
        ]
        assert results == [0, 1, 2]

    run(scenario())


@pytest.mark.parametrize(
    "options",
    [{"method": "POST"}, {"headers": {"cookie": "a"}}, {"headers": {"authorization": "a"}}],
)
def test_what_is_personal_or_changes_something_is_always_handled(options):
    async def scenario():
        counter = itertools.count()
        deduplicator = RequestDeduplicator()
        for expected in range(3):
            result = await deduplicator.deduplicate_request(
                request(**options), lambda _: next(counter)
            )
            assert result == expected

    run(scenario())


def test_responses_are_shared_only_if_others_may_have_them():
    async def scenario():
        made = [
            (lambda: JSONResponse({}), True),
            (lambda: JSONResponse({}, headers={"set-cookie": "a"}), False),
            (lambda: JSONResponse({}, headers={"cache-control": "private"}), False),
            (lambda: JSONResponse({}, status_code=500), False),
            (lambda: StreamingResponse(iter([b"a"])), False),
        ]
        for number, (make, shared) in enumerate(made):
            deduplicator = RequestDeduplicator()
            asked = request(f"/{number}")
            first = await deduplicator.deduplicate_request(asked, lambda _, make=make: make())
            second = await deduplicator.deduplicate_request(asked, lambda _, make=make: make())
            assert (first is second) == shared, number

    run(scenario())


def test_a_background_task_runs_for_the_first_only():
    async def scenario():
        def handler(_):
            return JSONResponse({}, background=BackgroundTask(print))

        deduplicator = RequestDeduplicator()
        first = await deduplicator.deduplicate_request(request(), handler)
        second = await deduplicator.deduplicate_request(request(), handler)
        assert first.background is not None
        assert second.background is None
        assert second.body == first.body

    run(scenario())


def test_failures_are_not_shared_and_results_are_bounded():
    async def scenario():
        counter = itertools.count()

        async def handler(_):
            number = next(counter)
            await asyncio.sleep(0)
            if number == 0:
                raise RuntimeError("first")
            return number

        deduplicator = RequestDeduplicator(max_results=2)
        results = await asyncio.gather(
            *(deduplicator.deduplicate_request(request(), handler) for _ in range(3)),
            return_exceptions=True,
        )
        assert isinstance(results[0], RuntimeError)
        assert sorted(results[1:]) == [1, 2]
        for number in range(10):
            await deduplicator.deduplicate_request(request(f"/{number}"), handler)
        assert len(deduplicator._results) == 2

    run(scenario())


def test_a_cancelled_handling_is_taken_over():
    async def scenario():
        arrived, go_on = [], asyncio.Event()

        async def handler(_):
            arrived.append(1)
            await go_on.wait()
            return len(arrived)

        deduplicator = RequestDeduplicator()
        tasks = [
            asyncio.create_task(deduplicator.deduplicate_request(request(), handler))
            for _ in range(4)
        ]
        await settle()
        tasks[0].cancel()
        await settle()
        go_on.set()
        assert await asyncio.gather(*tasks[1:]) == [2, 2, 2]

    run(scenario())


@pytest.mark.parametrize("option", ["window_seconds", "max_followers", "max_results"])
def test_negative_options_are_refused(option):
    with pytest.raises(ValueError, match=f"{option} must be at least 0, got -1"):
        RequestDeduplicator(**{option: -1})
