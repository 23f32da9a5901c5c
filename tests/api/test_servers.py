"""The middleware under uvicorn and granian, over real connections."""

import asyncio
import contextlib
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2 as httpx
import pytest

COMMANDS = {
    "uvicorn": ["uvicorn", "served_app:app", "--log-level", "warning"],
    "uvicorn h11": ["uvicorn", "served_app:app", "--log-level", "warning", "--http", "h11"],
    "granian": ["granian", "served_app:app", "--interface", "asgi", "--no-log"],
}


@pytest.fixture(params=COMMANDS, ids=lambda name: name.replace(" ", "-"))
def address(request):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        *COMMANDS[request.param],
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    server = subprocess.Popen(command, cwd=Path(__file__).parent)
    try:
        deadline = time.monotonic() + 30
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < deadline, "the server does not answer"
            time.sleep(0.05)
        yield ("127.0.0.1", port)
    finally:
        server.terminate()
        server.wait(20)


def play(address, scenario):
    async def run():
        limits = httpx.Limits(max_connections=200)
        url = "http://{}:{}".format(*address)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=20) as client:
            await scenario(client)

    asyncio.run(asyncio.wait_for(run(), 50))


async def calls(client, name):
    return (await client.get("/performance/calls")).json().get(name, 0)


async def until_called(client, name, times=1):
    while await calls(client, name) < times:  # noqa: ASYNC110 - told by a server
        await asyncio.sleep(0.01)


def test_everything_over_real_connections(address):
    async def scenario(client):
        await hits_misses_and_codings(client)
        await private_answers(client)
        await validation(client)
        await many_at_the_same_time(client)
        await a_stream_arrives_in_pieces(client)
        await a_leader_that_leaves(client, address)
        await a_raw_connection(client, address)
        stats = (await client.get("/performance/stats")).json()
        assert stats["cache"]["faults"] == 0

    play(address, scenario)


async def hits_misses_and_codings(client):
    bodies = set()
    for coding in ("identity", "gzip", "br", "deflate", "identity", "gzip"):
        reply = await client.get("/agents", headers={"accept-encoding": coding})
        assert reply.headers.get("content-encoding", "identity") == coding
        assert reply.headers["vary"] == "Accept-Encoding"
        bodies.add(reply.text)
    assert len(bodies) == 1
    assert await calls(client, "agents") == 1
    head = await client.head("/agents", headers={"accept-encoding": "identity"})
    assert head.headers["content-length"] == str(len(reply.content))
    same = await client.get("/agents", headers={"if-none-match": reply.headers["etag"]})
    assert same.status_code == 304
    part = await client.get("/agents", headers={"range": "bytes=0-9"})
    assert (part.status_code, part.content) == (206, reply.content[:10])


async def private_answers(client):
    for headers in ({"cookie": "a=1"}, {"authorization": "x"}, {}, {"cookie": "a=2"}):
        reply = await client.get("/me", headers=headers)
        assert reply.json() == {
            "cookie": headers.get("cookie"),
            "bearer": headers.get("authorization"),
        }


async def validation(client):
    for _ in range(3):
        reply = await client.get("/conditional")
        assert reply.json() == {"call": 1}
    assert "fwd-status=304" in reply.headers["cache-status"]


async def many_at_the_same_time(client):
    asking = [asyncio.create_task(client.get("/slow")) for _ in range(100)]
    await until_called(client, "slow")
    await client.post("/let/slow")
    replies = await asyncio.gather(*asking)
    assert {reply.text for reply in replies} == {'{"call":1}'}
    assert await calls(client, "slow") == 1


async def a_stream_arrives_in_pieces(client):
    async with client.stream("GET", "/stream", headers={"accept-encoding": "gzip"}) as reply:
        assert reply.headers["content-encoding"] == "gzip"
        pieces = reply.aiter_text()
        # The second piece is only made when the first one is here.
        first = ""
        while "first\n" not in first:
            first += await anext(pieces)
        assert "second" not in first
        await client.post("/let/stream")
        rest = [piece async for piece in pieces]
        assert first + "".join(rest) == "first\nsecond\n"


async def a_leader_that_leaves(client, address):
    """The one that asked first goes away in the middle; those who wait get the whole answer."""
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GET /told HTTP/1.1\r\nHost: %s:%d\r\n\r\n" % (address[0].encode(), address[1]))
    await writer.drain()
    await reader.readuntil(b"first\n")
    others = [asyncio.create_task(client.get("/told")) for _ in range(5)]
    await asyncio.sleep(0)
    writer.transport.abort()
    replies = await asyncio.gather(*others)
    assert {reply.text for reply in replies} == {"first\nsecond\n"}


async def a_raw_connection(client, address):
    """Several requests in one go, and malformed ones, on one connection."""
    host = b"Host: %s:%d\r\n" % (address[0].encode(), address[1])
    reader, writer = await asyncio.open_connection(*address)
    writer.write((b"GET /agents HTTP/1.1\r\n" + host + b"\r\n") * 3)
    for _ in range(3):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:-2])
        await reader.readexactly(int(fields[b"content-length"]))
    writer.close()
    for request in (
        b"GET /agents HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /agents HTTP/1.1\r\nHost: a\r\nRange: bytes=" + b"0-0," * 1000 + b"0-0\r\n\r\n",
        b"GET /agents HTTP/1.1\r\nHost: a\r\nAccept-Encoding: \xff\xfe;;q=,\r\n\r\n",
        b"\x00\x01\x02\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            await reader.read(100)
        writer.close()
    assert (await client.get("/agents")).status_code == 200
