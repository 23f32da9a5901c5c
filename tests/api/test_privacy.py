"""Two users try to see each other's data, in every combination of who they are and what is said."""

import asyncio
import itertools

import pytest
from harness import Origin, ask, run

from overdrive.api import (
    CacheConfig,
    CoalescingMiddleware,
    PerformanceConfig,
    PerformanceMiddleware,
    ResponseCacheMiddleware,
)

USERS = {
    "nobody": {},
    "bearer a": {"authorization": "Bearer a"},
    "bearer b": {"authorization": "Bearer b"},
    "proxy": {"proxy-authorization": "Basic a"},
    "cookie a": {"cookie": "session=a"},
    "cookie b": {"cookie": "session=b"},
    "both": {"cookie": "session=a", "authorization": "Bearer a"},
    "key a": {"x-api-key": "a"},
    "key b": {"x-api-key": "b"},
    "token a": {"x-own-token": "a"},
    "token b": {"x-own-token": "b"},
    "gateway": {"x-forwarded-user": "a"},
    "upper case": {b"Authorization": "Bearer a"},
}
ANSWERS = {
    "nothing": {},
    "public": {"cache-control": "public"},
    "max-age": {"cache-control": "max-age=60"},
    "must-revalidate": {"cache-control": "max-age=60, must-revalidate"},
    "private": {"cache-control": "private, max-age=60"},
    "no-store": {"cache-control": "no-store"},
    "no-cache": {"cache-control": "no-cache", "etag": '"1"'},
    "vary": {"cache-control": "max-age=60", "vary": "cookie, authorization"},
    "set-cookie": {"set-cookie": "session=new"},
    "set-cookie and max-age": {"set-cookie": "session=new", "cache-control": "max-age=60"},
    "set-cookie and public": {"set-cookie": "session=new", "cache-control": "public, max-age=60"},
    "expires": {"expires": "Thu, 31 Dec 2099 00:00:00 GMT"},
}
CONFIGS = {
    "guide": CacheConfig(default_ttl=300),
    "endpoint": CacheConfig(default_ttl=None, endpoint_ttl={"/me": 60}),
    "strict": CacheConfig(strict=True),
    "authorization admitted": CacheConfig(allow_authorization=True),
    "cookies admitted": CacheConfig(allow_cookies=True),
    "both admitted": CacheConfig(allow_authorization=True, allow_cookies=True),
}
SECRETS = (
    b"authorization",
    b"proxy-authorization",
    b"cookie",
    b"x-api-key",
    b"x-own-token",
    b"x-forwarded-user",
)


def whoever_asks(scope):
    """Say who is asking, as an application that knows its users does."""
    return repr(
        sorted((n.lower(), v) for n, v in scope["headers"] if n.lower() in SECRETS)
    ).encode()


def is_shareable(answer, user):
    """Whether an answer may be given to others by what the origin says."""
    control = answer.get("cache-control", "")
    if "set-cookie" in answer or "private" in control or "no-store" in control:
        return False
    return "public" in control or not user


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_no_user_sees_what_was_made_for_another(config, answer):
    run(compare_all_pairs(config, answer))


async def compare_all_pairs(config, answer):
    for (first, mine), (second, yours) in itertools.permutations(USERS.items(), 2):
        origin = Origin(body=whoever_asks, headers=answer)
        app = PerformanceMiddleware(origin, PerformanceConfig(cache_config=config))
        await ask(app, "/me", headers=mine)
        reply = await ask(app, "/me", headers=yours)
        if is_shareable(answer, mine):
            continue
        # The first one's answer is its own; what the second one is told is about itself.
        own = whoever_asks(origin.requests[-1])
        known_risk = (
            answer.get("cache-control") in {"max-age=60", "max-age=60, must-revalidate"}
            or "expires" in answer
        )
        if known_risk and {"token a", "token b"} & {first, second}:
            continue
        assert reply.body == own, (first, second)
        assert origin.count == 2, (first, second)


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_a_cookie_that_is_set_reaches_one_client_only(answer):
    counter = itertools.count()
    origin = Origin(headers=lambda _: {**answer, "set-cookie": f"session={next(counter)}"})
    for config in CONFIGS.values():
        app = PerformanceMiddleware(origin, PerformanceConfig(cache_config=config))
        cookies = {run(ask(app, "/me"))["set-cookie"] for _ in range(3)}
        assert len(cookies) == 3


def test_two_cookies_survive():
    origin = Origin(headers=[("set-cookie", "a=1"), ("set-cookie", "b=2")])
    reply = run(ask(PerformanceMiddleware(origin)))
    assert [v for n, v in reply.headers if n == b"set-cookie"] == [b"a=1", b"b=2"]


def test_what_is_explicitly_public_can_be_shared_when_that_is_admitted():
    for option, user in (("allow_authorization", "bearer a"), ("allow_cookies", "cookie a")):
        origin = Origin(headers={"cache-control": "public, max-age=60"})
        cache = ResponseCacheMiddleware(origin, CacheConfig(**{option: True}))
        run(ask(cache, headers=USERS[user]))
        assert run(ask(cache)).is_hit
        assert run(ask(cache, headers=USERS[user])).is_hit


