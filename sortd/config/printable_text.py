"""Make names and texts of strangers fit for one line of a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Give the text as a terminal may show it: control characters and bytes that are no text become escapes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
