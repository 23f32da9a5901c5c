import shutil
import socket
import subprocess

import pytest

pytest.importorskip("brotli")
pytest.importorskip("fastapi")
pytest.importorskip("zstandard")


class RedisServer:
    """A real server on a free port of the loopback, which can be stopped and started again."""

    def __init__(self, program, directory):
        self._program = program
        self._directory = directory
        self._process = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self):
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self._directory),
            "save": "",
            "appendonly": "no",
        }
        arguments = [word for name, value in options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [self._program, *arguments], stdout=subprocess.PIPE, text=True
        )
        for line in self._process.stdout:
            if "eady to accept connections" in line:
                return
        pytest.fail("the server did not start")

    def stop(self):
        if self._process is not None:
            self._process.terminate()
            self._process.communicate(timeout=10)
            self._process = None


@pytest.fixture(scope="module")
def redis_program():
    program = shutil.which("valkey-server") or shutil.which("redis-server")
    if program is None:
        pytest.skip("neither valkey-server nor redis-server is installed")
    pytest.importorskip("redis")
    return program


@pytest.fixture
def redis(redis_program, tmp_path):
    server = RedisServer(redis_program, tmp_path)
    server.start()
    yield server
    server.stop()
