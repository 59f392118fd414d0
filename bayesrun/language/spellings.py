"""Spellings of Stan, NumPy, R, lme4, brms and Bambi: those that mean the same here, and what to write for others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "append_col": "concatenate(a, b) of vectors, stack(a, b) of columns",
        "append_row": "concatenate(a, b)",
        "arctan": "atan(x)",
        "c": "concatenate(a, b)",
        "cbrt": "x ** (1 / 3)",
        "cholesky_decompose": "cholesky(x)",
        "cumulative_sum": "cumsum(x)",
        "diag_matrix": "identity(n) * x",
        "dot_product": "dot(a, b)",
        "exp2": "2 ** x",
        "expit": "sigmoid(x)",
        "eye": "identity(n)",
        "fabs": "abs(x)",
        "fma": "a * b + c",
        "fmax": "maximum(a, b)",
        "fmin": "minimum(a, b)",
        "fmod": "a % b",
        "hypot": "sqrt(a ** 2 + b ** 2)",
        "if_else": "where(condition, a, b)",
        "ifelse": "where(condition, a, b)",
        "int_step": "x > 0",
        "inv": "1 / x",
        "inv_logit": "sigmoid(x)",
        "inv_phi": "probit(x)",
        "inv_sqrt": "1 / sqrt(x)",
        "inv_square": "1 / x ** 2",
        "invlogit": "sigmoid(x)",
        "lgamma": "gammaln(x)",
        "ln": "log(x)",
        "log1m": "log1p(-x)",
        "log1m_exp": "log1p(-exp(x))",
        "log1m_inv_logit": "-log1p(exp(x))",
        "log1p_exp": "log1p(exp(x))",
        "log2": "log(x) / log(2)",
        "log_inv_logit": "-log1p(exp(-x))",
        "log_softmax": "x - logsumexp(x)",
        "log_sum_exp": "logsumexp(x)",
        "logistic": "sigmoid(x)",
        "matmul": "dot(a, b)",
        "norm_cdf": "0.5 * (1 + erf(x / sqrt(2)))",
        "percentile": "quantile(x, q), with q between 0 and 1",
        "phi": "0.5 * (1 + erf(x / sqrt(2)))",
        "phi_approx": "0.5 * (1 + erf(x / sqrt(2)))",
        "pmax": "maximum(a, b)",
        "pmin": "minimum(a, b)",
        "pow": "a ** b",
        "power": "a ** b",
        "qnorm": "probit(x)",
        "rep_vector": "x * ones(n)",
        "scale": "zscore(x)",
        "sd": "std(x)",
        "seq": "arange(start, stop)",
        "square": "x ** 2",
        "squared_distance": "sum((a - b) ** 2)",
        "standardize": "zscore(x)",
        "step": "x >= 0",
        "variance": "var(x)",
    }
)
"""How functions of Stan, NumPy and R are written in expressions, for messages to those who know them from there."""
_PIECES = re.compile(r"""'[^']*'|"[^"]*"|[^'"]+|['"]""")
_QUOTED = re.compile(r"""'[^'\n]*'|"[^"\n]*\"""")
_SAME: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\^"), "**"),
    (re.compile(r"(?<![\w.])as\.factor\s*\("), "factor("),
    (re.compile(r"(?<![\w.:])(?:stats|splines|base|brms|mgcv|lme4)::(?=[A-Za-z])"), ""),
    (re.compile(r"(=\s*)TRUE\b"), r"\1True"),
    (re.compile(r"(=\s*)FALSE\b"), r"\1False"),
    *((re.compile(rf"\bcontr\.{name.lower()}\b"), name) for name in ("Treatment", "Sum", "Helmert", "Poly")),
    (re.compile(r"(knots\s*=\s*)c\(([^()]*)\)"), r"\1[\2]"),
)
_DECLARATIVE = (
    "write it as a declarative model (docs/language.md); task=expand prints the one that a formula stands for"
)
_BEFORE = "compute the column first: data.derive (docs/data.md)"
LOGARITHMS = "write log2(x) or log10(x); any other base only changes the unit of the coefficient of log(x)"
"""What to write in place of `log(x, base)` of R."""
_RESIDUALS = f"correlated residuals are not supported in a formula: {_DECLARATIVE}"
CATEGORY_SPECIFIC = (
    "cs(x), effects that differ between the levels of the response, need family: sequential or adjacent; in family:"
    " categorical all do, there write x;"
    " a cubic regression spline is cr(x, df=4, constraints='center')"
)
"""What to write in place of `cs(x)` of brms."""
_BY_PARAMETER = (
    "write formulas by parameter: formula: {mu: 'y ~ x', sigma: '~ z'}; family and priors are keys of their own"
)
_BY_RESPONSE = "write formulas by response: formula: {responses: {y: y ~ x, z: z ~ w}}, and options: {rescor: true}"
_RESCOR = "write options: {rescor: true}, or false"
_NON_LINEAR = f"a formula is a sum of terms: {_DECLARATIVE}"
_MEMBERSHIPS = f"several memberships are (1 | mm(g, h)), (x | mm(g, h)); all else is not supported: {_DECLARATIVE}"
_CONTRASTS = 'write C(g, Sum), C(g, Helmert), C(g, Poly) or C(g, Treatment("b")) for the reference level b'
_GROUP = "write (1 | g) for effects of the levels of g around 0"
_MONOTONIC = "write mo(x)"

