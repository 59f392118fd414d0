"""The worst parameter's bulk effective sample size, of a run folder or of a bare script's draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def worst_of_run(folder: Path, left_out: Sequence[str] = ()) -> tuple[float, str]:
    """Return the least bulk ESS of a run's posterior and the scalar that has it."""
    import xarray as xr

    with xr.open_dataset(folder / "posterior.nc", group="posterior") as posterior:
        draws = {
            str(n): v.values for n, v in posterior.data_vars.items() if not any(part in str(n) for part in left_out)
        }
    return _worst(draws)


def worst_of_file(path: Path) -> tuple[float, str]:
    """Return the same of a `.npz` with arrays (chain, draw, ...)."""
    with np.load(path) as draws:
        return _worst({name: draws[name] for name in draws.files})


def _worst(draws: Mapping[str, np.ndarray]) -> tuple[float, str]:
    import arviz as az

    found = []
    for name, values in draws.items():
        flat = values.reshape(*values.shape[:2], -1).astype(float)
        ess = [float(az.ess(flat[..., i])) for i in range(flat.shape[-1]) if np.ptp(flat[..., i]) > 0]
        found += [(e, f"{name}[{i}]" if flat.shape[-1] > 1 else name) for i, e in enumerate(ess)]
    return min(found)
