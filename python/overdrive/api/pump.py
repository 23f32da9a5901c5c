"""Send a body at the pace of its client while the application goes on at its own."""

import asyncio
from collections import deque

from overdrive.api.asgi import Message, Send

__all__ = ["Pump"]


class Pump:
    """Passes messages on in a task of its own.

    As long as no more than `limit` bytes are waiting, `put` returns at once, so the client of one
    request does not hold back those who wait for the same answer. An error of the client's
    connection is raised by the next `put` or by `finish`.
    """

    def __init__(self, send: Send, limit: int) -> None:
        self._send = send
        self.limit = limit
        self._waiting: deque[Message] = deque()
        self._bytes = 0
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run())

    async def put(self, message: Message) -> None:
        """Take a message, waiting for room if too much is waiting already."""
        self._bytes += len(message.get("body", b""))
        self._waiting.append(message)
        self._changed.set()
        while self._bytes > self.limit and not self._task.done():
            self._room.clear()
            await self._room.wait()
        if self._task.done():
            await self._task

    async def finish(self) -> None:
        """Wait until everything is sent."""
        self._closing = True
        self._changed.set()
        try:
            await self._task
        finally:
            self._task.cancel()

    def cancel(self) -> None:
        """Stop at once."""
        self._task.cancel()

    async def _run(self) -> None:
        try:
            while True:
                while self._waiting:
                    message = self._waiting.popleft()
                    await self._send(message)
                    self._bytes -= len(message.get("body", b""))
                    self._room.set()
                if self._closing:
                    return
                self._changed.clear()
                await self._changed.wait()
        finally:
            self._room.set()
