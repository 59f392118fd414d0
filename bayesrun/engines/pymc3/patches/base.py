"""What a patch is, and the switch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal

Undo = Callable[[], None]

NAMES: tuple[str, ...] = (
    "python_distutils",
    "pymc3_without_plots",
    "content_cache",
    "processor_flags",
    "precompiled_headers",
    "constant_folding",
    "softplus_test_values",
    "small_test_values",
    "caller_names",
    "normal_tails",
    "graphs_in_python",
    "functions_in_c",
    "one_module",
    "small_functions",
)
"""All patches, in the order in which they are applied."""


@dataclass(frozen=True)
class Patch:
    """A change to a library.

    Parameters
    ----------
    apply
        Makes the change; returns a function that undoes it.
    scope
        `import`: only while PyMC3 is imported; `process`: from then on; `compile`: only while models are built or
        functions compiled.
    """

    apply: Callable[[], Undo]
    scope: Literal["import", "process", "compile"]


_chosen: frozenset[str] = frozenset(NAMES)
_applied: dict[str, Undo] = {}


def choose(names: Collection[str]) -> None:
    """Choose the patches that are used from here on."""
    global _chosen
    _chosen = frozenset(names)


def chosen() -> frozenset[str]:
    """Return the names of the patches that are used."""
    return _chosen


def is_chosen(name: str) -> bool:
    """Return whether a patch is used."""
    return name in _chosen


def switch() -> None:
    """Apply the chosen patches of the process, and undo those that are no longer chosen."""
    for name in [name for name in reversed(_applied) if name not in _chosen]:
        _applied.pop(name)()
    for name in NAMES:
        if name in _chosen and name not in _applied and _load(name).scope == "process":
            _applied[name] = _load(name).apply()


@contextmanager
def applied(*names: str) -> Iterator[None]:
    """Apply those of the named patches that are chosen, for the time of the block."""
    with ExitStack() as stack:
        for name in names:
            if name in _chosen:
                stack.callback(_load(name).apply())
        yield


def _load(name: str) -> Patch:
    patch: Patch = importlib.import_module(f"bayesrun.engines.pymc3.patches.{name}").PATCH
    return patch
