"""RFC 9111, clause by clause; `docs/guide/http-caching.md` refers to these tests by name."""

import asyncio
import logging
from email.utils import formatdate

import pytest
from harness import Clock, Origin, ask, run

from overdrive.api import CacheConfig, ResponseCacheMiddleware

NOW = 1_750_000_000.0
STRICT = {"strict": True}


class Site:
    """An origin behind a cache, with a clock."""

    def __init__(self, headers=None, *, config=None, **origin):
        self.clock = Clock(NOW)
        self.origin = Origin(headers=headers or {}, **origin)
        self.cache = ResponseCacheMiddleware(
            self.origin,
            CacheConfig(**(config or STRICT)),
            window=5.0,
            clock=self.clock,
            wall_clock=self.clock,
        )

    def get(self, path="/", **options):
        return run(self.behind(path, **options))

    async def behind(self, path="/", **options):
        reply = await ask(self.cache, path, **options)
        # What goes on behind is part of the story.
        while self.cache._origin._tasks:
            await asyncio.sleep(0)
        return reply

    def is_stored(self, path="/", **options):
        self.get(path, **options)
        return self.get(path, **options).is_hit


def date(seconds=0.0):
    return formatdate(NOW + seconds, usegmt=True)


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


def revalidating(scope):
    return 304 if any(n == b"if-none-match" for n, _ in scope["headers"]) else 200


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


# 4. Constructing responses from caches


def test_a_hit_has_its_age_and_the_fields_of_the_origin():
    site = Site({"cache-control": "max-age=60", "x-mine": "1"})
    assert site.get().outcome == "fwd=uri-miss; fwd-status=200; stored"
    site.clock.pass_by(10.5)
    reply = site.get()
    assert reply["age"] == "10"
    assert reply["x-mine"] == "1"
    assert reply.outcome == "hit; ttl=50"
    assert reply.body == b"hello"
    assert site.origin.count == 1


def test_head_is_answered_from_a_stored_get():
    site = Site({"cache-control": "max-age=60"})
    get = site.get()
    head = site.get(method="HEAD")
    assert head.is_hit
    assert head.body == b""
    assert head["content-length"] == get["content-length"] == "5"


def test_a_head_that_misses_is_forwarded_and_not_stored():
    site = Site({"cache-control": "max-age=60"})
    assert site.get(method="HEAD").outcome == "fwd=uri-miss"
    assert site.origin.requests[0]["method"] == "HEAD"
    assert not site.get().is_hit


# 4.1 Calculating cache keys with Vary


def test_vary_selects_by_the_named_fields():
    site = Site(
        {"cache-control": "max-age=60", "vary": "Accept-Language"},
        body=lambda scope: dict(scope["headers"]).get(b"accept-language", b"none"),
    )
    for language in ("de", "fr"):
        assert not site.get(headers={"accept-language": language}).is_hit
    for language in ("de", "fr"):
        reply = site.get(headers={"accept-language": language})
        assert reply.is_hit
        assert reply.body == language.encode()
    miss = site.get()
    assert miss.outcome.startswith("fwd=vary-miss")
    assert miss.body == b"none"


def test_vary_compares_several_lines_and_spaces_as_one_list():
    site = Site({"cache-control": "max-age=60", "vary": "x-a"})
    site.get(headers=[("x-a", "1"), ("x-a", "2")])
    assert site.get(headers={"x-a": "1 ,2"}).is_hit
    assert not site.get(headers={"x-a": "2, 1"}).is_hit


def test_vary_star_is_never_used():
    assert not Site({"cache-control": "public, max-age=60", "vary": "accept, *"}).is_stored()


def test_vary_from_several_lines_counts_whole():
    site = Site([("cache-control", "max-age=60"), ("vary", "x-a"), ("vary", "x-b")])
    site.get(headers={"x-a": "1", "x-b": "1"})
    assert not site.get(headers={"x-a": "1", "x-b": "2"}).is_hit
    assert not site.get(headers={"x-a": "2", "x-b": "1"}).is_hit
    assert site.get(headers={"x-a": "1", "x-b": "1"}).is_hit


