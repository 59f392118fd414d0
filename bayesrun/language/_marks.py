"""Marks under the part of an expression that is at fault."""

from __future__ import annotations

import ast

from bayesrun.errors import Problem

_WIDTH = 90


def point_at(text: str, key: str, node: ast.AST, message: str, hint: str = "") -> Problem:
    """Make a problem whose message shows the expression with a mark under the node."""
    start = _column(text, getattr(node, "col_offset", 0))
    stop = max(_column(text, getattr(node, "end_col_offset", None) or 0), start + 1)
    return marked(text, key, start, stop, message, hint)


def marked(text: str, key: str, start: int, stop: int, message: str, hint: str) -> Problem:
    """Make a problem whose message shows the text with a mark under some of its characters."""
    first = max(0, start - _WIDTH // 2)
    shown = text[first : first + _WIDTH]
    width = max(1, min(stop - first, len(shown)) - (start - first))
    return Problem(key, f"{message}\n        {shown}\n        {' ' * (start - first)}{'^' * width}", hint)


def _column(text: str, offset: int) -> int:
    """Turn the parser's offset, in bytes of UTF-8, into one in characters."""
    return len(text.encode("utf-8", "surrogatepass")[:offset].decode("utf-8", "ignore"))
