"""Names and signatures of the functions that an expression may call. Pure text: parsing needs no NumPy.

`?` marks an argument that may be left out, `...` any number of further ones. An argument called `dim` is the name of
a dim (or a number, counted from 0), not a value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_TEXT = """
exp(x) log(x) log1p(x) expm1(x) sqrt(x) abs(x) sign(x) sin(x) cos(x) tan(x) tanh(x) sigmoid(x) logit(x) probit(x)
erf(x) gammaln(x) softmax(x, dim?) dot(a, b) sum(x, dim?) prod(x, dim?) mean(x, dim?) std(x, dim?) var(x, dim?)
min(x, dim?) max(x, dim?) median(x, dim?) cumsum(x, dim?) cumprod(x, dim?) where(condition, a, b)
switch(condition, a, b) clip(x, low, high) minimum(a, b, ...) maximum(a, b, ...) stack(a, b?, ...)
concatenate(a, b?, ...) zscore(x, dim?) diff(x) lag(x, steps?) arange(start, stop?, step?) zeros(shape) ones(shape)
outer(a, b) transpose(x) logsumexp(x, dim?)
"""


@dataclass(frozen=True)
class Signature:
    """How a function is called.

    Parameters
    ----------
    name
        Of the function.
    arguments
        Names of its arguments, in order.
    required
        How many of them must be given.
    variadic
        Whether more may follow.
    """

    name: str
    arguments: tuple[str, ...]
    required: int
    variadic: bool

    def __str__(self) -> str:
        marked = [a if i < self.required else f"{a}?" for i, a in enumerate(self.arguments)]
        return f"{self.name}({', '.join([*marked, *(['...'] if self.variadic else [])])})"

    @property
    def most(self) -> int:
        """Largest number of arguments; bounded also where more may follow."""
        return 200 if self.variadic else len(self.arguments)


def _signature(text: str) -> Signature:
    name, _, inside = text.partition("(")
    parts = [part.strip() for part in inside.split(",")]
    named = [part for part in parts if part != "..."]
    required = sum(not part.endswith("?") for part in named)
    return Signature(name.strip(), tuple(part.rstrip("?") for part in named), required, len(named) < len(parts))


SIGNATURES: Mapping[str, Signature] = MappingProxyType(
    {s.name: s for s in map(_signature, _TEXT.replace("\n", " ").strip().rstrip(")").split(") "))}
)
