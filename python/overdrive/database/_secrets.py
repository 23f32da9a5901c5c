"""Addresses without their passwords."""

import re
from collections.abc import Iterable
from urllib.parse import unquote

__all__ = ["hide_passwords", "passwords_in", "without"]

# Greedy: a password with an unquoted "@" is hidden whole.
_IN_ADDRESS = re.compile(r"(?<=://)(?P<user>[^:@/?#]*):(?P<password>[^/?#]*)(?=@)|"
                         r"(?P<key>\bpass(?:word|file)=)(?P<value>[^&\s]*)")  # fmt: skip


def hide_passwords(dsn: str) -> str:
    """Replace the passwords of an address by stars."""

    def stars(match: re.Match[str]) -> str:
        return f"{match['key']}***" if match["key"] else f"{match['user']}:***"

    return _IN_ADDRESS.sub(stars, dsn)


def passwords_in(dsn: str) -> set[str]:
    """Return the passwords of an address, as written and as meant."""
    found = {m["password"] or m["value"] or "" for m in _IN_ADDRESS.finditer(dsn)}
    return {form for password in found if password for form in (password, unquote(password))}


def without(text: str, secrets: Iterable[str]) -> str:
    """Return a text in which stars stand for the secrets."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return text
