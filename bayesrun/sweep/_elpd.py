"""Which setting predicts best: `az.compare` on observed points, or why that can't be said (`elpd.csv`)."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from bayesrun.diagnostics._pointwise import observed_terms
from bayesrun.sweep._settings import Setting
from bayesrun.sweep.base import Record, read_json

if TYPE_CHECKING:
    import pandas as pd


def compare(settings: Sequence[Setting]) -> tuple[pd.DataFrame | None, str]:
    """Compare settings by expected log predictive density (PSIS-LOO, doi:10.1007/s11222-016-9696-4).

    Parameters
    ----------
    settings
        The sweep's settings; of repeats with other seeds the first is taken.

    Returns
    -------
    table : DataFrame or None
        `az.compare`'s, index `setting`.
    reason : str
        Why there is none; empty when there is.
    """
    firsts = {s.name: r for s in settings if (r := next((r for r in s.records if r.path), None))}
    if len(firsts) < 2:
        return None, "fewer than two settings have a posterior"
    reason = _other_data(firsts)
    if reason:
        return None, reason
    terms = {name: _terms(record) for name, record in firsts.items()}
    without = [name for name, idata in terms.items() if idata is None]
    if without:
        return None, f"{without[0]}: its posterior holds no pointwise log likelihood of observed points"
    reason = _other_points(terms)
    return (None, reason) if reason else (_table(terms), "")


def _other_data(firsts: dict[str, Record]) -> str:
    digests = {name: read_json(r.path / "provenance.json").get("data_digest") for name, r in firsts.items() if r.path}
    names = list(digests)
    other = next((n for n in names if digests[n] != digests[names[0]]), None)
    if other is None:
        return ""
    return f"the data of '{other}' are not those of '{names[0]}': densities of different data can't be compared"


def _terms(record: Record) -> Any:
    import arviz as az

    assert record.path
    idata = az.from_netcdf(str(record.path / "posterior.nc"))
    found = observed_terms(idata)
    if found is None or not found[0].sizes["point"]:
        return None
    return az.InferenceData(posterior=idata.posterior, log_likelihood=found[0].to_dataset(name="points"))


def _other_points(terms: dict[str, Any]) -> str:
    points = {name: [str(p) for p in idata.log_likelihood["point"].values] for name, idata in terms.items()}
    first = next(iter(points))
    other = next((name for name in points if points[name] != points[first]), None)
    return f"'{other}' observes other points than '{first}'" if other else ""


def _table(terms: dict[str, Any]) -> pd.DataFrame:
    import arviz as az

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table: pd.DataFrame = az.compare(terms, ic="loo", method="stacking", scale="log")
    table.index.name = "setting"
    return table