def test_variants_of_one_resource_are_bounded():
    site = Site(
        {"cache-control": "max-age=60", "vary": "user-agent"},
        config={"strict": True, "max_variants": 3},
    )
    for agent in "abcd":
        site.get(headers={"user-agent": agent})
    hits = [site.get(headers={"user-agent": agent}).is_hit for agent in "bcd"]
    assert hits == [True, True, True]
    assert len(site.cache.store.get(("http", b"example.org", b"/", b"", "")).variants) == 3


# 4.2.1 Freshness lifetime


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"cache-control": "max-age=60"}, 60),
        ({"cache-control": 'max-age="60"'}, 60),
        ({"cache-control": "Max-Age=60"}, 60),
        ({"cache-control": "max-age=60, s-maxage=10"}, 10),
        ({"cache-control": "s-maxage=60, max-age=10"}, 60),
        ({"cache-control": "max-age=60, max-age=10"}, 60),
        ({"cache-control": "max-age=60", "expires": date(10)}, 60),
        ({"expires": date(60), "date": date()}, 60),
        ({"expires": date(60)}, 60),
        ({"expires": "Sunday, 15-Jun-25 15:07:40 GMT", "date": "Sun Jun 15 15:06:40 2025"}, 60),
        ({"cdn-cache-control": "max-age=60", "cache-control": "max-age=1"}, 60),
        ({"cdn-cache-control": "max-age=60", "cache-control": "no-store"}, 60),
        ({"cdn-cache-control": "max-age=60, x;y=1", "expires": date(1)}, 60),
        ({"cdn-cache-control": "max-age=60, =", "cache-control": "max-age=20"}, 20),
        ({"cdn-cache-control": "", "cache-control": "max-age=20"}, 20),
        ({"cdn-cache-control": "MAX-AGE=60", "cache-control": "max-age=20"}, 20),
    ],
)
def test_freshness_lasts_as_long_as_the_origin_says(headers, seconds):
    site = Site(headers)
    site.get()
    site.clock.pass_by(seconds - 0.5)
    assert site.get().is_hit
    site.clock.pass_by(1)
    assert not site.get().is_hit


@pytest.mark.parametrize(
    "headers",
    [
        {"cache-control": "max-age=0"},
        {"cache-control": "max-age=-1"},
        {"cache-control": "max-age=abc"},
        {"cache-control": "max-age"},
        {"cache-control": "max-age="},
        {"cache-control": "max-age=1.5"},
        {"cache-control": "max-age=60 60"},
        {"cache-control": "max-age=60, s-maxage=0"},
        {"cache-control": "max-age = 60 ; x"},
        {"expires": "0"},
        {"expires": "tomorrow"},
        {"expires": date(-1)},
        {"expires": date(60), "date": date(60)},
        {"cdn-cache-control": "max-age=0", "cache-control": "max-age=60"},
        {"cdn-cache-control": 'max-age="60"', "cache-control": "max-age=60"},
        {"cdn-cache-control": "no-store", "cache-control": "max-age=60"},
        {"cdn-cache-control": "private, max-age=60", "cache-control": "max-age=60"},
    ],
)
def test_what_is_not_clearly_fresh_is_stale(headers):
    assert not Site(headers).is_stored()


def test_times_too_large_to_be_meant_last_very_long():
    site = Site({"cache-control": f"max-age={10**30}"})
    site.get()
    site.clock.pass_by(10**8)
    assert site.get().is_hit


# 4.2.3 Age


def test_the_age_of_the_origin_counts():
    site = Site({"cache-control": "max-age=60", "age": "50"})
    assert site.get()["age"] == "50"
    site.clock.pass_by(5)
    assert site.get()["age"] == "55"
    site.clock.pass_by(6)
    assert not site.get().is_hit


