"""The examples of docs/language.md are valid models, and it lists every function, transform and option."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import xarray as xr
import yaml

from bayesrun.language.densities.tails import tails
from bayesrun.language.distributions import FAMILIES
from bayesrun.language.grammar import signatures
from bayesrun.language.prior_checks import OPTIONS, PARAMETERIZATIONS, TRANSFORMS, check_prior
from bayesrun.models.declarative import DeclarativeSpec, check, static_check
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
EXAMPLES = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]
SHIPPED = [p for p in (ROOT / "conf" / "model").rglob("*.yaml") if "type: declarative" in p.read_text()]


def data() -> xr.Dataset:
    rng = np.random.default_rng(0)
    x = rng.normal(size=24)
    return xr.Dataset(
        {
            **{name: ("obs", rng.normal(size=24)) for name in ("y", "log_radon", "floor")},
            "x": ("obs", x),
            "county": ("obs", np.arange(24) % 12),
            "level": ("obs", np.arange(24) % 3),
            "time": ("obs", rng.exponential(size=24)),
            "dropped_out": ("obs", np.arange(24) % 2),
            "X": (("obs", "feature"), rng.normal(size=(24, 3))),
            "W": (("area", "neighbour"), np.eye(12, k=1) + np.eye(12, k=-1)),
        },
        coords={"county_name": [f"c{i}" for i in range(12)]},
    )


def data_of(raw: dict[str, Any]) -> xr.Dataset:
    """Return data that an example fits."""
    here = data()
    if raw["name"] == "missing_predictor":
        here["x"][3] = np.nan
    if raw["name"] == "level":
        days = np.datetime64("2024-11-01", "ns") + np.cumsum(1 + np.arange(24) % 3) * np.timedelta64(1, "D")
        here = here[["y"]].rename(obs="day").assign_coords(day=days)
    if raw["name"] in ("exponential_smoothing", "local_level"):
        return here[["y"]]
    if raw["name"] == "dogs":
        return xr.Dataset({"shock": (("dog", "trial"), np.random.default_rng(0).integers(0, 2, (3, 8)))})
    return here.drop_vars("y") if "y" in raw["likelihood"] else here


@pytest.mark.parametrize("raw", EXAMPLES, ids=lambda raw: raw["name"])
def test_an_example_is_a_good_model(raw: dict[str, Any]) -> None:
    spec = DeclarativeSpec.model_validate(raw)
    here = data_of(raw)
    assert [p for name, prior in spec.priors.items() for p in check_prior(name, prior)] == []
    assert static_check(spec) == []
    assert check(here, spec) == []


def test_every_function_is_in_the_docs_with_its_signature() -> None:
    assert not [f for f in signatures() if f"`{f}`" not in TEXT]


def test_every_declared_distribution_is_in_the_docs_with_its_parameters() -> None:
    declared = [known for known in FAMILIES.values() if known.declared]
    assert declared
    assert not [f.name for f in declared if f"`{f.name}({', '.join(f.parameters)})`" not in TEXT]


def test_what_can_be_censored_is_in_the_docs() -> None:
    listed = TEXT.split("need a distribution function: ")[1].split(". Others")[0]
    able = {name for name, known in FAMILIES.items() if tails(known) is not None and name != "Lognormal"}
    assert set(re.findall(r"`(\w+)`", listed)) == able


def test_every_option_is_in_the_docs() -> None:
    assert not [name for name in (*OPTIONS, *PARAMETERIZATIONS, *TRANSFORMS) if f"`{name}`" not in TEXT]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_a_shipped_model_opens_with_the_command_that_runs_it(path: Any) -> None:
    name = path.relative_to(ROOT / "conf" / "model").with_suffix("")
    assert f"#   python -m bayesrun model={name}" in path.read_text()
