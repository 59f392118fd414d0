"""The last model that was built, kept for the next run of the process if that declares the same one.

Building a model and its gradient's graph takes 0.1 s or more, also where both were built before: by an earlier run of a
notebook, or another job of a sweep. Whether a declaration is the same is told by a digest of all that it holds, data
included, and by the identity of each function in it. A function that is not bayesrun's own may depend on more than it
shows: with one, and with many data, a model is built anew.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import BuiltinFunctionType, FunctionType, MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import theano

from bayesrun.engines.pymc3.patches.base import NAMES, is_chosen
from bayesrun.language.declaration import Declaration, ModelDesign

if TYPE_CHECKING:
    from bayesrun.engines.pymc3.model import PyMC3Model

_MOST = 1_000_000
"""Bytes of an array up to which a model is kept: with more, building takes less than sampling, and memory counts."""
_OWN = ("bayesrun", "builtins", "_operator", "operator", "functools", "collections", "types", "numpy")
"""Packages whose functions depend on nothing but their arguments."""
_BY_IDENTITY = (FunctionType, BuiltinFunctionType, ModuleType, type)


@dataclass(frozen=True)
class _Key:
    """What decides a model: a digest of its declaration, and the functions that are in it, which stay alive here."""

    digest: bytes
    functions: tuple[Any, ...]
    settings: tuple[Any, ...]

    def is_of(self, other: _Key) -> bool:
        """Return whether both are of the same model; functions are told apart by their identity."""
        return (
            (self.digest, self.settings) == (other.digest, other.settings)
            and len(self.functions) == len(other.functions)
            and all(one is another for one, another in zip(self.functions, other.functions, strict=True))
        )


_kept: list[tuple[_Key, PyMC3Model]] = []


def kept_or_built(declared: Any, build: Callable[[], PyMC3Model]) -> PyMC3Model:
    """Return the model of a declaration: the one that was built last if it is the same, otherwise a new one.

    Parameters
    ----------
    declared
        What a builder declared.
    build
        Builds its model.
    """
    key = _key_of(declared) if isinstance(declared, Declaration) else None
    if key is not None and _kept and _kept[0][0].is_of(key) and _kept[0][1].begin_as_built():
        return _kept[0][1]
    _kept.clear()
    model = build()
    if key is not None:
        _kept.append((key, model))
    return model


def is_kept() -> bool:
    """Return whether the model that was built last is kept."""
    return bool(_kept)


def forget() -> None:
    """Keep no model."""
    _kept.clear()


def _key_of(declared: Declaration) -> _Key | None:
    """Return what decides the model of a declaration; None where that can't be told."""
    digest = _Digest()
    try:
        pickler = _Pickler(digest)
        pickler.dump(_of_engine(declared))
    except (_Unknown, pickle.PicklingError, TypeError, AttributeError, RecursionError):
        return None
    settings = (theano.config.floatX, theano.config.cxx, *(name for name in NAMES if is_chosen(name)))
    return _Key(digest.value(), tuple(pickler.functions), settings)


def _of_engine(declared: Declaration) -> Declaration:
    """Leave out what was learned of the rows for predictions: a model is built without it."""
    reported = None if declared.reported is None else _of_engine(declared.reported)
    return replace(declared, reported=reported, design=ModelDesign(), notes=())


class _Unknown(Exception):
    """A declaration holds what can't be compared, or too much."""


class _Digest:
    """A file that keeps the digest of what is written to it."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=32)

    def write(self, content: Any) -> int:
        """Take content."""
        self._hash.update(content)
        return len(content)

    def value(self) -> bytes:
        """Return the digest of all that was written."""
        return self._hash.digest()


class _Pickler(pickle.Pickler):
    """Writes all that a declaration holds; nothing is ever read from it again."""

    def __init__(self, file: _Digest) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.functions: list[Any] = []

    def persistent_id(self, obj: Any) -> Any:
        """Write the number of a function or class, which is compared by its identity."""
        if isinstance(obj, np.ndarray) and obj.nbytes > _MOST:
            raise _Unknown
        if not isinstance(obj, _BY_IDENTITY):
            return None
        module = obj.__name__ if isinstance(obj, ModuleType) else str(obj.__module__)
        if module.partition(".")[0] not in _OWN:
            raise _Unknown
        self.functions.append(obj)
        return len(self.functions)

    def reducer_override(self, obj: Any) -> Any:
        """Write a read-only mapping as the mapping that it shows."""
        return (MappingProxyType, (dict(obj),)) if isinstance(obj, MappingProxyType) else NotImplemented
