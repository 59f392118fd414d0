"""Group terms of a formula, `(x | g)`: they are found on the right side, parsed, and removed from it.

The rest is the population part, which `bayesrun.language.formulas` parses. The grouping is a column, `a:b` (each
combination of levels), `a/b` (`a` and `a:b`) or a sum of those; `||` omits correlations, and an id, `(x | p | g)`,
correlates the effects of all terms that bear it. Names follow lme4 (Bates et al. 2015, doi:10.18637/jss.v067.i01),
ids follow brms (Bürkner 2017, doi:10.18637/jss.v080.i01).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bayesrun.errors import UserError, fail
from bayesrun.language.formula_grammar import column_named
from bayesrun.language.formulas import INTERCEPT, Formula, parse
from bayesrun.language.spellings import GROUPINGS_ELSEWHERE
from bayesrun.language.unicode_names import identifier_of

_HINT = "write (1 | g), (x | g), (x || g), (x | p | g), (1 | a/b) or (1 | a:b)"
_GR = re.compile(r"gr\s*\(\s*([\w:/]+)\s*((?:,\s*(?:id|cor)\s*=[^,()]*)*)\)")
_ID = re.compile(r"""id\s*=\s*["']?(\w+)["']?\s*(?:,|$)""")
_COR = re.compile(r"cor\s*=\s*(TRUE|True|T|FALSE|False|F)\s*(?:,|$)")


@dataclass(frozen=True)
class GroupTerm:
    """The effects of one grouping.

    Parameters
    ----------
    columns
        Columns whose combinations of levels are the groups.
    effects
        Effects that vary between the groups: a formula without a left side.
    correlated
        Whether the effects of one group are correlated.
    shared
        The id of terms whose effects are correlated with each other; empty for a term by itself.
    """

    columns: tuple[str, ...]
    effects: Formula
    correlated: bool
    shared: str = ""

    @property
    def grouping(self) -> str:
        """Name of the grouping in names of variables: `g`, `a_b`."""
        return identifier_of("_".join(self.columns))

    @property
    def name(self) -> str:
        """Name of the term in variables of the model: that of the grouping, after the id if there is one."""
        return f"{self.shared}_{self.grouping}" if self.shared else self.grouping


def split(right: str, key: str, text: str) -> tuple[str, list[GroupTerm]]:
    """Extract the group terms from the right side of a formula.

    Parameters
    ----------
    right
        The right side.
    key
        Config key of the formula.
    text
        The whole formula, for messages.

    Returns
    -------
    population : str
        The right side without them; `1` if nothing else is left.
    groups : list of GroupTerm
        One per grouping, in the order of the formula.

    Raises
    ------
    UserError
        For a group term that can't be parsed.
    """
    kept, groups = [], list[GroupTerm]()
    for sign, part in summands(right):
        inside = _inside(part)
        if inside is None:
            if _at_top(part, "|"):
                raise fail(key, f"'{part}' needs parentheses, in '{text}'", _HINT)
            kept.append((sign, part))
        elif sign == "-":
            raise fail(key, f"'- ({inside})' removes a group term, in '{text}'", "leave the term out")
        else:
            groups += _read(inside, key, text)
    return joined(kept), _merged(groups, key, text)


def summands(right: str) -> list[tuple[str, str]]:
    """Split at plus and minus signs outside parentheses, into pairs of sign and text."""
    parts, depth, sign, begin = list[tuple[str, str]](), 0, "+", 0
    for place, char in enumerate(right):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char in "+-" and depth == 0:
            parts.append((sign, right[begin:place].strip()))
            sign, begin = char, place + 1
    parts.append((sign, right[begin:].strip()))
    return [(sign, part) for sign, part in parts if part]


def joined(kept: Sequence[tuple[str, str]]) -> str:
    """Write pairs of sign and text as the right side of a formula; `1` if there is none."""
    return " ".join(f"{sign} {part}" for sign, part in kept).removeprefix("+ ") or "1"


def _inside(part: str) -> str | None:
    """Return the content of a group term's parentheses; None for all other parts."""
    if not (part.startswith("(") and part.endswith(")")):
        return None
    inner = part[1:-1].strip()
    while inner.startswith("(") and inner.endswith(")") and _closes_at_end(inner):
        inner = inner[1:-1].strip()
    return inner if _at_top(inner, "|") else None


def _closes_at_end(text: str) -> bool:
    depth = 0
    for place, char in enumerate(text):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if depth == 0:
            return place == len(text) - 1
    return False


def _at_top(text: str, sought: str) -> list[int]:
    """Return the positions of a character outside parentheses."""
    found, depth = [], 0
    for place, char in enumerate(text):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == sought and depth == 0:
            found.append(place)
    return found


def _read(inside: str, key: str, text: str) -> Iterator[GroupTerm]:
    """Parse `effects | grouping`."""
    bars = _at_top(inside, "|")
    double = len(bars) == 2 and bars[1] == bars[0] + 1
    shared = inside[bars[0] + 1 : bars[1]].strip() if len(bars) == 2 and not double else ""
    if len(bars) > 2 or (len(bars) == 2 and not double and not re.fullmatch(r"\w+", shared)):
        hint = f"{_HINT}; the id between two bars is a word or a number" if len(bars) == 2 else _HINT
        raise fail(key, f"'({inside})' has {len(bars)} bars, in '{text}'", hint)
    left, right = inside[: bars[0]].strip(), inside[bars[-1] + 1 :].strip()
    if not left or not right:
        raise fail(key, f"'({inside})' needs something on both sides of the bar, in '{text}'", _HINT)
    called = _GR.fullmatch(right)
    if called:  # of brms, without other covariances
        id_, cor = _ID.search(called[2]), _COR.search(called[2])
        if called[2].count("=") == (id_ is not None) + (cor is not None):
            right, shared = called[1], id_[1] if id_ else shared
            double = double or (cor is not None and cor[1].startswith("F"))
    called = re.match(r"([\w.]+)\s*\(", right)
    if called:
        name = called[1].removeprefix("as.")
        hint = GROUPINGS_ELSEWHERE.get(name, f"a grouping names columns; {_HINT}")
        by = re.fullmatch(r"gr\s*\(\s*(\w+)\s*,\s*by\s*=\s*(\w+)\s*\)", right)
        if by and left == "1":  # each group has the effect of its own level of `by` alone
            hint = f"write (0 + {by[2]} || {by[1]}): an sd for each level of {by[2]}"
        raise fail(key, f"'{right}' can't be a grouping, in '{text}'", hint)
    shared = f"id{shared}" if shared.isdigit() else shared  # names of variables begin with it
    try:
        effects = parse(f"_ ~ {left}", key)
    except UserError as error:
        problem = error.problems[0]
        raise fail(key, f"'({inside})' can't be read: {problem.message}", problem.hint) from error
    for columns in _groupings(right, key, text):
        yield GroupTerm(columns, effects, not double, shared)


def _groupings(right: str, key: str, text: str) -> Iterator[tuple[str, ...]]:
    for part in right.split("+"):
        nested = [level.strip() for level in part.split("/")]
        columns: tuple[str, ...] = ()
        for level in nested:
            names = tuple(name.strip() for name in level.split(":"))
            for name in names:
                if not name.isidentifier():
                    hint = f"a grouping names columns; {_HINT}"
                    if crossed := re.fullmatch(r"([^\W\d]\w*)\s*\*\s*([^\W\d]\w*)", name):
                        one, two = crossed.groups()
                        hint = f"write (1 | {one}) + (1 | {two}) + (1 | {one}:{two})"
                    raise fail(key, f"'{name or right}' can't be a grouping, in '{text}'", hint)
            columns = (*columns, *map(column_named, names))
            yield columns


def _merged(groups: Sequence[GroupTerm], key: str, text: str) -> list[GroupTerm]:
    """Merge the effects of one grouping: `(1 | g) + (0 + x | g)` is `(x || g)`; with an id they are correlated."""
    found: dict[tuple[tuple[str, ...], str], GroupTerm] = {}
    for one in groups:
        place = (one.columns, one.shared)
        other = found.get(place)
        if other is None:
            found[place] = one
            continue
        twice = [name for name in one.effects.terms if name in other.effects.terms]
        grouping = ":".join(one.columns)
        if twice:
            raise fail(key, f"'{twice[0]}' varies between the groups of '{grouping}' twice, in '{text}'", _HINT)
        if not one.shared and any(len(each.effects.terms) > 1 and each.correlated for each in (one, other)):
            hint = f"put them into one term: ({' + '.join([_right(other), _right(one)])} | {grouping})"
            raise fail(key, f"several terms vary with '{grouping}', of which some are correlated, in '{text}'", hint)
        first = "" if INTERCEPT in (*one.effects.terms, *other.effects.terms) else "0 + "
        rest = [n.replace("÷", "/") for e in (other, one) for n in e.effects.terms if n != INTERCEPT]
        effects = parse(f"_ ~ {first}{' + '.join(rest) or '1'}", key)
        found[place] = GroupTerm(one.columns, effects, bool(one.shared), one.shared)
    return list(found.values())


def _right(term: GroupTerm) -> str:
    return term.effects.text.partition("~")[2].strip()
