import asyncio
import gzip
import os
import threading
import zlib

import brotli
import pytest
import zstandard
from harness import Origin, ask, run, scope_of
from hypothesis import given, settings
from hypothesis import strategies as st

from overdrive.api import (
    CacheConfig,
    CompressionConfig,
    CompressionMiddleware,
    PerformanceConfig,
    PerformanceMiddleware,
)
from overdrive.api.coding import Codings, load_codecs

TEXT = b'{"agent": "beliefs about delays", "value": 1}' * 100
ALL = ("br", "zstd", "gzip", "deflate")


def decode(body, coding):
    if coding == "br":
        return brotli.decompress(body)
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    if coding == "gzip":
        return gzip.decompress(body)
    # The zlib format, not a raw stream.
    return zlib.decompress(body) if coding == "deflate" else body


def decoder(coding):
    if coding == "br":
        return brotli.Decompressor().process
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress
    return zlib.decompressobj({"gzip": 31, "deflate": 15}[coding]).decompress


def wrap(origin, **config):
    return CompressionMiddleware(origin, CompressionConfig(**config))


def get(app, accept=None, **options):
    headers = {} if accept is None else {"accept-encoding": accept}
    headers |= options.pop("headers", {})
    return run(ask(app, headers=headers, **options))


# Negotiation (RFC 9110, 12.5.3)


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, ""),
        ("", ""),
        ("gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("deflate", "deflate"),
        ("br", "br"),
        ("zstd", "zstd"),
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate", "gzip"),
        ("br;q=0.5, gzip", "gzip"),
        ("br;q=0.5, gzip;q=0.8, zstd;q=0.801", "zstd"),
        ("gzip;q=0", ""),
        ("gzip;q=0.000, br;q=0", ""),
        ("gzip; q=0.001", "gzip"),
        ("gzip ; Q=1.0", "gzip"),
        ("*", "br"),
        ("*;q=0.5, br;q=0", "zstd"),
        ("*;q=0, gzip", "gzip"),
        ("br;q=0, *", "zstd"),
        ("identity", ""),
        ("identity;q=1, gzip;q=0.5", ""),
        ("identity;q=0.5, gzip;q=1", "gzip"),
        ("identity, gzip", "gzip"),
        ("notgzip", ""),
        ("gzipped, xgzip", ""),
        ("compress", ""),
        ("gzip;q=abc", ""),
        ("gzip;q=2", ""),
        ("gzip;q=-1", ""),
        ("gzip;q=0.0001", ""),
        ("gzip;x=1", ""),
        (",,gzip,,", "gzip"),
        ("gzip;q=0, gzip;q=1", ""),
        ("gzip\tbr", ""),
    ],
)
def test_the_coding_is_the_one_the_client_likes_best(accept, coding):
    reply = get(wrap(Origin(TEXT)), accept)
    assert reply["content-encoding"] == coding
    assert decode(reply.body, coding) == TEXT
    assert reply["content-length"] == str(len(reply.body))
    assert reply["vary"] == "Accept-Encoding"


def test_the_order_of_the_configuration_decides_between_equals():
    config = {"algorithms": ["gzip", "deflate", "br"]}
    assert get(wrap(Origin(TEXT), **config), "br, deflate, gzip")["content-encoding"] == "gzip"
    assert get(wrap(Origin(TEXT), **config), "zstd")["content-encoding"] == ""


def test_several_lines_of_a_field_are_one_list():
    reply = run(
        ask(
            wrap(Origin(TEXT)),
            headers=[("accept-encoding", "br;q=0.1"), ("accept-encoding", "gzip")],
        )
    )
    assert reply["content-encoding"] == "gzip"


@pytest.mark.parametrize("accept", ["identity;q=0", "*;q=0", "identity;q=0, compress"])
def test_a_client_that_takes_nothing_there_is_gets_a_406(accept):
    for method in ("GET", "HEAD"):
        reply = get(wrap(Origin(TEXT)), accept, method=method)
        assert reply.status == 406
        assert reply["vary"] == "Accept-Encoding"
    assert get(wrap(Origin(TEXT)), accept, method="POST").status == 200


def test_identity_is_not_sent_to_a_client_that_refuses_it_however_short():
    reply = get(wrap(Origin(b"short")), "identity;q=0, gzip")
    assert decode(reply.body, "gzip") == b"short"


# What is compressed