def test_a_date_in_the_past_counts_as_age():
    site = Site({"cache-control": "max-age=60", "date": date(-50)})
    site.get()
    site.clock.pass_by(5)
    assert site.get()["age"] == "55"


@pytest.mark.parametrize("age", ["", "-5", "old", "1.5", "5, 7"])
def test_an_age_that_cannot_be_read_is_none_and_of_a_list_the_first_counts(age):
    site = Site({"cache-control": "max-age=60", "age": age})
    site.get()
    assert site.get()["age"] == ("5" if age == "5, 7" else "0")


# 4.2.4 Stale responses and RFC 5861


def test_a_stale_response_is_used_while_a_new_one_is_fetched():
    site = Site({"cache-control": "max-age=60, stale-while-revalidate=30"})
    site.get()
    site.clock.pass_by(70)
    site.origin.body = b"newer"
    reply = site.get()
    assert reply.body == b"hello"
    assert reply.outcome == "hit; ttl=-10"
    assert site.origin.count == 2
    fresh = site.get()
    assert fresh.is_hit
    assert fresh.body == b"newer"


def test_after_the_window_a_stale_response_is_not_used():
    site = Site({"cache-control": "max-age=60, stale-while-revalidate=30"})
    site.get()
    site.clock.pass_by(91)
    site.origin.body = b"newer"
    assert site.get().body == b"newer"


def test_many_requests_for_a_stale_response_fetch_once():
    site = Site({"cache-control": "max-age=60, stale-while-revalidate=30"})
    site.get()
    site.clock.pass_by(70)

    async def scenario():
        replies = await asyncio.gather(*(ask(site.cache) for _ in range(50)))
        while site.cache._origin._tasks:
            await asyncio.sleep(0)
        return replies

    assert all(reply.is_hit for reply in run(scenario()))
    assert site.origin.count == 2


@pytest.mark.parametrize("directive", ["must-revalidate", "proxy-revalidate", "no-cache"])
def test_what_must_be_validated_is_never_used_stale(directive):
    value = f"max-age=60, stale-while-revalidate=30, stale-if-error=300, {directive}"
    site = Site({"cache-control": value, "etag": '"1"'})
    site.get()
    site.clock.pass_by(70)
    site.origin.body = b"newer"
    assert site.get().body == b"newer"
    site.clock.pass_by(70)
    site.origin.status = 503
    assert site.get().status == 503


def test_s_maxage_forbids_stale_use_when_strict_and_yields_to_explicit_extensions_otherwise():
    value = {"cache-control": "s-maxage=60, stale-while-revalidate=30"}
    for strict, body in ((True, b"newer"), (False, b"hello")):
        site = Site(value, config={"strict": strict})
        site.get()
        site.clock.pass_by(70)
        site.origin.body = b"newer"
        assert site.get().body == body


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_stale_response_is_used_instead_of_an_error(status):
    site = Site({"cache-control": "max-age=60, stale-if-error=300"})
    site.get()
    site.clock.pass_by(100)
    site.origin.status = status
    reply = site.get()
    assert (reply.status, reply.body) == (200, b"hello")
    assert reply.outcome == f"fwd=stale; fwd-status={status}"
    site.clock.pass_by(300)
    assert site.get().status == status


def test_a_stale_response_is_used_when_the_application_raises(caplog):
    site = Site({"cache-control": "max-age=60, stale-if-error=300"})
    site.get()
    site.clock.pass_by(100)

    async def fail(scope, receive, send):
        raise RuntimeError("no database")

    site.cache.app = fail
    with caplog.at_level(logging.WARNING):
        reply = site.get()
    assert reply.body == b"hello"
    assert "no database" in caplog.text
    site.clock.pass_by(300)
    with pytest.raises(RuntimeError, match="no database"):
        site.get()


