"""The words of SQL text, as PostgreSQL reads them.

Whether a statement is harmless depends on every name in it, so names are found by reading the text
by PostgreSQL's own lexical rules (chapter "Lexical Structure" of its manual), and not by a parser
that may not know a construct. Strings, comments and dollar quotes hide nothing and invent nothing.
"""

import re
from typing import NamedTuple

__all__ = ["Lexed", "Part", "lex"]

_TOKEN = re.compile(
    r"""
      (?P<space>\s+|--[^\n\r]*)
    | (?P<comment>/\*)
    | (?P<escaped>[eE]'(?:[^'\\]|''|\\.)*')
    | (?P<string>(?:[bBxXnN]|[uU]&)?'(?:[^']|'')*')
    | (?P<unicode>[uU]&")
    | (?P<quoted>"(?:[^"]|"")*")
    | (?P<dollar>\$(?P<tag>[^\W\d]\w*|)\$)
    | (?P<parameter>\$\d+)
    | (?P<word>[^\W\d][\w$]*)
    | (?P<number>(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][+-]?\d+)?\w*)
    | (?P<sign>::|(?:(?!--|/\*)[+*/<>=~!@\#%^&|`?-])+|.)
    """,
    re.VERBOSE | re.DOTALL,
)
_COMMENT_EDGE = re.compile(r"/\*|\*/")


class Part(NamedTuple):
    """One statement of a text.

    Attributes:
        first: Its first word in lower case, or `(`.
        clean: The statement without comments and with every literal replaced by a plain one.
    """

    first: str
    clean: str


class Lexed(NamedTuple):
    """What a text consists of.

    Attributes:
        parts: Its statements.
        words: All names and keywords, folded to lower case unless quoted.
        calls: Those that stand before an opening parenthesis.
        strings: The contents of its string literals.
        normal: The text with `?` for literals and single spaces; for logs and statistics.
    """

    parts: tuple[Part, ...]
    words: frozenset[str]
    calls: frozenset[str]
    strings: tuple[str, ...]
    normal: str


def lex(text: str) -> Lexed | None:
    """Read a text; `None` if it cannot be read."""
    try:
        return _Reader(text).read()
    except _UnreadableError:
        return None


class _UnreadableError(Exception):
    pass


class _Reader:
    """Reads one text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._words: set[str] = set()
        self._calls: set[str] = set()
        self._strings: list[str] = []
        self._clean: list[list[str]] = [[]]
        self._normal: list[str] = []
        self._last_word: str | None = None

    def read(self) -> Lexed:
        """Read all of it."""
        while self._position < len(self._text):
            match = _TOKEN.match(self._text, self._position)
            if match is None:
                raise _UnreadableError
            self._position = match.end()
            if match.lastgroup == "comment":
                self._skip_comment()
            elif match.lastgroup in {"dollar", "escaped", "string"}:
                self._strings.append(self._content(match))
                self._add("'1'", "?")
            elif match.lastgroup == "number":
                self._add(match.group(), "?")
            elif match.lastgroup in {"word", "quoted"}:
                self._add_word(match.group())
            elif match.lastgroup != "space":
                self._add_sign(match.group())
        parts = tuple(Part(t[0].lower(), _join(t)) for t in self._clean if t)
        return Lexed(
            parts, frozenset(self._words), frozenset(self._calls), tuple(self._strings),
            _join(self._normal),
        )  # fmt: skip

    def _add(self, clean: str, normal: str, word: str | None = None) -> None:
        self._clean[-1].append(clean)
        self._normal.append(normal)
        self._last_word = word

    def _add_word(self, text: str) -> None:
        quoted = text.startswith('"')
        word = text[1:-1].replace('""', '"') if quoted else text.lower()
        self._words.add(word)
        self._add(text, text, word)

    def _add_sign(self, text: str) -> None:
        if text in {"'", '"'} or text.endswith('"'):
            raise _UnreadableError
        if text == "(" and self._last_word is not None:
            self._calls.add(self._last_word)
        self._add(text, text)
        if text == ";":
            self._clean[-1].pop()
            self._clean.append([])

    def _content(self, match: re.Match[str]) -> str:
        token = match.group()
        if match.lastgroup == "dollar":
            end = self._text.find(token, self._position)
            if end < 0:
                raise _UnreadableError
            content = self._text[self._position : end]
            self._position = end + len(token)
            return content
        content = token[token.index("'") + 1 : -1]
        # What escapes mean is not worked out: such a text counts as the worst one.
        return "now" if match.lastgroup == "escaped" and "\\" in content else content

    def _skip_comment(self) -> None:
        depth = 1
        while depth:
            edge = _COMMENT_EDGE.search(self._text, self._position)
            if edge is None:
                raise _UnreadableError
            depth += 1 if edge.group() == "/*" else -1
            self._position = edge.end()


def _join(tokens: list[str]) -> str:
    text: list[str] = []
    before = ""
    for token in tokens:
        glued = (
            not before
            or token in {".", ",", ")", "]", "::", "("}
            or before in {".", "(", "[", "::"}
        )
        text.append(token if glued else f" {token}")
        before = token
    return "".join(text)
