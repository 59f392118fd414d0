"""The table of distributions that YAML may name. It is plain text, so a config can be checked without an engine.

A line reads `NAME | support | event | parameters`. `event` is the number of trailing axes that belong to one draw (1
for a series), or `vector` for one axis that is a vector of one row, such as Dirichlet's. A parameter is `name:domain`,
with `[]` for each axis that one draw requires (`p[]`, `cov[][]`), and `?` if it is optional. Exactly one of `a|b` must
be given; `a+b|c+d` are alternatives of two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from bayesrun.errors import fail
from bayesrun.language.densities.base import DENSITIES

_TABLE = """\
AR | real | 1 | rho[]:real sigma:positive|tau:positive constant:bool? init:distribution? steps:steps?
AR1 | real | 1 | k:real tau_e:positive steps:steps?
AsymmetricLaplace | real | 0 | b:positive kappa:positive mu:real?
BART | real | 1 | X[][]:real Y[]:real m:size? alpha:unit? split_prior[]:nonnegative? inv_link:text? jitter:bool?
Bernoulli | binary | 0 | p:unit|logit_p:real
Beta | unit | 0 | alpha:positive+beta:positive|mu:unit+sigma:positive
BetaBinomial | count | 0 | alpha:positive beta:positive n:count
Binomial | count | 0 | n:count p:unit
Categorical | count | 0 | p[]:simplex
Cauchy | real | 0 | alpha:real beta:positive
ChiSquared | positive | 0 | nu:positive
Constant | integer | 0 | c:real
ConstantDist | integer | 0 | c:real
Dirichlet | simplex | vector | a[]:positive
DirichletMultinomial | count | vector | n:count a[]:positive
DiscreteUniform | integer | 0 | lower:integer upper:integer
DiscreteWeibull | count | 0 | q:unit beta:positive
ExGaussian | real | 0 | mu:real? sigma:positive nu:positive
Exponential | positive | 0 | lam:positive
Flat | real | 0 |
GARCH11 | real | 1 | omega:positive alpha_1:nonnegative beta_1:nonnegative initial_vol:nonnegative steps:steps?
Gamma | positive | 0 | alpha:positive+beta:positive|mu:positive+sigma:positive
GaussianRandomWalk | real | 1 | mu:real? sigma:positive|tau:positive init:distribution? steps:steps?
Geometric | count | 0 | p:unit
Gumbel | real | 0 | mu:real? beta:positive?
HalfCauchy | positive | 0 | beta:positive
HalfFlat | positive | 0 |
HalfNormal | positive | 0 | sigma:positive|tau:positive
HalfStudentT | positive | 0 | nu:positive? sigma:positive|lam:positive
HyperGeometric | count | 0 | N:count k:count n:count
Interpolated | interval | 0 | x_points[]:real pdf_points[]:nonnegative
InverseGamma | positive | 0 | alpha:positive+beta:positive|mu:positive+sigma:positive
KroneckerNormal | real | 1 | mu[]:real covs:matrices|chols:matrices sigma:nonnegative?
Kumaraswamy | unit | 0 | a:positive b:positive
LKJCholeskyCov | matrix | 1 | eta:positive n:size sd_dist:distribution
LKJCorr | matrix | 1 | eta:positive n:size
Laplace | real | 0 | mu:real b:positive
LogNormal | positive | 0 | mu:real? sigma:positive|tau:positive
Logistic | real | 0 | mu:real? s:positive?
LogitNormal | unit | 0 | mu:real? sigma:positive|tau:positive
Lognormal | positive | 0 | mu:real? sigma:positive|tau:positive
MatrixNormal | real | 2 | mu:real? rowcov[][]:real|rowchol[][]:real|rowtau[][]:real \
 colcov[][]:real|colchol[][]:real|coltau[][]:real
Mixture | any | 0 | w[]:simplex comp_dists:distributions
MixtureSameFamily | any | 0 | w[]:simplex comp_dists:distribution mixture_axis:integer?
Moyal | real | 0 | mu:real? sigma:positive?
Multinomial | count | vector | n:count p[]:simplex
MvGaussianRandomWalk | real | 2 | mu[]:real? cov[][]:real|tau[][]:real|chol[][]:real lower:bool? init:distribution? \
 steps:steps?
MvNormal | real | vector | mu[]:real cov[][]:real|tau[][]:real|chol[][]:real lower:bool?
MvStudentT | real | vector | nu:positive mu[]:real cov[][]:real|tau[][]:real|chol[][]:real lower:bool?
MvStudentTRandomWalk | real | 2 | nu:positive mu[]:real? cov[][]:real|tau[][]:real|chol[][]:real lower:bool? \
 init:distribution? steps:steps?
