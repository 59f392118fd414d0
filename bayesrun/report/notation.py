"""A model in mathematical notation: its statements as formulas in MathML, each with a text that is read aloud.

Indices follow the dims: the rows are `i`, or `t` where they are in time, further dims `j`, `k`, ... A vector that is
indexed by a factor's codes keeps the factor's name: `alpha[county]` is alpha with the subscript county[i]. As in
papers, the data come first, then what their distribution is made of, then the priors, those of groups before their own.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bayesrun.language.distributions import family
from bayesrun.language.kernel_checks import COMPOSED
from bayesrun.language.statements import ROWS, Statement, WrittenModel
from bayesrun.report import mathml
from bayesrun.report.expression_notation import ExpressionSetter, parsed
from bayesrun.report.mathml import fenced, listed, operator, row, subscript, word

_LETTERS = "jklmnpqrsuvwabcdefgh"
_USUAL: Mapping[str, tuple[str, ...]] = {
    "Beta": ("alpha", "beta"),
    "BetaProportion": ("mu", "phi"),
    "Binomial": ("n", "p"),
    "DiscreteUniform": ("lower", "upper"),
    "Gamma": ("alpha", "beta"),
    "HalfStudentT": ("nu", "sigma"),
    "InverseGamma": ("alpha", "beta"),
    "MvNormal": ("mu", "cov"),
    "StudentT": ("nu", "mu", "sigma"),
    "Uniform": ("lower", "upper"),
    "Weibull": ("alpha", "beta"),
}
"""Parameters of distributions that papers write without their names, in this order."""
_SHOWN = {
    "NegativeBinomial": "NegBinomial",
    "StudentT": "Student-t",
    "HalfStudentT": "Half-Student-t",
    "HalfNormal": "Half-Normal",
    "HalfCauchy": "Half-Cauchy",
    "HalfFlat": "Half-Flat",
    "Lognormal": "LogNormal",
}
_MODIFIERS = ("weights", "censored", "truncated", "observed_if")
_LINKS = {"softplus": "softplus⁻¹", "tan_half": "tan½"}
_ORDER = {"likelihood": 0, "predictor": 1, "deterministic": 2, "potential": 3, "prior": 4}
_LONG = 45  # characters of a parameter, above which it gets a line of its own
_SERIES = ("GaussianRandomWalk", "AR", "AR1", "GARCH11", "MvGaussianRandomWalk", "MvStudentTRandomWalk")
_MAX_LAGS = 4


@dataclass(frozen=True)
class MathFormula:
    """One line of a model.

    Parameters
    ----------
    kind
        Kind of its statement.
    name
        Name of the variable in config and posterior; empty for a part of another line.
    left, relation
        The left side, and `∼` or `=`, as MathML.
    right
        The right side in pieces, between which a line may be broken.
    spoken
        The whole line as text.
    """

    kind: str
    name: str
    left: str
    relation: str
    right: tuple[str, ...]
    spoken: str


@dataclass(frozen=True)
class Index:
    """A letter that runs over a dim; `dim` is empty where it has no name of the user's."""

    letter: str
    dim: str
    size: int