def test_short_bodies_are_left_alone_and_vary_all_the_same():
    reply = get(wrap(Origin(b"x" * 1023)), "gzip")
    assert reply["content-encoding"] == ""
    assert reply["vary"] == "Accept-Encoding"
    assert get(wrap(Origin(b"x" * 1024)), "gzip")["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    ("kind", "compressed"),
    [
        ("application/json", True),
        ("application/json; charset=utf-8", True),
        ("Text/HTML", True),
        ("application/vnd.api+json", True),
        ("image/svg+xml", True),
        ("image/png", False),
        ("application/zip", False),
        ("application/octet-stream", False),
        ("text/event-stream", False),
        ("text/event-stream; charset=utf-8", False),
        ("", False),
    ],
)
def test_only_what_gains_by_it_is_compressed(kind, compressed):
    reply = get(wrap(Origin(TEXT, headers={"content-type": kind})), "gzip")
    assert (reply["content-encoding"] == "gzip") == compressed
    assert ("vary" in reply) == compressed


@pytest.mark.parametrize(
    "headers",
    [
        {"content-encoding": "gzip"},
        {"content-encoding": "identity"},
        {"cache-control": "max-age=5, no-transform"},
        {"content-range": "bytes 0-4499/9000"},
        {"content-digest": "sha-256=:x:"},
        {"content-md5": "x"},
    ],
)
def test_what_must_not_be_changed_is_not(headers):
    reply = get(wrap(Origin(TEXT, headers=headers)), "gzip")
    assert reply.body == TEXT
    assert reply["content-encoding"] == headers.get("content-encoding", "")


@pytest.mark.parametrize("status", [204, 205, 304])
def test_answers_without_a_body_get_none(status):
    reply = get(wrap(Origin(b"", status=status, headers={"content-length": "5000"})), "gzip")
    assert reply.body == b""
    assert "content-encoding" not in reply


def test_a_206_is_left_alone():
    reply = get(
        wrap(Origin(TEXT, status=206, headers={"content-range": "bytes 0-4499/9000"})), "gzip"
    )
    assert reply.body == TEXT


def test_paths_can_be_excluded_against_breach():
    app = wrap(Origin(TEXT), exclude_paths=["/login", "/secret/*"])
    for path, coding in (("/login", ""), ("/secret/a", ""), ("/login2", "gzip"), ("/", "gzip")):
        reply = run(ask(app, path, headers={"accept-encoding": "gzip"}))
        assert reply["content-encoding"] == coding


def test_errors_are_compressed_too():
    assert get(wrap(Origin(TEXT, status=500)), "gzip")["content-encoding"] == "gzip"


# Header fields


def test_the_entity_tag_becomes_weak_and_parts_are_not_offered():
    origin = Origin(TEXT, headers={"etag": '"1"', "accept-ranges": "bytes"})
    reply = get(wrap(origin), "gzip")
    assert reply["etag"] == 'W/"1"'
    assert "accept-ranges" not in reply
    plain = get(wrap(origin))
    assert plain["etag"] == '"1"'
    assert plain["accept-ranges"] == "bytes"


def test_a_304_names_the_tag_that_the_client_has():
    origin = Origin(b"", status=304, headers={"etag": '"1"'})
    assert get(wrap(origin), "gzip", headers={"if-none-match": 'W/"1"'})["etag"] == 'W/"1"'
    assert get(wrap(origin), "gzip", headers={"if-none-match": '"1"'})["etag"] == '"1"'


@pytest.mark.parametrize(
    ("vary", "told"),
    [
        ("origin", "origin, Accept-Encoding"),
        ("Accept-Encoding", "Accept-Encoding"),
        ("origin, accept-encoding", "origin, accept-encoding"),
        ("*", "*"),
    ],
)
def test_vary_is_added_to(vary, told):
    assert get(wrap(Origin(TEXT, headers={"vary": vary})), "gzip")["vary"] == told


def test_head_says_what_get_says_but_for_the_length():
    for accept in ALL:
        app = wrap(Origin(TEXT, headers={"etag": '"1"'}))
        get_reply, head = get(app, accept), get(app, accept, method="HEAD")
        without_length = [pair for pair in get_reply.headers if pair[0] != b"content-length"]
        assert head.headers == without_length
        assert head.body == b""


# Streams


@pytest.mark.parametrize("coding", ALL)
def test_every_chunk_of_a_stream_can_be_read_when_it_arrives(coding):
    chunks = [b"first, ", b"second, ", b"", b"third" * 100]
    app = wrap(Origin(chunks=chunks))
    messages = get(app, coding).messages
    assert b"content-length" not in dict(messages[0]["headers"])
    read = decoder(coding)
    assert [read(m["body"]) if m["body"] else b"" for m in messages[1 : 1 + len(chunks)]] == chunks


@pytest.mark.parametrize("coding", ALL)
def test_a_stream_of_known_length_loses_it(coding):
    app = wrap(Origin(chunks=[TEXT, TEXT], headers={"content-length": str(2 * len(TEXT))}))
    reply = get(app, coding)
    assert "content-length" not in reply
    assert decode(reply.body, coding) == TEXT * 2


