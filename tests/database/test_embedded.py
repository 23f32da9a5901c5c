import asyncio
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import asyncpg
import psutil
import pytest

from overdrive.database import EmbeddedPostgres
from overdrive.errors import OverdriveError

pytestmark = pytest.mark.timeout(120)


def ask(dsn, text):
    async def run():
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(text)
        finally:
            await connection.close()

    return asyncio.run(run())


def server_pid(data_dir):
    file = data_dir / "postmaster.pid"
    return int(file.read_text().splitlines()[0]) if file.exists() else None


@pytest.fixture(scope="module")
def own_dir(data_dir):
    directory = data_dir.parent / "own"
    yield directory
    assert server_pid(directory) is None


USER = """
    import sys
    from overdrive.database import EmbeddedPostgres

    with EmbeddedPostgres(sys.argv[1]) as server:
        print(server.dsn, flush=True)
        sys.stdin.readline()
"""


class User:
    """Another process that uses the server."""

    def __init__(self, data_dir):
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(USER), str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.dsn = self.process.stdout.readline().strip()

    def leave(self):
        self.process.communicate("\n", timeout=60)

    def die(self):
        self.process.kill()
        self.process.communicate(timeout=60)


def test_data_survives_the_server(own_dir):
    with EmbeddedPostgres(own_dir) as server:
        ask(server.dsn, "create table kept (x int)")
        ask(server.dsn, "insert into kept values (42)")
    assert server_pid(own_dir) is None
    with EmbeddedPostgres(own_dir) as server:
        assert ask(server.dsn, "select x from kept") == 42


def test_objects_of_one_process_share_a_server(own_dir):
    first, second = EmbeddedPostgres(own_dir), EmbeddedPostgres(own_dir)
    first.start()
    first.start()
    second.start()
    assert first.dsn == second.dsn
    first.stop()
    first.stop()
    assert ask(second.dsn, "select 1") == 1
    second.stop()
    assert server_pid(own_dir) is None


def test_the_last_process_stops_the_server(own_dir):
    user = User(own_dir)
    with EmbeddedPostgres(own_dir) as server:
        assert server.dsn == user.dsn
    assert ask(user.dsn, "select 1") == 1
    user.leave()
    assert server_pid(own_dir) is None


def test_a_user_that_dies_does_not_keep_the_server_up(own_dir):
    user = User(own_dir)
    pid = server_pid(own_dir)
    user.die()
    with EmbeddedPostgres(own_dir) as server:
        assert server_pid(own_dir) == pid
        assert ask(server.dsn, "select 1") == 1
    assert server_pid(own_dir) is None


def test_an_interrupt_of_the_terminal_does_not_reach_the_server(own_dir):
    user = User(own_dir)
    with EmbeddedPostgres(own_dir) as server:
        os.killpg(user.process.pid, signal.SIGINT)
        user.process.wait(60)
        assert ask(server.dsn, "select 1") == 1
    user.process.communicate()


def test_an_interrupt_while_a_new_directory_is_made_leaves_a_usable_one(data_dir):
    directory = data_dir.parent / "interrupted"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(USER), str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    while not (directory / "PG_VERSION").exists():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert server_pid(directory) is None
    with EmbeddedPostgres(directory) as server:
        assert ask(server.dsn, "select 1") == 1


def test_a_server_that_was_killed_recovers(own_dir):
    user = User(own_dir)
    ask(user.dsn, "create table if not exists durable (x int)")
    postmaster = psutil.Process(server_pid(own_dir))
    family = [postmaster, *postmaster.children(recursive=True)]
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=30)
    user.die()
    with EmbeddedPostgres(own_dir) as server:
        assert ask(server.dsn, "select count(*) from durable") == 0


def test_the_id_of_a_dead_server_may_belong_to_another_program(own_dir):
    with EmbeddedPostgres(own_dir):
        shutil.copy(own_dir / "postmaster.pid", own_dir.parent / "pid")
    lines = (own_dir.parent / "pid").read_text().splitlines()
    lines[0] = str(os.getpid())
    (own_dir / "postmaster.pid").write_text("\n".join(lines) + "\n")
    with EmbeddedPostgres(own_dir) as server:
        assert ask(server.dsn, "select 1") == 1


def test_a_directory_that_is_no_database_is_a_clear_error(data_dir):
    directory = data_dir.parent / "broken"
    directory.mkdir()
    (directory / "PG_VERSION").write_text("18\n")
    with pytest.raises(OverdriveError, match=r"could not start PostgreSQL in .*broken"):
        EmbeddedPostgres(directory).start()


def test_the_address_is_known_only_when_started(own_dir):
    with pytest.raises(OverdriveError, match=r"call start\(\) first"):
        _ = EmbeddedPostgres(own_dir).dsn


def test_a_path_with_spaces_and_signs_works(data_dir):
    with EmbeddedPostgres(data_dir.parent / "a b%20&c") as server:
        assert ask(server.dsn, "select 1") == 1


def test_a_purpose_is_reserved_for_one_process(own_dir):
    script = """
        import sys
        from overdrive.database import EmbeddedPostgres
        from overdrive.errors import OverdriveError

        server = EmbeddedPostgres(sys.argv[1])
        try:
            with server.reserve("job"):
                print("reserved")
        except OverdriveError as error:
            print(error)
    """

    def other():
        command = [sys.executable, "-c", textwrap.dedent(script), str(own_dir)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    server = EmbeddedPostgres(own_dir)
    with server.reserve("job"), server.reserve("other"):
        assert f"another job is using {own_dir}" in other()
    assert other() == "reserved\n"
