"""Numbers as people read them: as many digits as they deserve, and true minus signs."""

from __future__ import annotations

import math
from datetime import datetime

MINUS = "−"
NONE = "–"


def plain(value: float | None, digits: int = 4) -> str:
    """Return a number with some significant digits; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return NONE
    if value == int(value) and abs(value) < 1e15:
        return signed(f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.0f}")
    if 1e-4 <= abs(value) < 10**digits:
        decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
        return signed(f"{value:.{decimals}f}")
    if 1 <= abs(value) < 1e9:
        return signed(f"{value:,.0f}")
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    return signed(f"{mantissa}e{int(exponent)}")


def to_error(value: float | None, error: float | None) -> str:
    """Return a number to the third digit of its uncertainty, so that a column of them can be compared."""
    if value is None or error is None or not (math.isfinite(value) and math.isfinite(error) and 1e-8 < error < 1e7):
        return plain(value)
    decimals = max(0, 2 - math.floor(math.log10(error)))
    separator = "," if abs(value) >= 10_000 else ""  # 1889.77 may be a year
    return signed(f"{value:{separator}.{decimals}f}") if decimals <= 6 else plain(value)


def signed(text: str) -> str:
    """Return a number's text with a minus sign in place of a hyphen."""
    return text.replace("-", MINUS)


def count(value: float | None) -> str:
    """Return a whole number with separators."""
    return NONE if value is None or not math.isfinite(value) else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """Return a time span: `0.43 s`, `12 s`, `3 min 20 s`, `2 h 5 min`."""
    if value is None or not math.isfinite(value):
        return NONE
    if value < 10:
        return f"{value:.2g} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def when(text: str | None) -> str:
    """Return a time of ISO 8601 as date and minutes, in UTC."""
    if not text:
        return ""
    try:
        return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return text