NegativeBinomial | count | 0 | mu:positive+alpha:positive|mu:positive+n:positive|p:unit+alpha:positive|p:unit+n:positive
Normal | real | 0 | mu:real? sigma:positive|tau:positive
NormalMixture | real | 0 | w[]:simplex mu[]:real sigma[]:positive|tau[]:positive
OrderedLogistic | count | 0 | eta:real cutpoints[]:real
OrderedProbit | count | 0 | eta:real cutpoints[]:real
Pareto | positive | 0 | alpha:positive m:positive
Poisson | count | 0 | mu:nonnegative
Rice | positive | 0 | nu:nonnegative|b:nonnegative sigma:positive
SkewNormal | real | 0 | mu:real? sigma:positive|tau:positive alpha:real?
StudentT | real | 0 | nu:positive mu:real? sigma:positive|lam:positive
Triangular | interval | 0 | lower:real? upper:real? c:real?
TruncatedNormal | interval | 0 | mu:real? sigma:positive|tau:positive lower:real? upper:real?
Uniform | interval | 0 | lower:real? upper:real?
VonMises | angle | 0 | mu:real? kappa:positive
Wald | positive | 0 | mu:positive+lam:positive|mu:positive+phi:positive|lam:positive+phi:positive|mu:positive \
 alpha:nonnegative?
