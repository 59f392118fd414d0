"""Names that Python's parser would read as others: it normalizes identifiers, so that `µg` becomes `μg`.

The micro sign of keyboards is not the Greek letter, `e` with an accent of its own is not `é`, and full-width letters
are not those of ASCII. Columns may have such names; between back-ticks they stay as they are.
"""

from __future__ import annotations

import re
import unicodedata

# a combining accent is no `\w`, but part of an identifier
_PART = re.compile(r"`[^`\n]*`|'[^'\n]*'|\"[^\"\n]*\"|[^\W\d](?:\w|[^\x00-\x7f])*")


def is_read_as_another(name: str) -> bool:
    """Return whether an identifier would become another one, or would be split at its accents."""
    if name.isascii() or not name.isidentifier():
        return False
    return unicodedata.normalize("NFKC", name) != name or re.fullmatch(r"\w+", name) is None


def with_back_ticks(text: str) -> str:
    """Put names that would be read as others into back-ticks; quoted text stays."""
    if text.isascii():
        return text
    return _PART.sub(lambda found: f"`{found[0]}`" if is_read_as_another(found[0]) else found[0], text)


def identifier_of(text: str) -> str:
    """Return the name of a variable that is called after a column: `Body_Mass_g` for `Body  Mass (g)`.

    Whatever is no letter or digit becomes one underscore between words; as in R, a name that would begin with a digit
    begins with `X`.
    """
    name = re.sub(r"[\W_]+", "_", unicodedata.normalize("NFKC", text)).strip("_")
    return name if name[:1].isalpha() else f"X{name}"