class Notation:
    """A model's formulas.

    Parameters
    ----------
    model
        The model as it is written.
    """

    def __init__(self, model: WrittenModel) -> None:
        self._model = model
        self._letters: dict[str, str] = {}
        self._names = {*model.dims, *(statement.name for statement in model.statements)}
        self._free = [letter for letter in _LETTERS if letter not in self._names]
        usual = ("t", "i") if model.rows in model.times else ("i", "n")
        self._of_rows = next((letter for letter in usual if letter not in self._names), usual[0])
        self._own = {s.name: s.dims for s in model.statements if s.dims is not None and not s.left}
        self.formulas = tuple(formula for one in _in_order(model.statements) for formula in self._lines(one))

    @property
    def indices(self) -> tuple[Index, ...]:
        """The letters of the formulas, with their dims and sizes: `t = 1, ..., 111` of years."""
        used = [Index(letter, "" if _is_counted(dim) else dim, self.size(dim)) for dim, letter in self._letters.items()]
        return tuple({index.letter: index for index in reversed(used)}.values())[::-1]

    # ------------------------------------------------------------ what expressions ask

    def dims(self, name: str) -> tuple[str, ...]:
        """Return the dims of a name in expressions; of a label of a dim, the dim itself."""
        found = self._own.get(name, self._model.dims.get(name))
        if found is None:
            return (name,) if name in self._model.sizes else ()
        return found

    def size(self, dim: str) -> int:
        """Return the size of a dim; 1 if it is unknown."""
        return self._model.sizes.get(dim, 1)

    def letter(self, dim: str) -> str:
        """Return the index letter of a dim."""
        dim = (self._model.rows or ROWS) if dim == ROWS else dim
        if dim not in self._letters:
            self._letters[dim] = self._new_letter(dim)
        return self._letters[dim]

    def _new_letter(self, dim: str) -> str:
        taken = self._letters.values()
        if dim in (self._model.rows, ROWS) or (dim in self._model.times and "t" not in {*taken, *self._names}):
            return self._of_rows if dim in (self._model.rows, ROWS) else "t"
        return self._free.pop(0) if self._free else "z"

    def same_letter(self, dims: Sequence[str]) -> None:
        """Let axes that are one axis, as those of a mixture's parameters, have one letter."""
        for dim in dims[1:]:
            self._letters.setdefault(dim, self.letter(dims[0]))

    # ------------------------------------------------------------ lines

    def _lines(self, statement: Statement) -> Iterator[MathFormula]:
        """Return a statement's line; long parameters follow on lines of their own."""
        lifted, body = self._lifted(statement)
        yield self._line(replace(statement, distribution=body))
        for one in lifted:
            yield self._line(one)

    def _lifted(self, statement: Statement) -> tuple[list[Statement], dict[str, Any]]:
        """Replace a likelihood's long parameters by names, which are defined on their own lines."""
        body, lifted = dict(statement.distribution), list[Statement]()
        known = family(str(body.get("dist")))
        parameters = known.parameters if known and statement.kind == "likelihood" else {}
        for parameter, given in statement.distribution.items():
            text = given if isinstance(given, str) and parameter in parameters else ""
            if text and (len(text) > _LONG or _has_cases(text)) and not parameters[parameter].axes:
                name = parameter if parameter not in self._names else f"{parameter}_{statement.name}"
                dims = tuple(statement.dims or ())
                self._names.add(name)
                self._own[name] = dims
                body[parameter] = name
                lifted.append(Statement("predictor", name, dims, expression=text))
        return lifted, body

    def _line(self, statement: Statement) -> MathFormula:
        setter = ExpressionSetter(self)
        dims = tuple(statement.dims or ())
        if statement.distribution:
            right, words, event = _Distributions(self, setter).set(statement)
            dims = dims[: len(dims) - event] if event else dims
            relation = operator("∼")
        else:
            right, relation = tuple(setter.summands(parsed(statement.expression))), operator("=")
            words = in_words(statement.expression)
        if statement.left:
            left, spoken = setter.set(parsed(statement.left), of_tuple=True), in_words(statement.left)
        else:
            left, spoken = setter.name(statement.name, dims), mathml.spoken(statement.name)
            spoken += "".join(f", {self.letter(dim)}" for dim in dims)
        if statement.kind == "predictor" and statement.link not in ("", "identity"):
            left, spoken = _linked(statement.link, left), f"{statement.link} of {spoken}"
        if statement.kind == "potential":
            relation, left = operator("+="), row(word("log"), '<mspace width="0.17em"/>', "<mi>p</mi>")
            spoken = "log p, plus"
        between = " is distributed as " if statement.distribution else " = "
        name = "" if statement.kind == "predictor" else statement.name
        return MathFormula(statement.kind, name, left, relation, right, f"{spoken}{between}{words}")


