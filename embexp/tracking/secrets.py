"""What must not be shown, taken out of a text: user names and passwords in URIs."""

from __future__ import annotations

import re
from pathlib import Path

_USER = re.compile(r"://[^\s/]+@")
# Of a database the password may hold a slash.
_OF_DATABASE = re.compile(r"\b((?:postgres|mysql|mariadb|mssql|oracle)[\w+]*)://[^\s/:@]*:[^\s@]+@", re.IGNORECASE)
_QUERY = re.compile(r"([?&](?:password|passwd|pwd|sslpassword|token|secret)=)[^&\s\"']+", re.IGNORECASE)
_SECRET = re.compile(f"{_OF_DATABASE.pattern}|{_USER.pattern}|{_QUERY.pattern}", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """The text with every URI in it shown without user name, password, and what is named so in its query."""
    return _QUERY.sub(r"\1***", _USER.sub("://", _OF_DATABASE.sub(r"\1://", text)))


def split_at_secrets(text: str) -> list[str]:
    """The text in pieces: what may be shown, a secret, what may be shown, and so on; one piece if there is no secret."""
    pieces, end = [], 0
    for found in _SECRET.finditer(text):
        pieces += [text[end : found.start()], found[0]]
        end = found.end()
    return [*pieces, text[end:]]


def scrub_file(path: Path) -> None:
    """Writes a text file anew without secrets, where it holds any; that it is not there is no error."""
    if path.is_file() and (text := path.read_text(encoding="utf-8")) != (shown := without_secrets(text)):
        path.write_text(shown, encoding="utf-8")
