"""What is stored: RFC 9111, 2 and 3."""

import pytest
from harness import Site, ask, date, revalidating, run

from overdrive.api import CacheConfig, ResponseCacheMiddleware

# 2. Overview of cache operation: the key


def test_different_methods_hosts_schemes_paths_and_queries_have_different_keys():
    site = Site({"cache-control": "max-age=60"}, body=lambda scope: repr(scope["path"]).encode())
    site.get("/a", query="x=1")
    for options in (
        {"path": "/b", "query": "x=1"},
        {"path": "/a", "query": "x=2"},
        {"path": "/a", "query": "x=1&y"},
        {"path": "/a", "query": "x=1", "host": "other.org"},
        {"path": "/a", "query": "x=1", "host": "example.org:8080"},
        {"path": "/a", "query": "x=1", "scheme": "https"},
        {"path": "/a", "query": "x=1", "root_path": "/mounted"},
        {"path": "/a", "query": "x=1", "raw_path": b"/%61"},
    ):
        path = options.pop("path")
        assert not site.get(path, **options).is_hit, options
    assert site.get("/a", query="x=1").is_hit


def test_the_order_of_the_query_is_kept():
    site = Site({"cache-control": "max-age=60"})
    site.get(query="a=1&b=2")
    assert not site.get(query="b=2&a=1").is_hit


def test_hosts_are_compared_without_case_and_default_port():
    site = Site({"cache-control": "max-age=60"})
    site.get(host="example.org")
    assert site.get(host="EXAMPLE.org:80").is_hit
    assert not site.get(host="example.org:443").is_hit


# 3. Storing responses


@pytest.mark.parametrize(
    "method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY", "get"]
)
def test_only_answers_to_get_are_stored(method):
    site = Site({"cache-control": "public, max-age=60"})
    site.get(method=method)
    assert not site.get(method=method).is_hit
    assert site.origin.count == 2


@pytest.mark.parametrize(
    "status", [200, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 451, 501]
)
def test_final_status_codes_that_are_understood_are_stored(status):
    assert Site({"cache-control": "max-age=60"}, status=status, body=b"").is_stored()


@pytest.mark.parametrize("status", [206, 304, 400, 401, 403, 418, 429, 500, 502, 503, 599])
def test_other_status_codes_are_not_stored(status):
    assert not Site({"cache-control": "public, max-age=60"}, status=status, body=b"").is_stored()


@pytest.mark.parametrize(
    "value",
    [
        "no-store",
        "max-age=60, no-store",
        "NO-STORE, max-age=60",
        "private, max-age=60",
        'private="x-secret", max-age=60',
        "max-age=60, private",
        "max-age=60,,private",
        'foo="a, b", no-store, max-age=60',
    ],
)
def test_what_the_origin_forbids_is_not_stored(value):
    assert not Site({"cache-control": value, "etag": '"1"'}).is_stored()


def test_no_store_in_quotes_is_no_directive():
    assert Site({"cache-control": 'foo="no-store", max-age=60'}).is_stored()


def test_no_store_of_a_request_is_obeyed():
    site = Site({"cache-control": "max-age=60"})
    site.get(headers={"cache-control": "no-store"})
    assert not site.get().is_hit


def test_must_understand_overrides_no_store_for_statuses_that_are_understood():
    value = {"cache-control": "must-understand, no-store, max-age=60"}
    assert Site(value).is_stored()
    assert not Site(value, status=299).is_stored()


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"cache-control": "public"},
        {"cache-control": "must-revalidate"},
        {"cache-control": "foo"},
        {"last-modified": date(-100000)},
    ],
)
def test_without_explicit_freshness_nothing_is_used_when_strict(headers):
    site = Site(headers)
    site.get()
    assert not site.get().is_hit


def test_several_fields_of_one_name_survive():
    site = Site([("cache-control", "max-age=60"), ("link", "<a>"), ("link", "<b>")])
    site.get()
    reply = site.get()
    assert reply.is_hit
    assert [v for n, v in reply.headers if n == b"link"] == [b"<a>", b"<b>"]


# 3.1 Storing header and trailer fields


def test_fields_of_the_connection_are_not_stored():
    site = Site(
        {
            "cache-control": "max-age=60",
            "connection": "x-hop, close",
            "x-hop": "1",
            "keep-alive": "timeout=5",
            "proxy-authenticate": "Basic",
            "upgrade": "h2c",
            "x-kept": "1",
        }
    )
    site.get()
    reply = site.get()
    assert reply.is_hit
    assert "x-kept" in reply
    for name in ("connection", "x-hop", "keep-alive", "proxy-authenticate", "upgrade"):
        assert name not in reply