Weibull | positive | 0 | alpha:positive beta:positive
Wishart | matrix | 2 | nu:positive V[][]:real
WishartBartlett | matrix | 2 | S[][]:real nu:positive is_cholesky:bool? return_cholesky:bool?
ZeroInflatedBinomial | count | 0 | psi:unit n:count p:unit
ZeroInflatedNegativeBinomial | count | 0 | psi:unit mu:positive alpha:positive
ZeroInflatedPoisson | count | 0 | psi:unit theta:positive
"""

# Distributions defined by expressions in `bayesrun.language.densities`.
_DECLARED_TABLE = """\
AdjacentLogistic | count | 0 | eta:real cutpoints[]:real
BetaProportion | unit | 0 | mu:unit phi:positive
CategoricalLogit | count | 0 | eta[]:real
GammaMean | positive | 0 | mu:positive alpha:positive
HurdleGamma | nonnegative | 0 | mu:positive alpha:positive zero:unit
HurdleLogNormal | nonnegative | 0 | mu:real sigma:positive zero:unit
HurdleNegativeBinomial | count | 0 | mu:positive alpha:positive zero:unit
HurdlePoisson | count | 0 | mu:positive zero:unit
InverseGaussian | positive | 0 | mu:positive lam:positive
MultinomialLogit | count | vector | n:count eta[]:real
OrderedCloglog | count | 0 | eta:real cutpoints[]:real
SequentialLogistic | count | 0 | eta:real cutpoints[]:real
WeibullMean | positive | 0 | mu:positive alpha:positive
ZeroInflatedBeta | unit_or_end | 0 | mu:unit phi:positive zero:unit
ZeroInflatedBetaBinomial | count | 0 | n:count mu:unit phi:positive zero:unit
ZeroInflatedGeometric | count | 0 | mu:positive zero:unit
ZeroOneInflatedBeta | unit_or_end | 0 | mu:unit phi:positive zero_one:unit one:unit
"""

# Distributions that are written in terms of others before an engine sees them.
_COMPOSED_TABLE = """\
CAR | real | 1 | mu[]:real? W[][]:nonnegative alpha:unit tau:positive
ICAR | real | 1 | W[][]:nonnegative sigma:positive? scaled:bool?
GaussianProcess | real | 1 | x:inputs kernel:kernel mu[]:real? sigma:positive? jitter:number? hsgp:basis?
"""

_DISCRETE = ("binary", "count", "integer")
_MIXED = ("nonnegative", "unit_or_end")

# A variable of these families is `location + scale * (standard variable)`, in this order; location may be
# absent. LogNormal is such a family on the log scale.
LOCATION_SCALE: Mapping[str, tuple[str | None, str]] = MappingProxyType(
    {
        "Normal": ("mu", "sigma"),
        "StudentT": ("mu", "sigma"),
        "Cauchy": ("alpha", "beta"),
        "Laplace": ("mu", "b"),
        "Logistic": ("mu", "s"),
        "Gumbel": ("mu", "beta"),
        "Moyal": ("mu", "sigma"),
        "SkewNormal": ("mu", "sigma"),
        "LogNormal": ("mu", "sigma"),
        "Lognormal": ("mu", "sigma"),
        "HalfNormal": (None, "sigma"),
        "HalfCauchy": (None, "beta"),
        "HalfStudentT": (None, "sigma"),
    }
)


SIZED_BY_DIM = ("LKJCholeskyCov", "LKJCorr")
"""Distributions of square matrices, whose size `n` may follow from the dim of their rows."""


@dataclass(frozen=True)
class DistributionParameter:
    """A parameter of a distribution.

    Parameters
    ----------
    name
        Its name in PyMC3.
    domain
        Values allowed (`positive`, `simplex`, `distribution`, ...).
    axes
        Number of its trailing axes that belong to a single draw.
    """

    name: str
    domain: str
    axes: int = 0


@dataclass(frozen=True)
class Distribution:
    """A distribution that YAML may name.

    Parameters
    ----------
    name
        Its name in PyMC3.
    support
        Support of the distribution.
    event
        Number of trailing axes of a single draw.
    parameters
        Its parameters by name.
    required
        Groups of alternatives; exactly one alternative (a set of names) of each group must be given.
    declared
        Whether it is defined by expressions, which every engine can evaluate.
    composed
        Whether it is written in terms of others before an engine sees it.
    vector
        Whether its one axis is a vector of one row, not time or place: each vector has a term of its own.
    """

    name: str
    support: str
    event: int
    parameters: Mapping[str, DistributionParameter]
    required: tuple[tuple[frozenset[str], ...], ...]
    declared: bool = False
    composed: bool = False
    vector: bool = False

    @property
    def discrete(self) -> bool:
        """Whether it is discrete."""
        return self.support in _DISCRETE

    @property
    def mixed(self) -> bool:
        """Whether it is continuous except for a point mass at an end of its range."""
        return self.support in _MIXED

    @property
    def location_scale(self) -> tuple[str | None, str] | None:
        """Names of location and scale for `parameterization: noncentered`, or None."""
        return LOCATION_SCALE.get(self.name)


def _parameter(text: str) -> DistributionParameter:
    match = re.fullmatch(r"(\w+)((?:\[\])*):(\w+)", text)
    assert match, text
    name, axes, domain = match.groups()
    return DistributionParameter(name, domain, len(axes) // 2)


def _family(line: str, declared: bool = False, composed: bool = False) -> Distribution:
    name, support, event, rest = (part.strip() for part in line.split("|", 3))
    parameters: dict[str, DistributionParameter] = {}
    required = []
    for group in rest.split():
        alternatives = [[_parameter(p) for p in alt.split("+")] for alt in group.rstrip("?").split("|")]
        parameters |= {p.name: p for alternative in alternatives for p in alternative}
        if not group.endswith("?"):
            required.append(tuple(frozenset(p.name for p in alternative) for alternative in alternatives))
    return Distribution(
        name,
        support,
        1 if event == "vector" else int(event),
        MappingProxyType(parameters),
        tuple(required),
        declared,
        composed,
        vector=event == "vector",
    )


_OF_ENGINES = [_family(line) for line in _TABLE.strip().splitlines()]
_DECLARED = [_family(line, declared=True) for line in _DECLARED_TABLE.strip().splitlines()]
_COMPOSED = [_family(line, composed=True) for line in _COMPOSED_TABLE.strip().splitlines()]
FAMILIES: Mapping[str, Distribution] = MappingProxyType({f.name: f for f in (*_OF_ENGINES, *_DECLARED, *_COMPOSED)})
# These need Python code, which YAML never holds.
LEFT_OUT = ("DensityDist", "Simulator", "EulerMaruyama")


def family(name: str) -> Distribution | None:
    """Return the entry of a distribution, or None if there is none with that name."""
    return FAMILIES.get(name) or _of_plugin(name)


def _of_plugin(name: str) -> Distribution | None:
    if name not in DENSITIES.names():
        return None
    key = f"dist: {name}"
    try:
        found = _read_line(DENSITIES.load(name, key).line)
    except (AssertionError, ValueError):
        found = None
    if found is None or found.name != name:
        raise fail(key, "the plug-in's line is not of the form NAME | support | event | parameters", "fix the plug-in")
    return found


@cache
def _read_line(line: str) -> Distribution:
    return _family(line, declared=True)


def known_family(name: str) -> Distribution:
    """Return the entry of a distribution that is known to exist."""
    found = family(name)
    assert found is not None, name
    return found


def distributions() -> list[str]:
    """Return the names of all distributions that YAML may name, sorted."""
    return sorted([*FAMILIES, *DENSITIES.names()])


def truncatable(known: Distribution) -> bool:
    """Return whether `lower` and `upper` may truncate a distribution that has no such parameters."""
    return (
        known.event == 0
        and known.support not in ("any", "matrix", "binary")
        and not known.declared
        and not known.composed
        and "lower" not in known.parameters
    )
