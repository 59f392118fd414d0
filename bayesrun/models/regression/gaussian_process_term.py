"""`hsgp(x)`: a Gaussian process, approximated by basis functions on an interval (Riutort-Mayol et al. 2023).

    f(x) = sum_j phi_j(x) w_j,     w_j ~ Normal(0, sqrt(S(omega_j)))

The basis functions `phi_j` and the spectral density `S` are those of `bayesrun.language.gaussian_processes`, with
`sdgp` and `lscale`. The columns are taken relative to their means over the fitted rows; that moves the mean of `f` into
the intercept.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.data.base import Role
from bayesrun.errors import did_you_mean
from bayesrun.language.declaration import Deterministic
from bayesrun.language.gaussian_processes import (
    EXPECTED,
    MAX_FUNCTIONS,
    RULES,
    basis,
    boundary_for,
    frequencies,
    functions_for,
    spectral_root,
)
from bayesrun.language.statements import Statement, distribution_in
from bayesrun.lazy import xr
from bayesrun.models.regression.by_variable import By, input_points, learn_by, smooth_roles, told_outside
from bayesrun.models.regression.linear_terms import Part, Rows, Setting
from bayesrun.models.regression.smooth_calls import SmoothCall, truth, whole_numbers
from bayesrun.models.regression.term_priors import numbers_of, prior_in

Array = NDArray[Any]


@dataclass(frozen=True)
class GaussianProcess:
    """A call of `hsgp`.

    Parameters
    ----------
    call
        The call.
    alone
        Whether the formula has no other effect of `by`.
    """

    call: SmoothCall
    alone: bool = False

    @property
    def covariance(self) -> str:
        """Name of the covariance function."""
        call = self.call
        name = call.arguments.get("cov", "exp_quad")
        if name not in RULES:
            raise call.fault(f"there is no covariance {name!r}", did_you_mean(str(name), RULES))
        return str(name)

    @property
    def isotropic(self) -> bool:
        """Whether all inputs have the same lengthscale."""
        return truth(self.call, "iso", False) and len(self.call.inputs) > 1

    def boundaries(self) -> tuple[float, ...]:
        """Return the boundary factor of each input."""
        call, inputs = self.call, len(self.call.inputs)
        given = call.arguments.get("c")
        if given is None:
            return (boundary_for(self.covariance, EXPECTED[inputs][1]),) * inputs
        values = given if isinstance(given, tuple) else (given,) * inputs
        right = all(isinstance(v, int | float) and not isinstance(v, bool) and 1 < v <= 100 for v in values)
        if not right or len(values) != inputs:
            several = f", or {inputs} of them" if inputs > 1 else ""
            raise call.fault(f"c must be a number above 1{several} (got {given!r})", "c = 1.5")
        return tuple(map(float, values))

    def sizes(self) -> tuple[int, ...]:
        """Return the number of basis functions of each input."""
        call, inputs = self.call, len(self.call.inputs)
        if inputs > 3:
            raise call.fault(f"hsgp takes one to three columns (got {inputs})", "several terms: hsgp(x) + hsgp(z)")
        given = whole_numbers(call, "m", inputs, 2, MAX_FUNCTIONS)
        pairs = zip(given, self.boundaries(), strict=True)
        found = tuple(m or functions_for(self.covariance, EXPECTED[inputs][0], c) for m, c in pairs)
        if math.prod(found) > MAX_FUNCTIONS:
            raise call.fault(
                f"{math.prod(found):,} basis functions are too many (up to {MAX_FUNCTIONS:,})", "set a smaller m"
            )
        return found

    def roles(self) -> tuple[Role, ...]:
        """Return its columns, after a check of its arguments."""
        self.sizes(), truth(self.call, "scale", False), truth(self.call, "iso", False)
        return smooth_roles(self.call)

    def prior_names(self, prefix: str) -> tuple[str, ...]:
        """Return its names below `sdgp` and `lscale`."""
        return tuple(f"{section}.{name}" for section in ("sdgp", "lscale") for name in self.call.prior_names(prefix))

    def summands(self) -> tuple[str, ...]:
        """Return what it adds to the linear predictor, as a statement has it."""
        return (f"column({self.call.text!r})",)

    def prior_statements(self, priors: Mapping[str, Any], prefix: str) -> Iterator[Statement]:
        """Yield the distributions of sd and lengthscale."""
        for section in ("sdgp", "lscale"):
            own = distribution_in(prior_in(section, priors, self.call.prior_names(prefix))[1])
            yield Statement("prior", f"{section}_{prefix}{self.call.name}", (), own)

    def learn(self, rows: Rows, setting: Setting) -> tuple[FittedProcess, xr.Dataset]:
        """Learn the ranges of the inputs, and the means of the basis functions."""
        points, by = input_points(self.call, rows), learn_by(self.call, rows)
        low, high = points.min(axis=0), points.max(axis=0)
        for name, spread in zip(self.call.inputs, high - low, strict=True):
            if not spread > 0:
                raise self.call.fault(f"'{name}' is the same in all rows", "leave it out")
        fitted = FittedProcess(self, low, high, np.zeros(math.prod(self.sizes())), by, setting.prefix)
        means = np.zeros_like(fitted.means) if by.is_numeric else fitted.basis(points).mean(axis=0)
        fitted = FittedProcess(self, low, high, means, by, setting.prefix)
        return fitted, fitted.columns(rows)

    def restored(self, content: Mapping[str, Any], setting: Setting) -> FittedProcess:
        """Rebuild it from the output of `plain`."""
        low, high, means = (np.array(content[name], float) for name in ("low", "high", "means"))
        return FittedProcess(self, low, high, means, By.from_plain(content["by"]), setting.prefix)


@dataclass(frozen=True)
class FittedProcess:
    """A Gaussian process with its basis.

    Parameters
    ----------
    term
        The term as written.
    low, high
        Range of each input over the fitted rows.
    means
        Means of the basis functions over the fitted rows; 0 if the process multiplies numbers.
    by
        What it varies with.
    prefix
        Prefix of its variables' names.
    """

    term: GaussianProcess
    low: Array
    high: Array
    means: Array
    by: By
    prefix: str

    @property
    def name(self) -> str:
        """Name of the process in the model's variables."""
        return f"{self.prefix}{self.term.call.name}"

    @property
    def unit(self) -> Array:
        """What the lengthscale of each input is counted in: 1, or half its range with `scale = TRUE`."""
        half = self.half_range
        return half if truth(self.term.call, "scale", False) else np.ones_like(half)

    @property
    def half_range(self) -> Array:
        """Half the range of each input."""
        return np.asarray((self.high - self.low) / 2.0)

    def frequencies(self) -> Array:
        """Return the frequencies of all basis functions, over (basis, input), per unit of the inputs."""
        return frequencies(np.array(self.term.boundaries()) * self.half_range, self.term.sizes())

    def basis(self, points: Array) -> Array:
        """Return the basis functions less their means, over (row, basis)."""
        ends = np.array(self.term.boundaries()) * self.half_range
        found = basis(points, (self.low + self.high) / 2.0, ends, self.term.sizes())
        return np.asarray(found - self.means)

    def plain(self) -> Mapping[str, Any]:
        """Return the ranges of the inputs, the means of the basis functions, and the levels of `by`."""
        arrays = {"low": self.low.tolist(), "high": self.high.tolist(), "means": self.means.tolist()}
        return {**arrays, "by": dict(self.by.plain())}

    def columns(self, rows: Rows) -> xr.Dataset:
        """Return the basis functions of other rows, and the squares of their frequencies."""
        points, name = input_points(self.term.call, rows), self.name
        columns = self.basis(points)
        if self.by.is_numeric:
            columns = columns * self.by.numbers(rows)[:, None]
        squares = (self.frequencies() * self.unit) ** 2
        variables: dict[str, Any] = {
            f"{name}_design": ((rows.dim, f"{name}_basis"), columns),
            f"{name}_frequency": ((f"{name}_basis", f"{name}_input"), squares),
        }
        coords: dict[str, Any] = {
            f"{name}_basis": np.arange(1, columns.shape[1] + 1),
            f"{name}_input": list(self.term.call.inputs),
        }
        if self.by.levels is not None:
            coords[f"{name}_level"] = list(map(str, self.by.levels))
            variables[f"{name}_code"] = (rows.dim, self.by.codes(rows))
        return xr.Dataset(variables, coords=coords)

    def outside(self, rows: Rows) -> tuple[str, ...]:
        """Return what to know of rows that are outside of the range of the fitted ones."""
        ends = (np.array(self.term.boundaries()) - 1.0) * self.half_range
        then = [f"the approximation gets worse from there on, and ends {end:.4g} from the range" for end in ends]
        return told_outside(self.term.call, rows, self.low, self.high, then)

    def curve(self, columns: xr.Dataset, posterior: xr.Dataset) -> xr.DataArray:
        """Return what it adds to the linear predictor of rows with these columns, over (chain, draw, row)."""
        name = self.name
        return self.by.combined(posterior[f"weights_{name}"], columns[f"{name}_design"], columns, name)

    def known_groups(self) -> Mapping[str, int]:
        """Return nothing: its levels are those of the fit."""
        return {}

    def recalled(self, setting: Setting) -> tuple[Deterministic, ...]:
        """Return nothing: all its variables are in the posterior."""
        return ()

    def declare(self, setting: Setting) -> Part:
        """Declare sd, lengthscales and weights."""
        name, inputs = self.name, len(self.term.call.inputs)
        levels = [f"{name}_level"] if self.by.is_factor else []
        several = [f"{name}_input"] if inputs > 1 and not self.term.isotropic else []
        names = self.term.call.prior_names(self.prefix)
        key, given = prior_in("sdgp", setting.priors, names)
        sd = numbers_of(given, key, np.asarray(setting.spread), setting.data)
        key, given = prior_in("lscale", setting.priors, names)
        reach = self.half_range / self.unit
        lengthscale = numbers_of(given, key, reach if several else np.asarray(np.mean(reach)), setting.data)
        scale = self._scale(inputs, bool(levels), bool(several))
        dims = {"dims": [*levels, f"{name}_basis"], "parameterization": "noncentered"}
        priors = {
            f"sdgp_{name}": {**sd, "dims": levels} if levels else sd,
            f"lscale_{name}": {**lengthscale, "dims": [*levels, *several]} if levels or several else lengthscale,
            f"weights_{name}": {"dist": "Normal", "mu": 0, "sigma": scale, **dims},
        }
        if levels:
            expression = f"sum(weights_{name}[{name}_code] * {name}_design, {name}_basis)"
        else:
            expression = f"dot({name}_design, weights_{name})"
        return Part(expression, priors, notes=self.by.note(self.term.call, self.term.alone))

    def _scale(self, inputs: int, by_level: bool, several: bool) -> str:
        """Write the root of the spectral density at the frequencies, over (basis), or (level, basis)."""
        name = self.name
        scale, frequency = f"lscale_{name}", f"{name}_frequency"
        volume = float(np.prod(self.unit))
        if several:
            product = f"prod({scale}, {name}_input)"
            bends = f"dot({scale} ** 2, transpose({frequency}))" if by_level else f"dot({frequency}, {scale} ** 2)"
        else:
            product = f"{scale} ** {inputs}" if inputs > 1 else scale
            total = f"sum({frequency}, {name}_input)"
            bends = f"outer({scale} ** 2, {total})" if by_level else f"{scale} ** 2 * {total}"
        front = f"sdgp_{name} * sqrt({product})"
        constant, shift, exponent = spectral_root(self.term.covariance, inputs)
        shape = f"exp({exponent:g} * {bends})" if shift is None else f"({shift:g} + {bends}) ** {exponent:g}"
        front = f"{constant * math.sqrt(volume):.17g} * {front}"
        return f"outer({front}, ones(n_{name}_basis)) * {shape}" if by_level else f"{front} * {shape}"