def test_a_response_with_trailers_passes_and_is_not_stored():
    async def app(scope, receive, send):
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"cache-control", b"max-age=60"), (b"content-length", b"1")],
                "trailers": True,
            }
        )
        await send({"type": "http.response.body", "body": b"x"})
        await send(
            {
                "type": "http.response.trailers",
                "headers": [(b"x-sum", b"1")],
                "more_trailers": False,
            }
        )

    cache = ResponseCacheMiddleware(app, CacheConfig(strict=True))
    for _ in range(2):
        reply = run(ask(cache))
        assert not reply.is_hit
        assert reply.messages[-1]["headers"] == [(b"x-sum", b"1")]


# 3.3 Incomplete responses


@pytest.mark.parametrize("length", ["4", "6"])
def test_a_body_of_another_length_than_told_is_not_stored(length):
    site = Site({"cache-control": "max-age=60", "content-length": length})
    assert not site.is_stored()


def test_an_answer_without_an_end_is_not_stored():
    async def app(scope, receive, send):
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"cache-control", b"max-age=60")],
            }
        )
        await send({"type": "http.response.body", "body": b"half", "more_body": True})

    cache = ResponseCacheMiddleware(app, window=5.0)

    async def scenario():
        for _ in range(2):
            with pytest.raises(AssertionError, match="no end"):
                await ask(cache)
        assert cache.stats().entries == 0

    run(scenario())


def test_a_streamed_answer_is_stored_when_it_is_complete():
    site = Site({"cache-control": "max-age=60"}, chunks=[b"one", b"two"])
    first = site.get()
    second = site.get()
    assert first.body == second.body == b"onetwo"
    assert second.is_hit
    assert second["content-length"] == "6"


# 3.2 and 4.3.4 Updating stored fields by a 304


def test_a_304_makes_what_is_stored_fresh_and_updates_its_fields():
    site = Site(
        {"cache-control": "max-age=60", "etag": '"1"', "x-old": "1", "x-both": "1"},
        status=revalidating,
    )
    site.get()
    site.clock.pass_by(61)
    site.origin.headers = {
        "cache-control": "max-age=60",
        "etag": '"1"',
        "x-both": "2",
        "content-type": "text/odd",
    }
    reply = site.get()
    assert reply.status == 200
    assert reply.body == b"hello"
    assert reply.outcome == "fwd=stale; fwd-status=304; stored"
    assert site.origin.asked("if-none-match") == '"1"'
    hit = site.get()
    assert hit.is_hit
    assert hit["x-both"] == "2"
    assert hit["x-old"] == "1"
    assert hit["content-type"] == "application/json"
    assert hit["content-length"] == "5"


def test_a_304_about_another_response_is_not_believed():
    site = Site({"cache-control": "max-age=60", "etag": '"1"'}, status=revalidating)
    site.get()
    site.clock.pass_by(61)
    site.origin.headers = {"cache-control": "max-age=60", "etag": '"2"'}
    site.origin.body = b"other"
    reply = site.get()
    assert (reply.status, reply.body) == (200, b"other")
    assert site.origin.asked("if-none-match") is None


def test_last_modified_is_used_to_validate():
    def status(scope):
        return 304 if any(n == b"if-modified-since" for n, _ in scope["headers"]) else 200

    site = Site({"cache-control": "max-age=60", "last-modified": date(-500)}, status=status)
    site.get()
    site.clock.pass_by(61)
    assert site.get().outcome == "fwd=stale; fwd-status=304; stored"
    assert site.origin.asked("if-modified-since") == date(-500)


def test_a_full_answer_to_a_validation_replaces_what_is_stored():
    site = Site({"cache-control": "max-age=60", "etag": '"1"'})
    site.get()
    site.clock.pass_by(61)
    site.origin.body = b"newer"
    site.origin.headers = {"cache-control": "max-age=60", "etag": '"2"'}
    assert site.get().body == b"newer"
    assert site.get().body == b"newer"
    assert site.origin.count == 2


def test_a_304_that_forbids_storing_takes_the_response_out():
    site = Site({"cache-control": "max-age=60", "etag": '"1"'}, status=revalidating)
    site.get()
    site.clock.pass_by(61)
    site.origin.headers = {"cache-control": "no-store", "etag": '"1"'}
    assert site.get().body == b"hello"
    assert not site.get().is_hit


# 3.5 Credentials: see test_privacy.py
