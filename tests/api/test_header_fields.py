"""The parsers of header fields: what they read, and that nothing makes them fail or linger."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overdrive.api import headers
from overdrive.api.structured import StructuredFieldError, parse_dictionary, quote_string

# Bytes that mean something in some field, so that random text gets far into the parsers.
NEARLY = st.lists(
    st.sampled_from(
        [
            *(bytes([byte]) for byte in b',;=" \t\\*-0123456789/:.()?@%W'),
            *(
                b"max-age",
                b"no-store",
                b"private",
                b"gzip",
                b"identity",
                b"q=0.5",
                b"bytes=",
                b"\xff",
            ),
        ]
    ),
    max_size=40,
).map(b"".join)
ANY = NEARLY | st.binary(max_size=200)


@pytest.mark.parametrize(
    ("value", "directives"),
    [
        (b"", {}),
        (b",, ,", {}),
        (b"max-age=5", {"max-age": "5"}),
        (b"Max-Age = 5", {"max-age": "5"}),
        (b'max-age="5"', {"max-age": "5"}),
        (b"a, b=c,d", {"a": None, "b": "c", "d": None}),
        (b'a="x, private, \\"y\\"", b', {"a": 'x, private, "y"', "b": None}),
        (b'a="never ends, private', {"a": None, "private": None}),
        (b"max-age=5 private", {"max-age": None}),
        (b"@@private", {"private": None}),
        (b"max-age=1, max-age=2", {"max-age": "1"}),
        (b"\xff\xfe, no-store", {"no-store": None}),
        (b"a" * 5000, {"no-store": None}),
    ],
)
def test_cache_control_is_read(value, directives):
    assert headers.parse_cache_control([value]) == directives


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        (b"Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        (b"Sun Nov  6 08:49:37 1994", 784111777),
        (b"Sun Nov 16 08:49:37 1994", 784975777),
        (b" Sun, 06 Nov 1994 08:49:37 GMT ", 784111777),
        (b"Sat, 31 Dec 2016 23:59:60 GMT", 1483228800),
        (b"Sunday, 06-Nov-70 08:49:37 GMT", 3182489377),
        (b"Sunday, 06-Nov-80 08:49:37 GMT", 342348577),
    ],
)
def test_dates_are_read_in_all_three_forms(value, seconds):
    assert headers.http_date(value, 1_750_000_000) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"0",
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 EST",
        b"Sun, 32 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Nov 1994 25:49:37 GMT",
        b"Sun, 06 Foo 1994 08:49:37 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, ٠٦ Nov 1994 08:49:37 GMT".encode(),
    ],
)
def test_what_is_no_date_is_none(value):
    assert headers.http_date(value, 1_750_000_000) is None


@given(ANY, st.integers(0, 1000))
def test_no_field_makes_a_parser_fail(value, size):
    directives = headers.parse_cache_control([value, value])
    for name in directives:
        seconds = headers.delta_seconds(directives, name)
        assert seconds is None or 0 <= seconds <= headers.FOREVER
    headers.http_date(value, 0)
    headers.list_members([value])
    headers.matches_etag([value], b'"1"')
    assert all(0 <= weight <= 1 for weight in headers.parse_accept_encoding(value).values())
    for first, last in headers.parse_range(value, size) or ():
        assert 0 <= first <= last < size


@given(ANY)
def test_an_entity_tag_matches_only_where_it_stands(value):
    if headers.matches_etag([value], b'"tag"') and value.strip(b" \t") != b"*":
        assert b'"tag"' in value


@pytest.mark.parametrize(
    "value",
    [
        b'a="\\",' * 20_000,
        b'"' * 100_000,
        b"a," * 50_000,
        b"bytes=" + b"0-1," * 30_000,
        b"gzip;q=" * 15_000,
        b"W/" * 50_000,
        b" " * 100_000,
        b"1" * 100_000,
    ],
    ids=lambda value: value[:8].decode(),
)
def test_long_fields_do_not_take_quadratic_time(value):
    # It would be minutes, which the timeout of the test would end.
    for _ in range(3):
        headers.parse_cache_control([value])
        headers.parse_accept_encoding(value)
        headers.parse_range(value, 10)
        headers.matches_etag([value], b'"x"')
        headers.http_date(value, 0)
        headers.list_members([value])


# Structured fields (RFC 9651)


@pytest.mark.parametrize(
    ("value", "members"),
    [
        (b"", {}),
        (b"a", {"a": True}),
        (b"a=1, b=2.5, c=-3", {"a": 1, "b": 2.5, "c": -3}),
        (b"a=?0, b=?1", {"a": False, "b": True}),
        (b'a="x\\"y", b=tok/en', {"a": 'x"y', "b": "tok/en"}),
        (b"a;x=1;y, b=1;z", {"a": True, "b": 1}),
        (b'a=(1 "b" c);x', {"a": [1, "b", "c"]}),
        (b"a=()", {"a": []}),
        (b"a=:aGVsbG8=:", {"a": b"aGVsbG8="}),
        (b"a=@1659578233", {"a": 1659578233}),
        (b'a=%"f%c3%bc"', {"a": "f%c3%bc"}),
        (b"a=1,a=2", {"a": 2}),
        (b"a=1 \t,\t b", {"a": 1, "b": True}),
        (b"*a=1", {"*a": 1}),
    ],
)
def test_dictionaries_are_read(value, members):
    assert parse_dictionary([value]) == members


@pytest.mark.parametrize(
    "value",
    [
        b"a,", b",a", b"a b", b"A", b"1", b"a=", b"a==1", b"a=1.", b"a=.1", b"a=1.2345",
        b"a=1234567890123456", b'a="x', b'a="\\x"', b'a="\xc3\xbc"', b"a=(1", b"a=(1,2)",
        b"a=(1 2)x", b"a=?2", b"a=:*:", b"a;", b"a;=1", b"a=@1.5", b'a=%"%C3"', b"\xff",
        b"a=1;;", b"a=--1",
    ],
)  # fmt: skip
def test_what_is_no_dictionary_is_refused_as_a_whole(value):
    with pytest.raises(StructuredFieldError):
        parse_dictionary([value])


@given(ANY)
def test_any_bytes_are_a_dictionary_or_refused(value):
    try:
        members = parse_dictionary([value])
    except StructuredFieldError:
        return
    assert all(isinstance(key, str) for key in members)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_strings_come_back(text):
    assert parse_dictionary([b"a=" + quote_string(text).encode()]) == {"a": text}