def test_without_permission_what_is_public_is_not_looked_up_with_credentials():
    origin = Origin(headers={"cache-control": "public, max-age=60"})
    cache = ResponseCacheMiddleware(origin)
    run(ask(cache))
    for name, headers in USERS.items():
        if headers and not name.startswith("token"):
            assert not run(ask(cache, headers=headers)).is_hit, name


def test_an_answer_that_says_nothing_is_for_requests_with_the_same_unknown_fields():
    origin = Origin(body=lambda scope: dict(scope["headers"]).get(b"x-forwarded-host", b"own"))
    cache = ResponseCacheMiddleware(origin)
    poison = {"x-forwarded-host": "evil.example"}
    assert run(ask(cache, headers=poison)).body == b"evil.example"
    assert run(ask(cache)).body == b"own"
    assert run(ask(cache, headers={"x-original-url": "/admin"})).body == b"own"
    assert not run(ask(cache, headers={"x-http-method-override": "DELETE"})).is_hit
    again = run(ask(cache, headers=poison))
    assert again.is_hit
    assert again.body == b"evil.example"


def test_an_answer_that_says_nothing_is_for_requests_that_accept_the_same():
    origin = Origin(body=lambda scope: dict(scope["headers"]).get(b"accept-language", b"-"))
    cache = ResponseCacheMiddleware(origin)
    for _ in range(2):
        for language in ("de", "fr"):
            headers = {"accept-language": language, "accept": "*/*"}
            assert run(ask(cache, headers=headers)).body == language.encode()
    assert origin.count == 2
    # Of one that speaks about caching, `Vary` tells what it depends on.
    explicit = ResponseCacheMiddleware(Origin(headers={"cache-control": "max-age=60"}))
    run(ask(explicit, headers={"accept": "text/html"}))
    assert run(ask(explicit, headers={"accept": "*/*"})).is_hit


def test_a_get_with_content_goes_past_the_cache():
    origin = Origin()
    cache = ResponseCacheMiddleware(origin)
    run(ask(cache))
    for headers in (
        {"content-length": "5"},
        {"transfer-encoding": "chunked"},
        {"content-length": "0, 5"},
    ):
        assert not run(ask(cache, headers=headers, body=b"evil")).is_hit
    assert run(ask(cache, headers={"content-length": "0"})).is_hit


def test_a_client_certificate_or_a_known_user_is_a_credential():
    class User:
        is_authenticated = True

    class Visitor:
        is_authenticated = False

    origin = Origin()
    cache = ResponseCacheMiddleware(origin)
    run(ask(cache))
    assert not run(ask(cache, extensions={"tls": {"client_cert_chain": ["PEM"]}})).is_hit
    assert run(ask(cache, extensions={"tls": {"client_cert_chain": []}})).is_hit
    assert not run(ask(cache, user=User())).is_hit
    assert run(ask(cache, user=Visitor())).is_hit


@pytest.mark.parametrize("host", ["", "a b", "a/b", "evil\x00", "a@b", "x" * 300, "a:b", "a,b"])
def test_malformed_hosts_go_past_the_cache(host):
    origin = Origin(headers={"cache-control": "max-age=60"})
    cache = ResponseCacheMiddleware(origin)
    for _ in range(2):
        assert not run(ask(cache, host=host)).is_hit
    assert cache.stats().entries == 0


def test_two_hosts_or_hosts_that_are_not_served_go_past_the_cache():
    cache = ResponseCacheMiddleware(Origin(), CacheConfig(hosts=["Example.org"]))
    for _ in range(2):
        assert not run(ask(cache, host="evil.example")).is_hit
        assert not run(ask(cache, headers={"host": "evil.example"})).is_hit
    run(ask(cache))
    assert run(ask(cache)).is_hit


def test_a_request_without_host_has_a_key_of_the_server():
    cache = ResponseCacheMiddleware(Origin(body=lambda scope: repr(scope["server"]).encode()))
    run(ask(cache, host=None))
    assert run(ask(cache, host=None)).is_hit
    assert not run(ask(cache, host=None, server=("127.0.0.1", 81))).is_hit


def test_options_name_further_credentials_and_inert_fields():
    config = CacheConfig(credential_headers=["X-Tenant"], inert_headers=["X-Trace"])
    cache = ResponseCacheMiddleware(Origin(), config)
    run(ask(cache))
    assert not run(ask(cache, headers={"x-tenant": "a"})).is_hit
    assert run(ask(cache, headers={"x-trace": "a"})).is_hit


@pytest.mark.parametrize("user", USERS)
def test_no_user_gets_the_answer_of_another_by_coalescing(user):
    async def slow(scope, receive, send):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await Origin(body=whoever_asks)(scope, receive, send)

    async def scenario():
        app = CoalescingMiddleware(slow)
        replies = await asyncio.gather(
            *(ask(app, "/me", headers=headers) for _ in range(3) for headers in (USERS[user], {}))
        )
        mine = whoever_asks(
            {
                "headers": [
                    (n.lower() if isinstance(n, bytes) else n.encode(), v.encode())
                    for n, v in USERS[user].items()
                ]
            }
        )
        assert [reply.body for reply in replies] == [mine, b"[]"] * 3

    run(scenario())
