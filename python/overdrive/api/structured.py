"""Structured Field Values (RFC 9651), as far as caches need them: dictionaries in, items out.

Targeted cache control (RFC 9213) must be ignored as a whole when it does not parse, so this parser
is as strict as the RFC: every deviation is an error.
"""

import re
from collections.abc import Iterable
from typing import Final, Never, TypeAlias

__all__ = ["BareItem", "StructuredFieldError", "parse_dictionary", "quote_string"]

BareItem: TypeAlias = "int | float | str | bool | bytes | list[BareItem]"
"""A value without its parameters; an inner list is a list. Tokens and dates are not told apart from
strings and numbers, because no cache directive needs it."""

_KEY: Final = re.compile(r"[a-z*][a-z0-9_.*-]*")
_NUMBER: Final = re.compile(r"-?(?:\d{1,12}\.\d{1,3}|\d{1,15})(?![\d.])")
_STRING: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_TOKEN: Final = re.compile(r"[A-Za-z*][!#$%&'*+.^_`|~0-9A-Za-z:/-]*")
_BYTES: Final = re.compile(r":([A-Za-z0-9+/]*=*):")
_BOOLEAN: Final = re.compile(r"\?([01])")
_DATE: Final = re.compile(r"@(-?\d{1,15})(?![\d.])")
_DISPLAY: Final = re.compile(r'%"((?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*)"')


class StructuredFieldError(ValueError):
    """The field is not a structured dictionary."""


def parse_dictionary(values: Iterable[bytes]) -> dict[str, BareItem]:
    """Read a dictionary (RFC 9651, 4.2.2); of a key said twice the last value counts.

    Raises:
        StructuredFieldError: If any part of the field is malformed.
    """
    try:
        text = ",".join(value.decode("ascii") for value in values)
    except UnicodeDecodeError as error:
        raise StructuredFieldError("not ASCII") from error
    return _Parser(text.strip(" ")).dictionary()


def quote_string(text: str) -> str:
    """Write a string item; what a string may not hold becomes `?`."""
    safe = "".join(char if " " <= char <= "~" else "?" for char in text)
    escaped = safe.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def dictionary(self) -> dict[str, BareItem]:
        members: dict[str, BareItem] = {}
        while self._at < len(self._text):
            key = self._expect(_KEY)[0]
            value = self._member() if self._skip("=") else True
            self._parameters()
            members[key] = value
            self._blank(" \t")
            if self._at == len(self._text):
                return members
            if not self._skip(","):
                self._fail()
            self._blank(" \t")
            if self._at == len(self._text):
                self._fail()
        return members

    def _member(self) -> BareItem:
        if not self._skip("("):
            return self._bare_item()
        items: list[BareItem] = []
        while True:
            self._blank(" ")
            if self._skip(")"):
                return items
            items.append(self._bare_item())
            self._parameters()
            if not self._text.startswith((" ", ")"), self._at):
                self._fail()

    def _parameters(self) -> None:
        while self._skip(";"):
            self._blank(" ")
            self._expect(_KEY)
            if self._skip("="):
                self._bare_item()

    def _bare_item(self) -> BareItem:  # noqa: PLR0911 - a ladder of types
        if match := self._match(_NUMBER):
            return float(match[0]) if "." in match[0] else int(match[0])
        if match := self._match(_STRING):
            return re.sub(r"\\(.)", r"\1", match[1])
        if match := self._match(_TOKEN):
            return match[0]
        if match := self._match(_BOOLEAN):
            return match[1] == "1"
        if match := self._match(_BYTES):
            return match[1].encode()
        if match := self._match(_DATE):
            return int(match[1])
        return self._expect(_DISPLAY)[1]

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._at)
        if match:
            self._at = match.end()
        return match

    def _expect(self, pattern: re.Pattern[str]) -> re.Match[str]:
        match = self._match(pattern)
        if match is None:
            self._fail()
        return match

    def _skip(self, char: str) -> bool:
        found = self._text.startswith(char, self._at)
        self._at += found
        return found

    def _blank(self, chars: str) -> None:
        while self._at < len(self._text) and self._text[self._at] in chars:
            self._at += 1

    def _fail(self) -> Never:
        raise StructuredFieldError(f"malformed at character {self._at}: {self._text[:80]!r}")
