"""Real servers on loopback: a primary with streaming replicas, and PgBouncer.

`python tests/database/topology.py DIRECTORY` starts a primary with two replicas, the second of them
delayed, and PgBouncer, prints their addresses, and stops them at Enter.
"""

import contextlib
import glob
import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MISSING = "needs PostgreSQL's server programs (Debian: apt-get install postgresql)"
NO_BOUNCER = "needs PgBouncer (Debian: apt-get install pgbouncer)"


def programs():
    """Return the directory of the newest PostgreSQL of the system, or `None`."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))  # noqa: PTH207
    return Path(found[-1]).parent if found else None


def pgbouncer():
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _user():
    """Return the system user that servers run as: root may not."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"


def _port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _run(*command, **options):
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False,
        user=_user(), cwd="/", **options,
    )  # fmt: skip
    assert result.returncode == 0, f"{command}: {result.stdout}{result.stderr}"


class Server:
    """One PostgreSQL server."""

    def __init__(self, data, **settings):
        self.data = data
        self.port = _port()
        self.settings = settings
        self.dsn = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self):
        lines = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "",
            "fsync": "off", "wal_level": "replica", "max_wal_senders": 8, "hot_standby": "on",
            "shared_buffers": "16MB", "wal_receiver_status_interval": "100ms", **self.settings,
        }  # fmt: skip
        options = " ".join(f"-c {name}='{value}'" for name, value in lines.items())
        log = f"{self.data}.log"
        _run(programs() / "pg_ctl", "-w", "-D", self.data, "-l", log, "-o", options, "start")

    def stop(self, mode="immediate"):
        if (self.data / "postmaster.pid").exists():
            _run(programs() / "pg_ctl", "-w", "-D", self.data, "-m", mode, "stop")


class Topology:
    """A primary, a replica, a delayed replica; started on entry."""

    def __init__(self, directory, delay="300ms"):
        self.directory = Path(directory)
        self.primary = Server(self.directory / "primary")
        self.replica = Server(self.directory / "replica")
        self.delayed = Server(self.directory / "delayed", recovery_min_apply_delay=delay)
        self.servers = [self.primary, self.replica, self.delayed]

    def __enter__(self):
        if _user() is not None:
            shutil.chown(self.directory, _user())
        auth = ["-U", "postgres", "--auth=trust", "--no-sync"]
        _run(programs() / "initdb", "-D", self.primary.data, *auth)
        with contextlib.ExitStack() as stack:
            for server in self.servers:
                stack.callback(server.stop)
            self.primary.start()
            for replica in self.servers[1:]:
                _run(
                    programs() / "pg_basebackup", "-D", replica.data, "-R", "-X", "stream",
                    "-c", "fast", "--no-sync", "-d", self.primary.dsn,
                )  # fmt: skip
                replica.start()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()


class Bouncer:
    """PgBouncer in transaction mode before a server."""

    def __init__(self, directory, server_port):
        self.directory = Path(directory)
        self.port = _port()
        self.server_port = server_port
        self.dsn = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def __enter__(self):
        settings = self.directory / "pgbouncer.ini"
        users = self.directory / "users.txt"
        users.write_text('"postgres" ""\n')
        settings.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self.server_port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nauth_type = trust\n"
            f"auth_file = {users}\npool_mode = transaction\ndefault_pool_size = 2\n"
            "unix_socket_dir =\nlogfile =\nignore_startup_parameters = extra_float_digits\n"
        )
        for file in (settings, users):
            file.chmod(0o644)
        self.process = subprocess.Popen(
            [pgbouncer(), "-q", str(settings)], user=_user(), cwd="/", stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return self
            time.sleep(0.02)
        self.__exit__()
        raise AssertionError("PgBouncer did not start")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)


def main():
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())
    directory.chmod(0o755)
    with Topology(directory) as servers, Bouncer(directory, servers.primary.port) as bouncer:
        for name in ("primary", "replica", "delayed"):
            print(f"{name:10}{getattr(servers, name).dsn}")  # noqa: T201
        print(f"{'pgbouncer':10}{bouncer.dsn}")  # noqa: T201
        input()


if __name__ == "__main__":
    main()
