"""The graph of a model: which variable depends on which."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pymc3.util import is_transformed_name
from theano.tensor import TensorVariable

from bayesrun.engines.base import GraphNode, ModelGraph
from bayesrun.engines.pymc3.declared_distributions import name_of

if TYPE_CHECKING:
    import pymc3 as pm


Dims = Mapping[str, list[str]]


def graph_of(model: pm.Model, dims: Dims, helpers: Collection[str]) -> ModelGraph:
    """Return the graph of a model.

    Parameters
    ----------
    model
        The model.
    dims
        Dims of each variable that has some.
    helpers
        Variables that are left out: their parents and children are joined.
    """
    variables = {name: v for name, v in model.named_vars.items() if not is_transformed_name(name)}
    names = {variable: name for name, variable in variables.items()}
    edges = [(parent, name) for name, v in variables.items() for parent in _parents(v, names, name)]
    nodes = tuple(_node(model, name, v, dims) for name, v in variables.items())
    kept = {node.name for node in nodes if node.name not in helpers}
    return ModelGraph(tuple(n for n in nodes if n.name in kept), _bridged(edges, kept))


def _parents(variable: Any, names: dict[Any, str], own: str) -> list[str]:
    """Walk up from a variable's distribution (or expression) to the nearest named variables."""
    distribution = getattr(variable, "distribution", None)
    if distribution is not None:
        queue = [value for value in vars(distribution).values() if isinstance(value, TensorVariable)]
        queue += [getattr(variable, "logp_elemwiset", None)] if hasattr(variable, "logp_elemwiset") else []
    else:
        queue = list(variable.owner.inputs) if variable.owner else []
    found, seen = [], set()
    while queue:
        node = queue.pop()
        if node is None or node in seen or node is variable:
            continue
        seen.add(node)
        if node in names and names[node] != own:
            found.append(names[node])
        elif getattr(node, "owner", None) is not None:
            queue.extend(node.owner.inputs)
    return sorted(set(found))


def _node(model: pm.Model, name: str, variable: Any, dims: Dims) -> GraphNode:
    shape = _shape(variable)
    named = dims.get(name) or [f"{name}_dim_{i}" for i in range(len(shape))]
    sized = tuple(f"{dim} ({size})" for dim, size in zip(named, shape, strict=False))
    kind = _kind(model, variable)
    distribution = name_of(getattr(variable, "distribution", None)) if kind in ("free", "observed") else ""
    if distribution == "NoDistribution":
        distribution = "imputed"
    return GraphNode(name, kind, distribution, sized, "int" in str(getattr(variable, "dtype", "")))


def _shape(variable: Any) -> tuple[int, ...]:
    value = variable.get_value(borrow=True) if hasattr(variable, "get_value") else variable.tag.test_value
    return tuple(getattr(value, "shape", ()))


def _kind(model: pm.Model, variable: Any) -> Literal["free", "observed", "deterministic", "potential", "data"]:
    if hasattr(variable, "get_value"):
        return "data"
    if variable in model.observed_RVs:
        return "observed"
    if variable in model.potentials:
        return "potential"
    return "free" if hasattr(variable, "distribution") else "deterministic"


def _bridged(edges: list[tuple[str, str]], kept: set[str]) -> tuple[tuple[str, str], ...]:
    """Join parents and children of helper variables, so that paths through them stay."""
    parents: dict[str, set[str]] = {}
    for parent, child in edges:
        parents.setdefault(child, set()).add(parent)

    def nearest(name: str, seen: frozenset[str]) -> set[str]:
        found: set[str] = set()
        for parent in parents.get(name, set()) - seen:
            found |= {parent} if parent in kept else nearest(parent, seen | {parent})
        return found

    return tuple(sorted((parent, name) for name in kept for parent in nearest(name, frozenset({name}))))
