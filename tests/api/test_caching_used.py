"""When it is used: RFC 9111, 4.1 and 4.2, RFC 5861 and 9213."""

import asyncio
import logging

import pytest
from harness import Site, ask, date, run

# 4. Constructing responses from caches


def test_a_hit_has_its_age_and_the_fields_of_the_origin():
    site = Site({"cache-control": "max-age=60", "x-mine": "1"})
    first = site.get()
    assert first.outcome == "fwd=uri-miss; fwd-status=200; stored"
    assert "age" not in first
    for headers in ({}, {"cache-control": "max-age=60"}, {"range": "bytes=0-0"}):
        assert site.get(headers=headers)["age"] == "0"
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
        await asyncio.gather(*site.cache._origin._tasks)
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