def test_errors_without_permission_to_be_stale_go_through():
    site = Site({"cache-control": "max-age=60"})
    site.get()
    site.clock.pass_by(61)
    site.origin.status = 503
    assert site.get().status == 503


# 4.3.2 Handling a received validation request


@pytest.mark.parametrize("value", ['"1"', 'W/"1"', '"0", "1"', '"0",W/"1"', "*", ' "1" '])
def test_if_none_match_is_answered_from_the_store(value):
    site = Site({"cache-control": "max-age=60", "etag": '"1"', "vary": "x-a", "x-mine": "1"})
    site.get()
    reply = site.get(headers={"if-none-match": value})
    assert reply.status == 304
    assert reply.body == b""
    assert reply["etag"] == '"1"'
    assert reply["cache-control"] == "max-age=60"
    assert reply["vary"] == "x-a"
    assert reply["age"] == "0" or "age" not in reply
    assert "content-length" not in reply
    assert "content-type" not in reply
    assert reply.is_hit
    assert site.origin.count == 1


@pytest.mark.parametrize("value", ['"2"', "1", '""', '"1', 'w/"1"x', "W/1", ""])
def test_if_none_match_of_another_response_gets_it_whole(value):
    site = Site({"cache-control": "max-age=60", "etag": '"1"'})
    site.get()
    assert site.get(headers={"if-none-match": value}).status == 200


def test_if_modified_since_counts_only_without_if_none_match():
    site = Site({"cache-control": "max-age=60", "etag": '"1"', "last-modified": date(-500)})
    site.get()
    for value, status in ((date(-500), 304), (date(), 304), (date(-501), 200), ("yesterday", 200)):
        assert site.get(headers={"if-modified-since": value}).status == status, value
    both = {"if-none-match": '"2"', "if-modified-since": date()}
    assert site.get(headers=both).status == 200


@pytest.mark.parametrize("name", ["if-match", "if-unmodified-since", "expect"])
def test_conditions_that_only_the_origin_can_judge_are_forwarded(name):
    site = Site({"cache-control": "max-age=60"})
    site.get()
    assert not site.get(headers={name: "*"}).is_hit
    assert site.origin.asked(name) == "*"


def test_the_condition_of_a_client_is_judged_by_the_cache_on_a_miss_too():
    site = Site({"cache-control": "max-age=60", "etag": '"1"'})
    reply = site.get(headers={"if-none-match": '"1"'})
    assert reply.status == 304
    assert site.origin.asked("if-none-match") is None
    assert site.get().body == b"hello"


def test_responses_get_an_entity_tag_that_is_the_same_in_every_process():
    first, second = (
        Site({"cache-control": "max-age=60"}).get(),
        Site({"cache-control": "max-age=1"}).get(),
    )
    assert first["etag"] == second["etag"] != ""
    site = Site({"cache-control": "max-age=60"})
    site.get()
    assert site.get(headers={"if-none-match": first["etag"]}).status == 304


def test_our_own_entity_tag_is_not_asked_about():
    site = Site({"cache-control": "max-age=60"})
    site.get()
    site.clock.pass_by(61)
    site.get()
    assert site.origin.asked("if-none-match") is None


# 4.3.5 Freshening with HEAD


def test_a_head_that_differs_takes_the_stored_response_out():
    site = Site({"cache-control": "max-age=60", "etag": '"1"'})
    site.get()
    site.clock.pass_by(61)
    site.origin.headers = {"cache-control": "max-age=60", "etag": '"2"'}
    site.get(method="HEAD")
    assert site.cache.stats().entries == 0


