"""`s(x)`, `s(x, z)` and `t2(x, z)`: smooth functions, each with sds of its own.

    eta += fixed[row] . b + basis[row] . w,     w_j ~ Normal(0, sds[penalty of j])

`fixed` are the columns without a penalty (the straight line), `basis` those of `spline_bases`. `by = g` has such
coefficients for each level of a factor; `by = z` multiplies the smooth by numbers, and then it is not centred, so that
it holds the effect of `z` itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.base import Role
from bayesrun.language.declaration import Deterministic
from bayesrun.language.statements import Statement, distribution_in
from bayesrun.lazy import xr
from bayesrun.models.regression.by_variable import By, input_points, learn_by, smooth_roles, told_outside
from bayesrun.models.regression.linear_terms import Part, Rows, Setting
from bayesrun.models.regression.smooth_calls import SmoothCall, truth, whole_numbers
from bayesrun.models.regression.spline_bases import (
    Basis,
    Spline,
    Tensor,
    cubic_regression,
    tensor_product,
    thin_plate,
)
from bayesrun.models.regression.term_priors import as_vector, numbers_of, own_prior_of, prior_in, prior_of

Array = NDArray[Any]
_MAX_COLUMNS = 200
_BASES_ELSEWHERE = {
    "re": "write (1 | g) for effects of groups, (0 + x | g) for slopes",
    "fs": "write s(x, by = g), a curve for each level of g, and g itself, or (1 | g)",
    "cc": "write cc(x, df=8, constraints='center'), a cyclic spline without a penalty",
    "mrf": "effects of areas are declarative models with CAR or ICAR (docs/language.md)",
    "gp": "write hsgp(x), an approximation of a Gaussian process by basis functions",
}
"""What to write in place of bases that mgcv has."""
_DEFAULT_SIZE = {"tp": (10, 30), "cr": (10,)}
"""Columns of a basis of one input, and of two, as in mgcv."""
_MARGIN = 5


@dataclass(frozen=True)
class SmoothTerm:
    """A call of `s` or `t2`.

    Parameters
    ----------
    call
        The call.
    alone
        Whether the formula has no other effect of `by`.
    """

    call: SmoothCall
    alone: bool = False

    def roles(self) -> tuple[Role, ...]:
        """Return its columns, after a check of its arguments."""
        self._sizes(), self._kind(), truth(self.call, "fx", False)
        return smooth_roles(self.call)

    def prior_names(self, prefix: str) -> tuple[str, ...]:
        """Return the names of its unpenalised coefficients, and those of its sds below `sds`."""
        names = self.call.prior_names(prefix)
        return (*names, *(f"sds.{name}" for name in names))

    def summands(self) -> tuple[str, ...]:
        """Return what it adds to the linear predictor, as a statement has it."""
        return (f"column({self.call.text!r})",)

    def prior_statements(self, priors: Mapping[str, Any], prefix: str) -> Iterator[Statement]:
        """Yield the distributions of its coefficients, weights and sds."""
        name = f"{prefix}{self.call.name}"
        line = distribution_in(prior_of(priors, self.call.prior_names(""), prefix)[1])
        yield Statement("prior", name, (f"{name}_column",), line)
        if not truth(self.call, "fx", False):
            weights = {"dist": "Normal", "mu": 0, "sigma": f"sds_{name}"}
            yield Statement("prior", f"weights_{name}", (f"{name}_basis",), weights)
            yield Statement(
                "prior", f"sds_{name}", (), distribution_in(prior_in("sds", priors, self.call.prior_names(prefix))[1])
            )

    def learn(self, rows: Rows, setting: Setting) -> tuple[FittedSmooth, xr.Dataset]:
        """Make the basis of the fitted rows, and return their columns."""
        points, by = input_points(self.call, rows), learn_by(self.call, rows)
        basis = self._basis(points)
        scales = np.std(_fixed(basis, by, truth(self.call, "fx", False), points, rows), axis=0)
        fitted = FittedSmooth(self, basis, by, tuple(scales.tolist()), setting.prefix)
        return fitted, fitted.columns(rows)

    def restored(self, content: Mapping[str, Any], setting: Setting) -> FittedSmooth:
        """Rebuild it from the output of `plain`."""
        kind = Tensor if self.call.function == "t2" else Spline
        basis = kind.from_plain(content["basis"])
        return FittedSmooth(self, basis, By.from_plain(content["by"]), tuple(content["scales"]), setting.prefix)

    def _kind(self) -> str:
        call, known = self.call, tuple(_DEFAULT_SIZE)
        kind = call.arguments.get("bs", "tp")
        if kind not in known:
            hint = _BASES_ELSEWHERE.get(str(kind), "tp is a thin plate spline, cr a cubic regression spline")
            raise call.fault(f"there is no basis bs = {kind!r}", hint)
        inputs = len(call.inputs)
        if call.function == "s" and inputs > len(_DEFAULT_SIZE[kind]):
            hint = "write t2(x, z), whose inputs may have different units"
            raise call.fault(f"a smooth of {inputs} columns has no basis {kind}", hint)
        if call.function == "t2" and not 2 <= inputs <= 3:
            raise call.fault(f"t2 takes two or three columns (got {inputs})", "write s(x) for one")
        return str(kind)

    def _sizes(self) -> tuple[int, ...]:
        """Return the number of columns of the basis, or of each margin."""
        inputs = len(self.call.inputs)
        if self.call.function == "t2":
            given = whole_numbers(self.call, "k", inputs, 3, 20)
            return tuple(size or _MARGIN for size in given)
        (size,) = whole_numbers(self.call, "k", 1, inputs + 2, _MAX_COLUMNS)
        return (size or _DEFAULT_SIZE[self._kind()][inputs - 1],)

    def _basis(self, points: Array) -> Basis:
        call, sizes = self.call, self._sizes()
        distinct = [len(np.unique(points[:, i])) for i in range(points.shape[1])]
        if call.function == "t2":
            for name, count, size in zip(call.inputs, distinct, sizes, strict=True):
                self._check_distinct(name, count, size)
            return tensor_product(points, sizes)
        if len(call.inputs) > 1:
            for name, count in zip(call.inputs, distinct, strict=True):
                self._check_distinct(name, count, 2)
            distinct = [len(np.unique(points, axis=0))]
        self._check_distinct(", ".join(call.inputs), distinct[0], sizes[0])
        return thin_plate(points, sizes[0]) if self._kind() == "tp" else cubic_regression(points, sizes[0])

    def _check_distinct(self, name: str, count: int, size: int) -> None:
        if count >= size:
            return
        least = len(self.call.inputs) + 2
        enough = f"set k = {count} or less" if count >= least else f"leave it out, or write {name} or C({name})"
        message = f"'{name}' has {count} distinct values, fewer than the {size} columns of the basis"
        raise self.call.fault(message, enough)


@dataclass(frozen=True)
class FittedSmooth:
    """A smooth with its basis.

    Parameters
    ----------
    term
        The term as written.
    basis
        The basis of the fitted rows.
    by
        What it varies with.
    scales
        Sds of the unpenalised columns over the fitted rows.
    prefix
        Prefix of its variables' names.
    """

    term: SmoothTerm
    basis: Basis
    by: By
    scales: tuple[float, ...]
    prefix: str

    @property
    def name(self) -> str:
        """Name of the smooth in the model's variables."""
        return f"{self.prefix}{self.term.call.name}"

    @property
    def penalised(self) -> bool:
        """Whether it has penalised columns."""
        return not truth(self.term.call, "fx", False)

    @property
    def penalties(self) -> tuple[str, ...]:
        """Labels of the penalties: the inputs of which the function is not straight."""
        if isinstance(self.basis, Spline):
            return (", ".join(self.term.call.inputs),)
        inputs = self.term.call.inputs
        return tuple(":".join(n for n, of in zip(inputs, one, strict=True) if of) for one in self.basis.blocks())

    @property
    def fixed_labels(self) -> tuple[str, ...]:
        """Labels of the unpenalised columns."""
        call = self.term.call
        if isinstance(self.basis, Spline):
            labels = list(call.inputs)
        else:
            sets = [of for size in range(1, len(call.inputs) + 1) for of in combinations(range(len(call.inputs)), size)]
            codes = sorted(sets, key=lambda of: sum(2 ** (len(call.inputs) - 1 - i) for i in of))
            labels = [":".join(call.inputs[i] for i in of) for of in codes]
        labels += [] if self.penalised else [f"{number + 1}" for number in range(self.basis.size)]
        by = str(self.by.column)
        return (by, *(f"{by}:{label}" for label in labels)) if self.by.is_numeric else tuple(labels)

    def plain(self) -> Mapping[str, Any]:
        """Return the basis, the levels of `by`, and the scales of the priors."""
        return {"basis": dict(self.basis.plain()), "by": dict(self.by.plain()), "scales": list(self.scales)}

    def columns(self, rows: Rows) -> xr.Dataset:
        """Return the columns of other rows, straight lines outside of the range of the fitted ones."""
        points, name = input_points(self.term.call, rows), self.name
        coords: dict[str, Any] = {f"{name}_column": list(self.fixed_labels)}
        fixed = _fixed(self.basis, self.by, not self.penalised, points, rows)
        variables: dict[str, Any] = {f"{name}_fixed": ((rows.dim, f"{name}_column"), fixed)}
        if self.penalised:
            columns = self.basis.penalised(points) * self._factor(rows)
            variables[f"{name}_design"] = ((rows.dim, f"{name}_basis"), columns)
            coords[f"{name}_basis"] = np.arange(1, self.basis.size + 1)
        if len(self.penalties) > 1:
            coords[f"{name}_penalty"] = list(self.penalties)
            assert isinstance(self.basis, Tensor)
            of = np.repeat(np.arange(len(self.penalties)), [turn.shape[1] for turn in self.basis.rotations])
            variables[f"{name}_penalty_code"] = ((f"{name}_basis",), of)
        if self.by.levels is not None:
            coords[f"{name}_level"] = list(map(str, self.by.levels))
            variables[f"{name}_code"] = (rows.dim, self.by.codes(rows))
        return xr.Dataset(variables, coords=coords)

    def _factor(self, rows: Rows) -> Array:
        return self.by.numbers(rows)[:, None] if self.by.is_numeric else np.ones((1, 1))

    def outside(self, rows: Rows) -> tuple[str, ...]:
        """Return what to know of rows that are outside of the range of the fitted ones."""
        then = ("the smooth goes on as a straight line",) * len(self.term.call.inputs)
        return told_outside(self.term.call, rows, self.basis.low, self.basis.high, then)

    def known_groups(self) -> Mapping[str, int]:
        """Return nothing: its levels are those of the fit."""
        return {}

    def recalled(self, setting: Setting) -> tuple[Deterministic, ...]:
        """Return nothing: all its variables are in the posterior."""
        return ()

    def declare(self, setting: Setting) -> Part:
        """Declare sds, weights and unpenalised coefficients."""
        name = self.name
        levels = [f"{name}_level"] if self.by.is_factor else []
        at = f"[{name}_code]" if self.by.is_factor else ""
        priors: dict[str, Any] = {name: {**self._fixed_prior(setting), "dims": [*levels, f"{name}_column"]}}
        parts = [self._product(f"{name}{at}", f"{name}_fixed", f"{name}_column")]
        if self.penalised:
            several = [f"{name}_penalty"] if len(self.penalties) > 1 else []
            sds, index = f"sds_{name}", ""
            key, given = prior_in("sds", setting.priors, self.term.call.prior_names(self.prefix))
            own = numbers_of(given, key, np.asarray(setting.spread), setting.data)
            priors[sds] = {**own, "dims": [*levels, *several]} if levels or several else own
            if several:
                index = f"[:, {name}_penalty_code]" if levels else f"[{name}_penalty_code]"
            weights = {"dist": "Normal", "mu": 0, "sigma": f"{sds}{index}", "dims": [*levels, f"{name}_basis"]}
            priors[f"weights_{name}"] = {**weights, "parameterization": "noncentered"}
            parts.append(self._product(f"weights_{name}{at}", f"{name}_design", f"{name}_basis"))
        return Part(" + ".join(parts), priors, notes=self.by.note(self.term.call, self.term.alone))

    def _product(self, coefficients: str, columns: str, dim: str) -> str:
        if self.by.is_factor:
            return f"sum({coefficients} * {columns}, {dim})"
        return f"dot({columns}, {coefficients})"

    def _fixed_prior(self, setting: Setting) -> Mapping[str, Any]:
        """Return the prior of the unpenalised coefficients: that of the smooth, or the default of coefficients."""
        key, given = own_prior_of(setting.priors, self.term.call.prior_names(""), self.prefix)
        scales = setting.spread / np.array(self.scales)
        found = numbers_of(given, f"model.priors.{key}", scales, setting.data)
        return as_vector([found], [len(scales)]) or found

    def curve(self, columns: xr.Dataset, posterior: xr.Dataset) -> xr.DataArray:
        """Return what it adds to the linear predictor of rows, over (chain, draw, row).

        Parameters
        ----------
        columns
            Their columns.
        posterior
            The draws.
        """
        name, by = self.name, self.by
        found = by.combined(posterior[name], columns[f"{name}_fixed"], columns, name)
        if self.penalised:
            found = found + by.combined(posterior[f"weights_{name}"], columns[f"{name}_design"], columns, name)
        return found

    def unpenalised(self, columns: xr.Dataset) -> tuple[Array, tuple[str, ...]]:
        """Return the unpenalised columns of rows and their names, for the check that they are not collinear."""
        fixed: Array = columns[f"{self.name}_fixed"].values
        short = self.term.call.short
        if self.by.levels is None:
            return fixed, (short,) * fixed.shape[1]
        code = columns[f"{self.name}_code"].values
        parts = [fixed * (code == number)[:, None] for number in range(len(self.by.levels))]
        return np.concatenate(parts, axis=1), (short,) * (fixed.shape[1] * len(parts))


def _fixed(basis: Basis, by: By, unpenalised: bool, points: Array, rows: Rows) -> Array:
    """Return the unpenalised columns over the rows; with `by` numbers also that of the constant."""
    parts: Sequence[Array] = [basis.unpenalised(points), *([basis.penalised(points)] if unpenalised else [])]
    if by.is_numeric:
        whole = np.concatenate([np.ones((len(points), 1)), *parts], axis=1)
        return np.asarray(whole * by.numbers(rows)[:, None])
    return np.concatenate(parts, axis=1)
