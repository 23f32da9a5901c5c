"""Where agents' states are kept, and the thread that writes them."""

import json
import os
import threading
from collections import deque
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

    The thread exists while there is something to save, and the interpreter does not exit before.
    At most `max_pending` checkpoints wait; a further `put` waits for a place, which holds the
    agents back when the sink is slower. After a failure the states are kept and saved with the
    next checkpoint, or by `flush`; the failure is raised by the next `put`, `flush` or `close`.
    """

    def __init__(self, sink: StateSink, max_pending: int = 4) -> None:
        self._sink = sink
        self._max_pending = max_pending
        self.saved = 0
        """States written so far."""
        self.renew()

    def renew(self) -> None:
        """Begin without anything to save, also in a forked child: that is the parent's."""
        self._changed = threading.Condition()
        self._pending: deque[tuple[Mapping[str, State], State]] = deque()
        self._thread: threading.Thread | None = None
        self._unsaved: dict[str, State] = {}
        self._unsaved_marker: State | None = None
        self._error: BaseException | None = None

    def put(self, states: Mapping[str, State], marker: State) -> None:
        """Hand a checkpoint over; it is not taken if an earlier failure is raised."""
        with self._changed:
            self._raise()
            self._changed.wait_for(lambda: len(self._pending) < self._max_pending)
            self._append(states, marker)

    def flush(self) -> None:
        """Wait until everything handed over is saved, trying again what failed."""
        with self._changed:
            self._changed.wait_for(self._is_idle)
            if self._unsaved_marker is not None:
                self._error = None
                self._append({}, self._unsaved_marker)
                self._changed.wait_for(self._is_idle)
            self._raise()

    def close(self) -> None:
        """Save what is left, and close the sink."""
        try:
            self.flush()
        finally:
            self._sink.close()

    def _is_idle(self) -> bool:
        return self._thread is None

    def _append(self, states: Mapping[str, State], marker: State) -> None:
        """Queue a checkpoint, and see to it that there is a thread; the lock is held."""
        if self._thread is None:
            thread = threading.Thread(target=self._write, name="overdrive-state-writer")
            thread.start()
            self._thread = thread
        self._pending.append((states, marker))

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self) -> None:
        while True:
            with self._changed:
                if not self._pending:
                    self._thread = None
                    self._changed.notify_all()
                    return
                states, marker = self._pending.popleft()
                self._changed.notify_all()
            self._save(states, marker)

    def _save(self, states: Mapping[str, State], marker: State) -> None:
        self._unsaved.update(states)
        self._unsaved_marker = marker
        try:
            self._sink.save(self._unsaved, marker)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asks
            self._error = error
        else:
            self.saved += len(self._unsaved)
            self._unsaved = {}
            self._unsaved_marker = None