# 4.4 Invalidation


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "LINK"])
@pytest.mark.parametrize("status", [200, 201, 204, 303])
def test_a_successful_unsafe_request_invalidates_its_target(method, status):
    site = Site({"cache-control": "max-age=60"})
    site.get("/a", query="x=1")
    site.origin.status = status
    site.get("/a", method=method)
    site.origin.status = 200
    assert not site.get("/a", query="x=1").is_hit


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_failed_unsafe_request_invalidates_nothing(status):
    site = Site({"cache-control": "max-age=60"})
    site.get("/a")
    site.origin.status = status
    site.get("/a", method="POST")
    site.origin.status = 200
    assert site.get("/a").is_hit


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE"])
def test_a_safe_request_invalidates_nothing(method):
    site = Site({"cache-control": "max-age=60"})
    site.get("/a")
    site.get("/a", method=method, headers={"cache-control": "no-store"})
    assert site.get("/a").is_hit


@pytest.mark.parametrize("name", ["location", "content-location"])
def test_what_an_unsafe_answer_names_is_invalidated_on_the_same_host_only(name):
    site = Site({"cache-control": "max-age=60"})
    site.get("/made/b c")
    for target, survives in (("https://other.org/made/b%20c", True), ("/made/b%20c", False)):
        site.origin.headers = {"cache-control": "max-age=60", name: target}
        site.get("/elsewhere", method="POST")
        site.origin.headers = {"cache-control": "max-age=60"}
        assert site.get("/made/b c").is_hit == survives


def test_a_change_below_invalidates_the_collections_above():
    site = Site({"cache-control": "max-age=60"})
    for path in ("/api/agents", "/api/agents/8", "/other"):
        site.get(path)
    site.get("/api/agents/7", method="DELETE")
    assert not site.get("/api/agents").is_hit
    assert site.get("/api/agents/8").is_hit
    assert site.get("/other").is_hit


# 5.2.1 Request directives


def test_the_client_may_ask_for_validation():
    site = Site({"cache-control": "max-age=60", "etag": '"1"'}, status=revalidating)
    site.get()
    for headers in (
        {"cache-control": "no-cache"},
        {"pragma": "no-cache"},
        {"cache-control": "max-age=0"},
    ):
        site.clock.pass_by(1)
        assert site.get(headers=headers).outcome == "fwd=stale; fwd-status=304; stored"
    assert site.get(headers={"pragma": "no-cache", "cache-control": "max-age=100"}).is_hit


def test_max_age_and_min_fresh_of_a_client_are_obeyed():
    site = Site({"cache-control": "max-age=60"})
    site.get()
    site.clock.pass_by(20)
    assert site.get(headers={"cache-control": "max-age=30"}).is_hit
    assert site.get(headers={"cache-control": "min-fresh=30"}).is_hit
    assert not site.get(headers={"cache-control": "min-fresh=50"}).is_hit
    site.clock.pass_by(20)
    assert not site.get(headers={"cache-control": "max-age=10"}).is_hit


def test_max_stale_of_a_client_is_obeyed_unless_forbidden():
    site = Site({"cache-control": "max-age=60"})
    site.get()
    site.clock.pass_by(70)
    assert site.get(headers={"cache-control": "max-stale=20"}).is_hit
    assert site.get(headers={"cache-control": "max-stale"}).is_hit
    assert not site.get(headers={"cache-control": "max-stale=5"}).is_hit
    site = Site({"cache-control": "max-age=60, must-revalidate"})
    site.get()
    site.clock.pass_by(70)
    assert not site.get(headers={"cache-control": "max-stale"}).is_hit


def test_only_if_cached_never_asks_the_origin():
    site = Site({"cache-control": "max-age=60"})
    assert site.get(headers={"cache-control": "only-if-cached"}).status == 504
    assert site.origin.count == 0
    site.get()
    assert site.get(headers={"cache-control": "only-if-cached"}).is_hit


def test_clients_can_be_kept_from_going_past_the_cache():
    site = Site({"cache-control": "max-age=60"}, config={"strict": True, "obey_clients": False})
    site.get()
    for value in ("no-cache", "max-age=0", "no-store"):
        assert site.get(headers={"cache-control": value}).is_hit


# 5.2.2 Response directives