FUNCTIONS_ELSEWHERE: Mapping[str, str] = {
    "ns": "write cr(x, df=3, constraints='center'): a natural cubic spline",
    "ordered": "write C(f, Poly) for polynomial contrasts; data.levels holds the order of the levels",
    "as_numeric": "write the column itself",
    "ifelse": "write the condition: I(x > 2)",
    "cut": "write conditions, I(x > 2) + I(x > 5); or compute the column first: data.derive",
    "relevel": 'write C(g, Treatment("b")) for the reference level b',
    "interaction": "write g:h",
    "pmax": _BEFORE,
    "pmin": _BEFORE,
    **dict.fromkeys(("round", "floor", "ceiling", "plogis", "qlogis", "logit", "inv_logit"), _BEFORE),
    **dict.fromkeys(("mm", "mmc"), _MEMBERSHIPS),
    "lag": _BEFORE,
    "dummy": "write the condition: I(g == 'a')",
    "rev": _BEFORE,
    "cse": CATEGORY_SPECIFIC,
    "me": f"predictors with measurement error are not supported in a formula: {_DECLARATIVE}",
    "nl": _DECLARATIVE,
    **dict.fromkeys(("ar", "ma", "arma", "cosy", "unstr", "sar", "car", "fcor", "cor_ar", "autocor"), _RESIDUALS),
    "us": "write (x | g)",
    "diag": "write (x || g)",
    "ar1": _RESIDUALS,
    **dict.fromkeys(("bf", "brmsformula", "brm", "lmer", "glmer", "stan_glmer", "lf", "nlf"), _BY_PARAMETER),
    "Surv": "write time | cens(c), where c is none, left, right or interval",
    "set_rescor": _RESCOR,
    "set_mecor": "each predictor with missing values has a formula of its own: docs/regression.md",
    **dict.fromkeys(("as_integer", "as_character"), "write the column itself; factor(x) makes levels of numbers"),
    **dict.fromkeys(("contrasts", "contr_sum", "contr_treatment", "contr_helmert", "contr_poly", "S", "T"), _CONTRASTS),
    **dict.fromkeys(("mono", "monotonic"), _MONOTONIC),
    **dict.fromkeys(("rcs", "nsk", "ps", "pspline"), "write cr(x, df=4, constraints='center'), or s(x, bs = \"cr\")"),
    **dict.fromkeys(("re", "random", "frailty", "gr", "ranef"), _GROUP),
    "nested": "write (1 | g/h)",
    "binary": "write the condition: I(g == 'a')",
    "exposure": "write offset(log(n))",
    "strata": "write C(g) for a level of each stratum, or (1 | g)",
    "cluster": f"standard errors are those of the model: {_GROUP}",
    "disc": "the scores of ordinal families have no disc: their scale is fixed",
    "fixed": "write the column itself",
    "common": "write the column itself",
}
"""What to write in place of functions that R's and Python's formulas have."""

