"""The door to libraries whose import takes long: each is imported when something of it is first used.

    from bayesrun.lazy import special
    special.expit(x)

`--help`, the check of a config and the registries need none of them, and answer at once.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bayesrun.partial_imports import import_arviz

if TYPE_CHECKING:
    import arviz as az
    import filelock
    import formulaic
    import mlflow
    import pandas as pd
    import scipy.sparse.linalg as sparse_linalg
    import xarray as xr
    from scipy import fft, linalg, optimize, special
else:

    class _Lazy:
        """A module that is imported at the first use of one of its names."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> Any:
            found = getattr(self._load(), name)
            setattr(self, name, found)  # the next use finds it at once
            return found

        def _load(self) -> ModuleType:
            return importlib.import_module(self._name)

    class _Arviz(_Lazy):
        def _load(self) -> ModuleType:
            return import_arviz()

    az = _Arviz("arviz")
    filelock = _Lazy("filelock")
    formulaic = _Lazy("formulaic")
    fft = _Lazy("scipy.fft")
    linalg = _Lazy("scipy.linalg")
    mlflow = _Lazy("mlflow")
    optimize = _Lazy("scipy.optimize")
    pd = _Lazy("pandas")
    sparse_linalg = _Lazy("scipy.sparse.linalg")
    special = _Lazy("scipy.special")
    xr = _Lazy("xarray")

__all__ = ["az", "fft", "filelock", "formulaic", "linalg", "mlflow", "optimize", "pd", "sparse_linalg", "special", "xr"]