def test_the_start_of_a_stream_is_not_held_back():
    async def scenario():
        started, go_on = asyncio.Event(), asyncio.Event()

        async def app(scope, receive, send):
            headers = [(b"content-type", b"application/x-ndjson")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await go_on.wait()
            await send({"type": "http.response.body", "body": b"late"})

        async def on_message(message):
            if message["type"] == "http.response.start":
                started.set()

        asking = asyncio.create_task(
            ask(
                CompressionMiddleware(app),
                headers={"accept-encoding": "gzip"},
                on_message=on_message,
            )
        )
        await started.wait()
        go_on.set()
        assert decode((await asking).body, "gzip") == b"late"

    run(scenario())


def test_server_sent_events_pass_as_they_are():
    chunks = [b"data: 1\n\n", b"data: 2\n\n"]
    reply = get(wrap(Origin(chunks=chunks, headers={"content-type": "text/event-stream"})), "gzip")
    assert [m["body"] for m in reply.messages[1:3]] == chunks


# Messages


@pytest.mark.parametrize("accept", ["gzip", None])
def test_files_that_the_server_sends_itself_pass(accept):
    async def app(scope, receive, send):
        headers = [
            (b"content-type", b"text/html"),
            *([(b"content-length", b"5000")] if accept else []),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.pathsend", "path": "/a"})

    messages = []

    async def send(message):
        messages.append(message)

    headers = {"accept-encoding": "gzip"}
    scope = scope_of(headers=headers, extensions={"http.response.pathsend": {}})
    run(CompressionMiddleware(app)(scope, None, send))
    assert [m["type"] for m in messages] == ["http.response.start", "http.response.pathsend"]
    assert b"content-encoding" not in dict(messages[0]["headers"])


def test_early_hints_debug_and_trailers_pass_in_order():
    async def app(scope, receive, send):
        await send({"type": "http.response.early_hint", "links": [b"</a>"]})
        await send({"type": "http.response.debug", "info": {}})
        headers = [(b"content-type", b"text/html"), (b"content-length", b"%d" % len(TEXT))]
        await send(
            {"type": "http.response.start", "status": 200, "headers": headers, "trailers": True}
        )
        await send({"type": "http.response.body", "body": TEXT})
        await send({"type": "http.response.trailers", "headers": []})

    kinds = [
        m["type"].removeprefix("http.response.")
        for m in get(CompressionMiddleware(app), "gzip").messages
    ]
    assert kinds == ["early_hint", "debug", "start", "body", "trailers"]


@pytest.mark.parametrize("kind", ["websocket", "lifespan", "made.up"])
def test_other_connections_are_untouched(kind):
    seen = []

    async def app(*args):
        seen.append(args)

    for middleware in (CompressionMiddleware(app), PerformanceMiddleware(app)):
        arguments = ({"type": kind}, object(), object())
        run(middleware(*arguments))
        assert seen.pop() == arguments


# Threads


def test_long_bodies_are_compressed_by_another_thread_and_short_ones_here(monkeypatch):
    threads = []
    app = wrap(Origin(TEXT * 100), algorithms=["gzip"], offload_bytes=100_000)
    codec = app.compression.codings.codecs["gzip"]
    compress = codec.compress
    codec.compress = lambda data: (threads.append(threading.current_thread()), compress(data))[1]
    assert decode(get(app, "gzip").body, "gzip") == TEXT * 100
    app.app = Origin(TEXT)
    get(app, "gzip")
    assert threads[0] is not threading.main_thread()
    assert threads[1] is threading.main_thread()
    app.compression.close()
    app.compression.close()


@pytest.mark.parametrize("coding", ALL)
def test_long_pieces_of_a_stream_are_compressed_by_another_thread(coding):
    app = wrap(Origin(chunks=[TEXT * 100, b"x", TEXT * 200]), offload_bytes=100_000)
    assert decode(get(app, coding).body, coding) == TEXT * 100 + b"x" + TEXT * 200
    app.compression.close()


def test_the_loop_goes_on_while_a_long_body_is_compressed():
    async def scenario():
        entered, leave = threading.Event(), threading.Event()
        app = wrap(Origin(TEXT * 100), algorithms=["gzip"], offload_bytes=1)
        codec = app.compression.codings.codecs["gzip"]

        def compress(data):
            entered.set()
            assert leave.wait(10)
            return gzip.compress(data)

        codec.compress = compress
        asking = asyncio.create_task(ask(app, headers={"accept-encoding": "gzip"}))
        while not entered.is_set():  # noqa: ASYNC110 - set by another thread
            await asyncio.sleep(0)
        leave.set()
        assert decode((await asking).body, "gzip") == TEXT * 100
        app.compression.close()

    run(scenario())


# Stored variants


def test_what_is_stored_is_compressed_once_for_each_coding():
    app = PerformanceMiddleware(Origin(TEXT))
    for accept in (*ALL, *ALL, None, "br, gzip"):
        reply = get(app, accept)
        coding = reply["content-encoding"]
        assert coding == ("br" if accept == "br, gzip" else accept or "")
        assert decode(reply.body, coding) == TEXT
        assert reply["vary"] == "Accept-Encoding"
        assert reply["content-length"] == str(len(reply.body))
        assert reply["etag"].startswith("W/") == bool(coding)
    stats = app.get_statistics()
    assert stats["compression"]["responses"] == 4
    assert stats["cache"]["misses"] == 1


def test_a_long_stored_body_is_compressed_once_for_many_at_the_same_time():
    async def scenario():
        app = PerformanceMiddleware(
            Origin(TEXT * 50),
            PerformanceConfig(compression_config=CompressionConfig(offload_bytes=1)),
        )
        await ask(app)
        replies = await asyncio.gather(
            *(ask(app, headers={"accept-encoding": "br"}) for _ in range(20))
        )
        assert {decode(reply.body, "br") for reply in replies} == {TEXT * 50}
        assert app.get_statistics()["compression"]["responses"] == 1
        await app.close()

    run(scenario())


def test_stored_answers_to_ranges_and_conditions_respect_the_coding():
    app = PerformanceMiddleware(Origin(TEXT, headers={"etag": '"1"'}))
    get(app, "gzip")
    part = get(app, "gzip", headers={"range": "bytes=0-9"})
    assert (part.status, part.body, part["content-encoding"], part["etag"]) == (
        206,
        TEXT[:10],
        "",
        '"1"',
    )
    same = get(app, "gzip", headers={"if-none-match": 'W/"1"'})
    assert (same.status, same["etag"], same["vary"]) == (304, 'W/"1"', "Accept-Encoding")
    assert "content-encoding" not in same
    refused = get(app, "identity;q=0, compress")
    assert refused.status == 406
    assert decode(get(app, "identity;q=0, gzip").body, "gzip") == TEXT


def test_a_body_that_does_not_shrink_is_stored_and_sent_as_it_is():
    app = PerformanceMiddleware(Origin(os.urandom(2000)))
    for _ in range(3):
        assert get(app, "gzip")["content-encoding"] == ""
    assert app.get_statistics()["compression"]["responses"] == 1


@settings(deadline=None, max_examples=60)
@given(
    chunks=st.lists(st.binary(max_size=3000), min_size=1, max_size=5),
    coding=st.sampled_from([*ALL, "identity"]),
    streamed=st.booleans(),
    cached=st.booleans(),
    method=st.sampled_from(["GET", "POST"]),
)
def test_a_client_that_decodes_gets_the_identical_bytes(chunks, coding, streamed, cached, method):
    origin = Origin(chunks=chunks) if streamed else Origin(b"".join(chunks))
    config = PerformanceConfig(
        caching_enabled=cached,
        compression_config=CompressionConfig(min_size=100, offload_bytes=4000),
        cache_config=CacheConfig(),
    )

    async def scenario():
        app = PerformanceMiddleware(origin, config)
        for _ in range(3):
            reply = await ask(app, headers={"accept-encoding": coding}, method=method)
            assert decode(reply.body, reply["content-encoding"]) == b"".join(chunks)
        await app.close()

    run(scenario())


@given(st.binary(max_size=60))
def test_any_accept_encoding_gets_something_it_did_not_refuse(accept):
    choice = Codings(load_codecs(CompressionConfig())).choose(accept)
    assert choice.coding in {*ALL, "identity"}


def test_a_choice_is_remembered_for_a_bounded_number_of_fields():
    codings = Codings(load_codecs(CompressionConfig()))
    for number in range(2000):
        codings.choose(b"gzip, x%d" % number)
        codings.choose(b"gzip, %b" % (b"x" * 600))
    assert len(codings.choices) <= 512


def test_levels_are_brought_into_the_range_of_each_coding():
    for level in (0, 1, 6, 99):
        for name, codec in load_codecs(CompressionConfig(compression_level=level)).items():
            assert decode(codec.compress(TEXT), name) == TEXT


@pytest.mark.parametrize(
    "options",
    [{"min_size": -1}, {"algorithms": ["lzma"]}, {"compression_level": -1}, {"offload_bytes": 0}],
)
def test_senseless_options_are_refused_with_their_value(options):
    ((name, value),) = options.items()
    shown = value[0] if isinstance(value, list) else value
    with pytest.raises(ValueError, match=f"{name} must be .*{shown}"):
        CompressionConfig(**options)