def _in_order(statements: Sequence[Statement]) -> list[Statement]:
    """Put the data first and priors last, those on which others depend after them."""
    made = {s.name: s for s in statements if s.kind in ("prior", "deterministic")}
    texts = {name: [s.distribution, s.expression] for name, s in made.items()}
    used = {name: {n for n in _names_in(of) if n in made and n != name} for name, of in texts.items()}
    depth: dict[str, int] = {}

    def level(name: str, above: tuple[str, ...] = ()) -> int:
        if name not in depth:
            parents = [level(one, (*above, name)) for one in used[name] if one not in above]
            depth[name] = 1 + max(parents, default=0)
        return depth[name]

    return sorted(statements, key=lambda s: (_ORDER[s.kind], -level(s.name) if s.kind == "prior" else 0))


def _names_in(body: Any) -> Iterator[str]:
    if isinstance(body, Mapping):
        for value in body.values():
            yield from _names_in(value)
    elif isinstance(body, list | tuple):
        for value in body:
            yield from _names_in(value)
    elif isinstance(body, str):
        yield from (node.id for node in ast.walk(parsed(body)) if isinstance(node, ast.Name))


def _has_cases(text: str) -> bool:
    calls = [node.func for node in ast.walk(parsed(text)) if isinstance(node, ast.Call)]
    return any(isinstance(of, ast.Name) and of.id in ("where", "switch") for of in calls)


def _is_counted(dim: str) -> bool:
    """Return whether a dim was named after the axis of a variable, as `rho_dim_0`."""
    head, _, axis = dim.rpartition("_dim_")
    return bool(head) and axis.isdigit()


def _linked(link: str, left: str) -> str:
    if link == "inverse":
        return mathml.fraction("<mn>1</mn>", left)
    if link == "sqrt":
        return mathml.root(left)
    return row(word(_LINKS.get(link, link)), fenced(left))


def in_words(text: str) -> str:
    """Return an expression as it is read aloud."""
    for name in ("coefficient", "effect", "column"):
        text = text.replace(f"{name}(", f"{name} (")
    return text.replace("'", "").replace("level=", "").replace("_", " ")


# ---------------------------------------------------------------- distributions