GROUPINGS_ELSEWHERE: Mapping[str, str] = {
    "gr": f"write (1 | g); other covariances of groups (by, cov, dist) are not supported in a formula: {_DECLARATIVE}",
    "mm": _MEMBERSHIPS,
    "mmc": _MEMBERSHIPS,
    "us": "write (x | g)",
    "diag": "write (x || g)",
    "factor": "write the column itself: a grouping's values are labels",
    "C": "write the column itself: a grouping's values are labels",
    "interaction": "write (1 | a:b)",
}
"""What to write in place of functions of groupings."""

ADDITIONS_ELSEWHERE: Mapping[str, str] = {
    "rate": "write ... ~ x + offset(log(n))",
    "thres": "the thresholds are those between the levels of the response; data.levels holds them",
    "cat": "the levels of the response are those of data.levels",
    "subset": "drop the rows first (docs/data.md)",
    "index": "leave it out: rows are told apart by their position",
    "vint": f"custom families take no additional data: {_DECLARATIVE}",
    "vreal": f"custom families take no additional data: {_DECLARATIVE}",
    "dec": f"family wiener is not available: {_DECLARATIVE}",
    "bhaz": "family cox is not available: the baseline hazard of family: weibull has two numbers",
}
"""What to write in place of additions to the response that brms has."""

_RESPONSES_ELSEWHERE: Mapping[str, str] = {
    "Surv": FUNCTIONS_ELSEWHERE["Surv"],
    "censored": "write y | cens(status), where status is none, left, right or interval",
    "truncated": "write y | trunc(lb = 0, ub = 10)",
    "weighted": "write y | weights(w)",
    "c": "write cbind(a, b, c) with family: multinomial",
    "I": "write the expression itself: y / 2 ~ x",
    "scale": "write zscore(y) ~ x",
    "factor": "write the column itself: data.levels holds the order of its levels",
    "ordered": "write the column itself: data.levels holds the order of its levels",
}

_LETTERS: Mapping[str, str] = {
    **dict.fromkeys("∣｜ǀ│❘", "|"),
    **dict.fromkeys("–—−‐‑", "-"),
    **dict.fromkeys("∼˜～", "~"),
    **dict.fromkeys("×∗＊", "*"),
    **dict.fromkeys("＋", "+"),
    **dict.fromkeys("“”„", '"'),
    **dict.fromkeys("‘’", "'"),
}


def respelled(right: str) -> str:
    """Return the right side of a formula with spellings of R that mean the same here in this language.

    `x^2` is `x**2`, `as.factor(x)` is `factor(x)`, `stats::poly(x, 2)` is `poly(x, 2)`, `raw=TRUE` is `raw=True`. Texts
    in quotes stay.
    """
    pieces = []
    for piece in _PIECES.findall(right):
        if piece[0] not in "'\"":
            for pattern, ours in _SAME:
                piece = pattern.sub(ours, piece)
        pieces.append(piece)
    return "".join(pieces)


