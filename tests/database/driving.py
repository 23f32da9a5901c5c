"""Driving coroutines by hand, and looking at a pool from outside."""

import asyncio

import asyncpg


class Steps:
    """Runs a coroutine and cancels it where it suspends for the n-th time.

    `late` cancels it not while it waits there, but when what it waits for is there already and the
    coroutine has not seen it yet.
    """

    def __init__(self, coroutine, n, *, late):
        self.coroutine = coroutine
        self.n = n
        self.late = late
        self.reached = False

    def __await__(self):
        task = asyncio.current_task()
        steps, count, result, error = self.coroutine.__await__(), 0, None, None
        while True:
            try:
                future = steps.throw(error) if error is not None else steps.send(result)
            except StopIteration as stop:
                return stop.value
            result = error = None
            if count == self.n:
                self.reached = True
                if self.late and future is not None:
                    # Registered before the task's own wake-up, so called before it.
                    blocking = future._asyncio_future_blocking
                    future.add_done_callback(lambda _: task.cancel())
                    future._asyncio_future_blocking = blocking
                else:
                    task.cancel()
            count += 1
            try:
                result = yield future
            except BaseException as raised:  # noqa: BLE001 - goes into the coroutine
                error = raised


async def cancel_everywhere(make, *, late, check, limit=200):
    """Run what `make` makes again and again, cancelled one await later each time.

    Returns at how many places it was cancelled.
    """
    for n in range(limit):
        steps = Steps(make(), n, late=late)

        async def run(steps=steps):
            return await steps

        task = asyncio.ensure_future(run())
        await asyncio.wait({task}, timeout=20)
        assert task.done(), f"hangs when cancelled at await {n}"
        if not task.cancelled() and task.exception() is not None:
            raise task.exception()
        await check(n)
        if not steps.reached:
            return n
    raise AssertionError("never came to its end")


async def until(condition, seconds=10.0):
    """Wait until a condition is true."""
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return
            await asyncio.sleep(0.005)


async def sessions(dsn):
    """Return the states of the other sessions in a database."""
    connection = await asyncpg.connect(dsn)
    try:
        rows = await connection.fetch(
            "select state, wait_event_type from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
            " and backend_type = 'client backend'"
        )
    finally:
        await connection.close()
    return [row["state"] for row in rows]