class _Distributions:
    """Sets distributions as papers do: `Normal(mu, sigma)`, `NegBinomial(mu, alpha)`, a mixture as a sum."""

    def __init__(self, notation: Notation, setter: ExpressionSetter) -> None:
        self._notation, self._setter = notation, setter

    def set(self, statement: Statement) -> tuple[tuple[str, ...], str, int]:
        """Return a statement's distribution in pieces and as words, and how many dims of the left side are one draw."""
        body, dims = statement.distribution, tuple(statement.dims or ())
        name = str(body.get("dist"))
        known = family(name)
        words = _distribution_words(body)
        if dims and name in _SERIES:
            series = self._series(name, body, statement)
            if series:
                return series, words, 0
        if name in ("NormalMixture", "Mixture"):
            return (self._mixture(name, body),), words, 0
        event = 0 if known is None or name in _SERIES else min(known.event, len(dims))
        return self.distribution(body), words, event

    def distribution(self, body: Mapping[str, Any]) -> tuple[str, ...]:
        """Return a distribution with its parameters, in pieces."""
        name = str(body.get("dist"))
        given = {k: v for k, v in body.items() if k not in ("dist", *_MODIFIERS) and not isinstance(v, bool)}
        if name.startswith("LKJ"):
            given.pop("n", None)  # the size of a matrix is that of its dims
        limits = {k: given.pop(k) for k in ("lower", "upper") if k in given and not _takes(name, k)}
        if name == "GaussianProcess":
            return self._process(given)
        order = self._usual(name, given)
        parts = [self._parameter(name, parameter, given.get(parameter, 0)) for parameter in order or given]
        if order is None:
            parts = [self._named(p, v, s) for (p, v), s in zip(given.items(), parts, strict=True)]
        pieces = [row(word(_SHOWN.get(name, name)), fenced(listed(parts)) if parts else "")]
        truncated = {**limits, **(body.get("truncated") or {})}
        if truncated:
            pieces.append(self._limits(truncated))
        if body.get("censored"):
            pieces.append(mathml.text(", censored"))
        if body.get("weights"):
            pieces.append(row(mathml.text(", weights "), self._setter.set(parsed(body["weights"]))))
        if body.get("observed_if"):
            pieces.append(row(mathml.text(" if "), self._setter.set(parsed(body["observed_if"]))))
        return tuple(pieces)

    def _process(self, given: Mapping[str, Any]) -> tuple[str, ...]:
        """Return a Gaussian process by its mean and its covariance function."""
        mean = self._setter.bare(parsed(given.get("mu", 0)))
        covariance = self._kernel(given["kernel"])
        if given.get("sigma") is not None:
            noise = mathml.superscript(mathml.one(self._setter.set(parsed(given["sigma"]))), mathml.number(2))
            covariance = row(covariance, operator("+"), noise, "<mi>I</mi>")
        return (row(word("GP"), fenced(listed([mean, covariance]))),)

    def _kernel(self, given: Mapping[str, Any]) -> str:
        """Return a covariance function with its parameters; sums and products of them as such."""
        name, body = next(iter(given.items()))
        if name in COMPOSED:
            parts = [self._kernel(part) for part in body]
            nested = [
                fenced(p) if name == "product" and "sum" in one else p for p, one in zip(parts, body, strict=True)
            ]
            return operator("+").join(nested) if name == "sum" else row(*nested)
        shown = [self._named(p, v, self._parameter("", p, v)) for p, v in (body or {}).items() if p != "x"]
        return row(mathml.text(name.replace("_", " ")), fenced(listed(shown)) if shown else "")

    def _usual(self, name: str, given: Mapping[str, Any]) -> tuple[str, ...] | None:
        """Return the order of parameters that need no names; None if they do. A missing location is 0."""
        if len(given) == 1 and name not in ("Normal", "StudentT"):
            return tuple(given)
        known = family(name)
        scale = tuple(p for p in (known.location_scale if known else None) or () if p)
        for order in (_USUAL.get(name, ()), ("mu", "chol"), scale):
            if order and set(order) - {"mu"} <= set(given) <= set(order):
                return order
        return None

    def _named(self, parameter: str, given: Any, shown: str) -> str:
        """Return a parameter with its name, unless the two are the same symbol."""
        own = subscript(*mathml.symbol({"sd_dist": "sd"}.get(parameter, parameter)))
        same = isinstance(given, str) and mathml.symbol(given) == mathml.symbol(parameter)
        return shown if same else row(own, operator("="), shown)

    def _parameter(self, name: str, parameter: str, given: Any) -> str:
        if isinstance(given, Mapping):
            return row(*self.distribution(given))
        if isinstance(given, list | tuple):
            if len(given) > 6 or not given:
                return mathml.text(f"[{len(given)} values]")
            parts = listed([self._parameter(name, "", one) for one in given])
            return row(parts) if name == "Dirichlet" else fenced(parts, left="[", right="]")
        known = family(name)
        axes = known.parameters[parameter].axes if known and parameter in known.parameters else 0
        return self._setter.bare(parsed(given)) if axes else self._setter.set(parsed(given))

    def _limits(self, limits: Mapping[str, Any]) -> str:
        low, high = limits.get("lower"), limits.get("upper")
        infinite = (mathml.number(float("-inf")), mathml.number(float("inf")))
        ends = [
            default if given is None else self._setter.set(parsed(given))
            for given, default in zip((low, high), infinite, strict=True)
        ]
        return row(mathml.text(" on "), fenced(listed(ends), left="[", right="]"))

    # ------------------------------------------------------------ mixtures and series

    def _mixture(self, name: str, body: Mapping[str, Any]) -> str:
        """Return a mixture as the sum of its weighted components."""
        components = body.get("comp_dists") or ()
        if name == "Mixture":
            weights = [self._weight(body.get("w"), k) for k in range(len(components))]
            parts = [row(w, *self.distribution(c)) for w, c in zip(weights, components, strict=True)]
            return row(operator("+").join(parts))
        named = {k: str(body[k]) for k in ("w", "mu", "sigma", "tau") if k in body}
        axes = [self._notation.dims(text)[-1] for text in named.values() if self._notation.dims(text)]
        self._notation.same_letter(axes)
        parameters = {k: v for k, v in named.items() if k != "w"}
        inner = row(word("Normal"), fenced(listed([self._setter.set(parsed(v)) for v in parameters.values()])))
        below = self._setter.index(axes[0]) if axes else ""
        return mathml.summed("∑", below, row(self._setter.set(parsed(named["w"])), inner))

    def _weight(self, given: Any, k: int) -> str:
        if isinstance(given, list | tuple):
            return self._setter.set(parsed(given[k]))
        tree = parsed(given)
        if isinstance(tree, ast.Name):
            return subscript(*mathml.symbol(tree.id), mathml.number(k + 1))
        return subscript(fenced(self._setter.bare(tree)), mathml.number(k + 1))

    def _series(self, name: str, body: Mapping[str, Any], statement: Statement) -> tuple[str, ...] | None:
        """Return a series by its step from one point to the next; None where that would be long."""
        dims = tuple(statement.dims or ())
        letter = self._setter.index(dims[-1])

        def before(steps: int) -> str:
            base, own = mathml.symbol(statement.name)
            others = [self._setter.index(dim) for dim in dims[:-1]]
            back = row(letter, operator(mathml.MINUS, space=False), mathml.number(steps))
            return subscript(base, own, *others, back)

        if name == "GaussianRandomWalk" and "sigma" in body:
            centre = [before(1)]
            if body.get("mu") not in (None, 0, 0.0):
                centre.append(self._setter.set(parsed(body["mu"])))
            steps = row(operator("+").join(centre))
            return (self._normal(steps, self._setter.set(parsed(body["sigma"]))),)
        if name == "AR" and "sigma" in body:
            return self._autoregression(body, before)
        return None

    def _autoregression(self, body: Mapping[str, Any], before: Any) -> tuple[str, ...] | None:
        text = str(body.get("rho"))
        constant = 1 if body.get("constant") else 0
        order = self._notation.size(self._notation.dims(text)[-1]) if self._notation.dims(text) else 1
        if not text.isidentifier() or order - constant > _MAX_LAGS:
            return None
        base, own = mathml.symbol(text)
        rho = [subscript(base, own, mathml.number(k)) if self._notation.dims(text) else base for k in range(order)]
        terms = [rho[0]] if constant else []
        terms += [row(rho[k], before(k - constant + 1)) for k in range(constant, order)]
        return (self._normal(operator("+").join(terms), self._setter.set(parsed(body["sigma"]))),)

    def _normal(self, mean: str, sd: str) -> str:
        return row(word("Normal"), fenced(listed([mean, sd])))


def _takes(name: str, parameter: str) -> bool:
    known = family(name)
    return known is not None and parameter in known.parameters


def _distribution_words(body: Mapping[str, Any]) -> str:
    given = {k: v for k, v in body.items() if k != "dist"}
    words = [f"{mathml.spoken(str(k))} {_value_words(v)}" for k, v in given.items()]
    return f"{body.get('dist')} with {', '.join(words)}" if words else str(body.get("dist"))


def _value_words(given: Any) -> str:
    if isinstance(given, Mapping):
        parts = [f"{k} {_value_words(v)}" for k, v in given.items()]
        return _distribution_words(given) if "dist" in given else ", ".join(parts)
    if isinstance(given, list | tuple):
        return " and ".join(_value_words(one) for one in given)
    return in_words(str(given))