def fault_elsewhere(text: str) -> tuple[str, str] | None:
    """Return what is wrong with a formula as a whole, seen before it is parsed, and what to write; None if nothing is.

    These are letters that look like signs, parentheses without a partner, and calls of programs around a formula.
    """
    bare = re.sub(_QUOTED, lambda found: " " * len(found[0]), text)
    for letter in bare:
        if letter in _LETTERS:
            return f"'{letter}' is not allowed in a formula", f"write {_LETTERS[letter]} in its place"
    if re.search(r"\bnl\s*=\s*(TRUE|True|T)\b", bare):
        return "'nl = TRUE' is not supported in a formula", _NON_LINEAR
    called = re.match(r"\s*(\w+)\s*\(", bare)
    if called and FUNCTIONS_ELSEWHERE.get(called[1]) == _BY_PARAMETER:
        several = len(re.findall(r"\bbf\s*\(", bare)) > 1
        return f"'{called[1]}(...)' is not supported in a formula", _BY_RESPONSE if several else _BY_PARAMETER
    if called and called[1] in _RESPONSES_ELSEWHERE and "~" in bare:
        return f"'{called[1]}(...)' can't be a response", _RESPONSES_ELSEWHERE[called[1]]
    if chosen := re.match(r"""\s*(\w+)\s*\[\s*(['"]?\w+['"]?)\s*\][^|~]*~""", text):
        label = chosen[2] if chosen[2][0] in "'\"" else f"'{chosen[2]}'"
        return f"'{chosen[1]}[{chosen[2]}]' can't be a response", f"write {chosen[1]} == {label} ~ x"
    if further := _further(text, bare):
        return f"'{further}' can't follow a formula", _BY_PARAMETER
    if "#" in bare:
        return "a formula can't contain a comment", "write it after the formula's closing quote"
    for name in re.findall(r"([A-Za-z_]\w*(?:\.\w+)+)\s*\(", bare):
        if remedy := FUNCTIONS_ELSEWHERE.get(name.replace(".", "_")):
            return f"'{name}' is not a function of formulas here", remedy
    around = re.search(r"(\w+)\s*\([^()|]*\|", bare)
    if around and around[1] in FUNCTIONS_ELSEWHERE:
        return f"'{around[1]}(...)' can't enclose a group term", FUNCTIONS_ELSEWHERE[around[1]]
    return _unpaired(text, bare)


def _further(text: str, bare: str) -> str:
    """Find what calls of programs have after a formula: another formula, `sigma ~ z`, or an argument."""
    depth = 0
    for place, letter in enumerate(bare):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if letter == "," and depth == 0 and re.match(r"[^,~=]+[~=](?!=)", bare[place + 1 :]):
            return text[place + 1 :].strip()
    called = re.search(r"\b(?:lf|nlf|acformula|bf)\s*\([^()]*~.*", bare)
    return text[called.start() : called.end()].strip() if called else ""


def _unpaired(text: str, bare: str) -> tuple[str, str] | None:
    """Find the first parenthesis without a partner; texts in quotes are blank in `bare`."""
    opened: list[int] = []
    for place, letter in enumerate(bare):
        if letter == "(":
            opened.append(place)
        elif letter == ")":
            if not opened:
                return (
                    f"')' closes nothing: '{text[: place + 1].strip()}'",
                    "remove it, or write the '(' that it closes",
                )
            opened.pop()
    return (f"'(' is not closed: '{text[opened[0] :].strip()}'", "write the ')' that closes it") if opened else None


def operator_elsewhere(operator: str) -> str | None:
    """Return what to write in place of an operator that R has, or that another program has put there."""
    if operator in _LETTERS:
        return f"write {_LETTERS[operator]}"
    return {
        ".": "name the columns: no symbol stands for all of them",
        "$": "write the name of the column alone",
        "#": "a formula can't contain a comment: write it outside",
        "@": "write the name of the column alone",
        "::": "functions are called by their bare names",
        "<": "write a condition in I(...): I(x < 2)",
        ">": "write a condition in I(...): I(x > 2)",
        "<=": "write a condition in I(...): I(x <= 2)",
        ">=": "write a condition in I(...): I(x >= 2)",
        "==": "write a condition in I(...): I(g == 'a')",
        "!=": "write a condition in I(...): I(g != 'a')",
        "<-": "a formula has a ~ between its sides",
    }.get(operator)
