"""What clients ask: RFC 9111, 4.3 to 5, RFC 9211, and ranges."""

import pytest
from harness import Site, date, revalidating

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
    assert reply["age"] == "0"
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