def test_no_cache_is_stored_but_always_validated():
    site = Site({"cache-control": "no-cache, max-age=60", "etag": '"1"'}, status=revalidating)
    site.get()
    for _ in range(2):
        reply = site.get()
        assert reply.outcome == "fwd=stale; fwd-status=304; stored"
        assert reply.body == b"hello"


def test_no_cache_for_some_fields_is_taken_for_all():
    site = Site({"cache-control": 'no-cache="x-a", max-age=60', "etag": '"1"'})
    assert not site.is_stored()


def test_unknown_directives_are_ignored():
    assert Site({"cache-control": "community=UCI, max-age=60, immutable, no-transform"}).is_stored()


# RFC 9211


def test_cache_status_tells_what_happened_and_comes_after_the_origins():
    site = Site({"cache-control": "max-age=60", "cache-status": "Origin; hit"})
    assert [v for n, v in site.get().headers if n == b"cache-status"] == [
        b"Origin; hit",
        b"Overdrive; fwd=uri-miss; fwd-status=200; stored",
    ]
    assert site.get(method="POST")["cache-status"].endswith("Overdrive; fwd=method")
    secret = site.get(headers={"authorization": "x"})
    assert secret["cache-status"].endswith("Overdrive; fwd=bypass; detail=credentials")


def test_the_cache_can_be_silent():
    site = Site({"cache-control": "max-age=60"}, config={"name": None})
    for _ in range(2):
        assert "cache-status" not in site.get()


# Range requests (RFC 9110, 14) from stored responses


@pytest.mark.parametrize(
    ("value", "body", "told"),
    [
        ("bytes=0-1", b"he", "bytes 0-1/5"),
        ("bytes=1-", b"ello", "bytes 1-4/5"),
        ("bytes=-2", b"lo", "bytes 3-4/5"),
        ("bytes=-99", b"hello", "bytes 0-4/5"),
        ("bytes=4-99", b"o", "bytes 4-4/5"),
        ("Bytes= 0-0 ", b"h", "bytes 0-0/5"),
    ],
)
def test_a_part_of_a_stored_response_is_served(value, body, told):
    site = Site({"cache-control": "max-age=60", "etag": '"1"'})
    site.get()
    reply = site.get(headers={"range": value})
    assert (reply.status, reply.body) == (206, body)
    assert reply["content-range"] == told
    assert reply["content-length"] == str(len(body))
    assert reply["etag"] == '"1"'
    assert reply.is_hit


@pytest.mark.parametrize(
    "value", ["bytes=0-1,3-4", "lines=0-1", "bytes=a-b", "bytes=3-1", "bytes", "bytes="]
)
def test_ranges_that_are_several_or_senseless_get_the_whole(value):
    site = Site({"cache-control": "max-age=60"})
    site.get()
    assert site.get(headers={"range": value}).body == b"hello"


@pytest.mark.parametrize("value", ["bytes=5-", "bytes=99-100", "bytes=-0"])
def test_a_part_that_is_not_there_is_refused(value):
    site = Site({"cache-control": "max-age=60"})
    site.get()
    reply = site.get(headers={"range": value})
    assert reply.status == 416
    assert reply["content-range"] == "bytes */5"


def test_if_range_holds_only_for_the_same_response_strongly():
    site = Site({"cache-control": "max-age=60", "etag": '"1"', "last-modified": date(-500)})
    site.get()
    for value, status in (
        ('"1"', 206),
        ('"2"', 200),
        ('W/"1"', 200),
        (date(-500), 206),
        (date(-400), 200),
    ):
        assert site.get(headers={"range": "bytes=0-1", "if-range": value}).status == status, value


def test_a_range_that_misses_is_left_to_the_application():
    site = Site(
        {"cache-control": "max-age=60", "content-range": "bytes 0-1/5"}, status=206, body=b"he"
    )
    assert site.get(headers={"range": "bytes=0-1"}).body == b"he"
    assert site.origin.asked("range") == "bytes=0-1"
    assert site.cache.stats().entries == 0
