"""Where agents' states are kept, and the thread that writes them."""

import contextlib
import json
import os
import queue
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

__all__ = ["FileStateSink", "StateSink", "StateWriter"]

State = Mapping[str, Any]


class StateSink(Protocol):
    """Keeps the last state of each agent, in checkpoints that are saved whole or not at all.

    States and markers are JSON objects. A sink is called by one thread at a time, not always the
    same one.
    """

    def save(self, states: Mapping[str, State], marker: State) -> None:
        """Replace the given agents' states and the marker, atomically."""

    def load(self) -> tuple[dict[str, dict[str, Any]], dict[str, Any]] | None:
        """Return all states and the marker of the last checkpoint; `None` if there is none."""

    def clear(self) -> None:
        """Forget everything."""

    def close(self) -> None:
        """Let go of resources. A second call does nothing."""


class FileStateSink:
    """Keeps states in one JSON file, replaced atomically at each checkpoint.

    Every checkpoint writes the states of all agents again, so this is for thousands of agents, not
    for millions.

    Args:
        path: The file; its directory must exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._states: dict[str, State] | None = None

    def save(self, states: Mapping[str, State], marker: State) -> None:
        """Write a new file beside the old one and put it in its place."""
        if self._states is None:
            saved = self.load()
            self._states = dict(saved[0]) if saved else {}
        merged = {**self._states, **states}
        draft = self._path.with_name(self._path.name + ".new")
        with draft.open("w", encoding="utf-8") as file:
            json.dump({"marker": marker, "states": merged}, file, allow_nan=False)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        self._states = merged

    def load(self) -> tuple[dict[str, dict[str, Any]], dict[str, Any]] | None:
        """Read the file; `None` if there is none."""
        try:
            saved = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return saved["states"], saved["marker"]

    def clear(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)
        self._states = None

    def close(self) -> None:
        """Do nothing: the file is closed after each checkpoint."""


class StateWriter:
    """Saves checkpoints on a thread of its own, in the order in which they come.

    At most `max_pending` checkpoints wait; a further `put` waits for a place, which holds the
    agents back when the sink is slower. After a failure the states are kept and saved with the
    next checkpoint; the failure is raised by the next `put`, `flush` or `close`.
    """

    def __init__(self, sink: StateSink, max_pending: int = 4) -> None:
        self._sink = sink
        self._queue: queue.Queue[tuple[dict[str, State], State] | None] = queue.Queue(max_pending)
        self._thread: threading.Thread | None = None
        self._unsaved: dict[str, State] = {}
        self._marker: State | None = None
        self._error: BaseException | None = None
        self.saved = 0
        """States written so far."""

    def put(self, states: dict[str, State], marker: State) -> None:
        """Hand a checkpoint over."""
        self._raise()
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="overdrive-state-writer")
            self._thread.start()
        self._queue.put((states, marker))

    def flush(self) -> None:
        """Wait until everything handed over is saved, trying again what failed."""
        self._queue.join()
        if self._error is not None and self._marker is not None:
            self._error = None
            self._save({}, self._marker)
        self._raise()

    def close(self) -> None:
        """Save what is left, end the thread and close the sink."""
        try:
            with contextlib.ExitStack() as stack:
                stack.callback(self._sink.close)
                stack.callback(self._stop)
                self.flush()
        finally:
            self._thread = None

    def _stop(self) -> None:
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self) -> None:
        while (checkpoint := self._queue.get()) is not None:
            self._save(*checkpoint)
            self._queue.task_done()
        self._queue.task_done()

    def _save(self, states: dict[str, State], marker: State) -> None:
        self._unsaved.update(states)
        self._marker = marker
        try:
            self._sink.save(self._unsaved, marker)
        except Exception as error:  # noqa: BLE001 - handed to the thread that asks
            self._error = error
        else:
            self.saved += len(self._unsaved)
            self._unsaved = {}
