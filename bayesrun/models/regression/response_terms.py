"""The left side of a formula: the response and its additions as in brms, `y | trials(n) + weights(w)`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bayesrun.errors import did_you_mean, fail
from bayesrun.language.formula_grammar import quoted, with_symbols
from bayesrun.language.grammar import parse, single_name
from bayesrun.language.spellings import ADDITIONS_ELSEWHERE
from bayesrun.models.regression.group_terms import summands

_CALL = re.compile(r"(\w+)\s*\((.*)\)", re.DOTALL)
_ADDITIONS: Mapping[str, tuple[str, ...]] = {
    "trials": ("n",),
    "weights": ("w",),
    "cens": ("status", "upper"),
    "trunc": ("lb", "ub"),
    "se": ("s", "sigma"),
    "mi": (),
}
_BRMS = {"y2": "upper", "censored": "status", "x": "s", "weights": "w", "trials": "n"}
"""Names of the arguments of additions in brms."""
_REMEDIES: Mapping[tuple[str, str], str] = {
    ("weights", "scale"): "divide the weights by their mean first: data.derive: {w: w / mean(w)}",
    ("mi", ""): "write mi(); known errors of a response are se(s, sigma = TRUE)",
    ("mi", "sdy"): "write mi(); known errors of a response are se(s, sigma = TRUE)",
    ("mi", "idx"): "write mi()",
}
_HINT = "write y ~ x, cbind(successes, failures) ~ x, or y | trials(n) + weights(w) ~ x"


@dataclass(frozen=True)
class Response:
    """The response of a regression. All parts are expressions over data variables, or None.

    Parameters
    ----------
    text
        The response.
    failures
        The failures in `cbind(successes, failures)`; successes and failures add up to the trials.
    counts
        The counts of all levels in `cbind(a, b, c)`.
    trials
        Number of trials of each row.
    weights
        Weight of each row's log likelihood.
    censored, upper
        How a row is censored (`none`, `left`, `right`, `interval`, or 0, -1, 1, 2), and the upper end of an interval.
    at_least, at_most
        Truncation bounds: responses are only observed within them.
    error
        Known standard error of each row.
    adds_sigma
        Whether the family's `sigma` is added to the known standard error.
    imputed
        Whether missing responses are to be imputed.
    """

    text: str
    failures: str | None = None
    counts: tuple[str, ...] = ()
    trials: str | None = None
    weights: str | None = None
    censored: str | None = None
    upper: str | None = None
    at_least: str | None = None
    at_most: str | None = None
    error: str | None = None
    adds_sigma: bool = False
    imputed: bool = False

    def names(self, key: str) -> tuple[str, ...]:
        """Return the data variables in the response itself."""
        texts = self.counts or (self.text,)
        return tuple(dict.fromkeys(name for text in texts for name in names_of(text, key)))

    def others(self) -> dict[str, str]:
        """Return the additions that are expressions over the rows, by kind."""
        parts = {
            "failures": self.failures,
            "trials": self.trials,
            "weights": self.weights,
            "censored": self.censored,
            "upper": self.upper,
            "at_least": self.at_least,
            "at_most": self.at_most,
            "error": self.error,
        }
        return {name: text for name, text in parts.items() if text is not None}


def names_of(text: str, key: str) -> tuple[str, ...]:
    """Return the data variables that an expression uses."""
    single = single_name(text, key)
    return (single,) if single is not None else tuple(sorted(parse(text, key).names))


def read_response(left: str, key: str) -> Response:
    """Parse the left side of a formula.

    Raises
    ------
    UserError
        For what can't be parsed, with the place and the valid syntax.
    """
    response, bar, additions = _at_bar(with_symbols(left))
    if not response:
        raise fail(key, f"'{left}' has no response before the bar", _HINT)
    counts = _CALL.fullmatch(response)
    found = Response(response)
    if counts and counts[1] in ("cbind", "p", "prop", "proportion"):
        parts = arguments(counts[2])
        if counts[1] == "cbind" and len(parts) > 2:
            return _with_additions(Response(parts[0], counts=tuple(parts)), additions, bar, key)
        if len(parts) != 2:
            raise fail(key, f"'{response}' takes two columns", "cbind(successes, failures), or p(successes, trials)")
        is_cbind = counts[1] == "cbind"
        found = Response(parts[0], failures=parts[1]) if is_cbind else Response(parts[0], trials=parts[1])
    return _with_additions(found, additions, bar, key)


def _with_additions(found: Response, additions: str, bar: str, key: str) -> Response:
    if _at_bar(additions)[1]:
        hint = "join additions by +: y | trials(n) + weights(w) ~ x"
        raise fail(key, f"'| {quoted(additions)}' has a second bar", hint)
    for sign, part in summands(additions) if bar else []:
        if sign == "-":
            raise fail(key, f"'- {part}' is not allowed on the left side", _HINT)
        found = _with_addition(found, part, key)
    # names in back-ticks were symbols up to here
    texts: dict[str, Any] = {name: quoted(value) for name, value in vars(found).items() if isinstance(value, str)}
    return replace(found, **texts, counts=tuple(map(quoted, found.counts)))


def arguments(text: str) -> list[str]:
    """Split at commas outside parentheses."""
    parts, depth = [""], 0
    for char in text:
        depth += {"(": 1, ")": -1, "[": 1, "]": -1}.get(char, 0)
        if char == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += char
    return [part.strip() for part in parts if part.strip()]


def _at_bar(left: str) -> tuple[str, str, str]:
    depth = 0
    for place, char in enumerate(left):
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "|" and depth == 0:
            return left[:place].strip(), "|", left[place + 1 :].strip()
    return left.strip(), "", ""


def _with_addition(found: Response, part: str, key: str) -> Response:
    call = _CALL.fullmatch(part.removeprefix("resp_"))
    if not call or call[1] not in _ADDITIONS:
        name = call[1] if call else part
        if name in ADDITIONS_ELSEWHERE:
            raise fail(key, f"'{part}' can't appear beside the response", ADDITIONS_ELSEWHERE[name])
        allowed = ", ".join(f"{known}(...)" for known in _ADDITIONS)
        hint = f"{did_you_mean(name, _ADDITIONS)}; allowed: {allowed}"
        raise fail(key, f"'{part}' can't appear beside the response", hint)
    given = _named_arguments(call[1], call[2], key)
    if call[1] == "trials":
        return replace(found, trials=given["n"])
    if call[1] == "weights":
        return replace(found, weights=given["w"])
    if call[1] == "cens":
        return replace(found, censored=given["status"], upper=given.get("upper"))
    if call[1] == "trunc":
        return replace(found, at_least=given.get("lb"), at_most=given.get("ub"))
    if call[1] == "se":
        return replace(found, error=given["s"], adds_sigma=given.get("sigma", "").lower() == "true")
    return replace(found, imputed=True)


def _named_arguments(name: str, text: str, key: str) -> dict[str, str]:
    """Return the arguments of an addition by name; unnamed ones get their names by position."""
    known, found = _ADDITIONS[name], dict[str, str]()
    for place, part in enumerate(arguments(text)):
        named = re.fullmatch(r"(\w+)\s*=\s*(?!=)(.*)", part, re.DOTALL)
        of = _BRMS.get(named[1], named[1]) if named else known[place] if place < len(known) else ""
        if of not in known:
            hint = _REMEDIES.get((name, of), f"write {name}({', '.join(known)})")
            raise fail(key, f"'{name}({text})' has no argument '{of or part}'", hint)
        found[of] = named[2] if named else part
    needed = {"trunc": 1, "mi": 0}.get(name, 1)
    if len(found) < needed or (name != "trunc" and needed and known[0] not in found):
        raise fail(key, f"'{name}({text})' lacks its argument", f"write {name}({', '.join(known)})")
    return found
