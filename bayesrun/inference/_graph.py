"""The graph of a model: which variable depends on which, as plain records that no longer know PyMC3."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from bayesrun.engines.pymc3.metadata import metadata as notes

if TYPE_CHECKING:
    import pymc3 as pm

Kind = Literal["free", "observed", "deterministic", "potential", "data"]


@dataclass(frozen=True)
class Node:
    """A variable of a model.

    Parameters
    ----------
    name
        Its name.
    kind
        What it is.
    law
        Name of its distribution; empty for data and deterministics.
    dims
        Named dims with sizes, as in `school (8)`; empty for a scalar. Nodes of the same dims share a plate.
    discrete
        Whether its values are whole numbers.
    """

    name: str
    kind: Kind
    law: str = ""
    dims: tuple[str, ...] = ()
    discrete: bool = False


@dataclass(frozen=True)
class ModelGraph:
    """Variables and the edges between them, from parent to child."""

    nodes: tuple[Node, ...]
    edges: tuple[tuple[str, str], ...]


def graph_of(model: pm.Model) -> ModelGraph:
    """Return the graph of a model as its users think of it: helper variables are passed over.

    Parameters
    ----------
    model
        The model; where it is another form of a reported one, that one's graph is returned.
    """
    shown = notes(model).reported or model
    variables = _variables(shown)
    names = {variable: name for name, variable in variables.items()}
    edges = [(parent, name) for name, v in variables.items() for parent in _parents(v, names, name)]
    nodes = tuple(_node(shown, name, v) for name, v in variables.items())
    kept = {node.name for node in nodes if node.name not in notes(shown).helpers}
    return ModelGraph(tuple(n for n in nodes if n.name in kept), _bridged(edges, kept))


def _variables(model: pm.Model) -> dict[str, Any]:
    from pymc3.util import is_transformed_name

    return {name: v for name, v in model.named_vars.items() if not is_transformed_name(name)}


def _parents(variable: Any, names: dict[Any, str], own: str) -> list[str]:
    """Walk up from a variable's distribution (or expression) to the nearest named variables."""
    from theano.tensor import TensorVariable

    law = getattr(variable, "distribution", None)
    if law is not None:
        queue = [value for value in vars(law).values() if isinstance(value, TensorVariable)]
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


def _node(model: pm.Model, name: str, variable: Any) -> Node:
    shape = _shape(variable)
    named = model.RV_dims.get(name) or notes(model).dims.get(name) or [f"{name}_dim_{i}" for i in range(len(shape))]
    dims = tuple(f"{dim} ({size})" for dim, size in zip(named, shape, strict=False))
    kind = _kind(model, variable)
    law = type(getattr(variable, "distribution", None)).__name__ if kind in ("free", "observed") else ""
    if law == "NoDistribution":
        law = "imputed"
    return Node(name, kind, law, dims, "int" in str(getattr(variable, "dtype", "")))


def _shape(variable: Any) -> tuple[int, ...]:
    value = variable.get_value(borrow=True) if hasattr(variable, "get_value") else variable.tag.test_value
    return tuple(getattr(value, "shape", ()))


def _kind(model: pm.Model, variable: Any) -> Kind:
    if hasattr(variable, "get_value"):
        return "data"
    if variable in model.observed_RVs:
        return "observed"
    if variable in model.potentials:
        return "potential"
    return "free" if hasattr(variable, "distribution") else "deterministic"


def _bridged(edges: list[tuple[str, str]], kept: set[str]) -> tuple[tuple[str, str], ...]:
    """Join parents and children of helper variables, so that the graph has no gap where one was left out."""
    parents: dict[str, set[str]] = {}
    for parent, child in edges:
        parents.setdefault(child, set()).add(parent)

    def nearest(name: str, seen: frozenset[str]) -> set[str]:
        found: set[str] = set()
        for parent in parents.get(name, set()) - seen:
            found |= {parent} if parent in kept else nearest(parent, seen | {parent})
        return found

    return tuple(sorted((parent, name) for name in kept for parent in nearest(name, frozenset({name}))))
