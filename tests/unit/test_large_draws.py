"""Draws of many rows kept in a file: what is read is what was written, and a run's numbers stay as they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import bayesrun as library
from bayesrun import large_draws
from bayesrun.diagnostics.predictive_accuracy import observed_terms, point_names
from bayesrun.large_draws import FileBuffer, draw_parts, flattened, is_stored, lazy_variable, row_parts, values_at

SIZE, SHAPE = (2, 5), (7, 3)
WHOLE = np.arange(np.prod((*SIZE, *SHAPE)), dtype=float).reshape(*SIZE, *SHAPE)


@pytest.fixture(params=[1, 60, 10_000])
def array(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> xr.DataArray:
    """Draws in tiles of one point, of some, and of all, written some at a time."""
    monkeypatch.setattr(large_draws, "AT_ONCE", request.param)
    return stored(WHOLE, tmp_path)


def stored(values: np.ndarray, folder: Path) -> xr.DataArray:
    size, shape = values.shape[:2], values.shape[2:]
    kept = FileBuffer(folder, (size[0], size[1]), shape, values.dtype)
    flat = values.reshape(-1, *shape)
    for first in range(0, len(flat), 3):
        kept.fill(first, flat[first : first + 3])
    dims = ("chain", "draw", "row", "level")[: values.ndim]
    coords = {dim: np.arange(n) for dim, n in zip(dims, values.shape, strict=True)}
    return xr.Dataset({"y": lazy_variable(dims, kept, {})}, coords)["y"]


def test_parts_are_those_of_the_whole(array: xr.DataArray) -> None:
    for key in [(1,), (0, 2, slice(2, 6)), (slice(None), [4, 0], [6, 1, 3], -1), (slice(None, None, -1), 3, 5, 2)]:
        xr.testing.assert_identical(array[key], xr.DataArray(WHOLE, coords=array.coords, name="y")[key])
    np.testing.assert_array_equal(array.transpose("row", "draw", ...).values, np.einsum("cdrl->rdcl", WHOLE))
    np.testing.assert_array_equal(np.concatenate(list(row_parts(array, 2)), axis=2), WHOLE.reshape(2, 5, -1))
    np.testing.assert_array_equal(np.concatenate([p.values.reshape(-1) for p in draw_parts(array)]), WHOLE.ravel())
    np.testing.assert_array_equal(values_at(array, 1, np.array([3, 0]), np.array([0, 20, 4])),
                                  WHOLE.reshape(2, 5, -1)[1][[3, 0]][:, [0, 20, 4]])  # fmt: skip
    assert is_stored(array[:, :, 2:4]) and not is_stored(array.copy(data=WHOLE))


@given(data=st.data())
def test_any_index_reads_what_numpy_would(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    array = stored(WHOLE, tmp_path_factory.getbasetemp())
    key = []
    for size in WHOLE.shape:
        places = st.integers(-size, size - 1)
        some = st.slices(size).filter(lambda s: len(range(*s.indices(size))) > 0)  # noqa: B023
        key.append(data.draw(st.one_of(places, some, st.lists(places, min_size=1, max_size=4))))
    expected = xr.DataArray(WHOLE, dims=array.dims)[tuple(key)]
    np.testing.assert_array_equal(array[tuple(key)].values, expected.values)


def test_several_arrays_stand_side_by_side(array: xr.DataArray) -> None:
    plain = xr.DataArray(WHOLE[..., 0] + 0.5, dims=("chain", "draw", "row"))
    both = flattened([array, plain])
    expected = np.concatenate([WHOLE.reshape(2, 5, -1), plain.values], axis=2)
    np.testing.assert_array_equal(both.values, expected)
    np.testing.assert_array_equal(both[:, 1, [27, 2, 22]].values, expected[:, 1, [27, 2, 22]])
    assert list(both["point"].values) == list(range(28))


def test_points_are_named_when_they_are_asked_for(array: xr.DataArray) -> None:
    """Names of some points are those that all have, of several arrays, with labels of rows and levels."""
    days = np.array("2020-01-30", "datetime64[D]") + np.arange(7)
    days = xr.DataArray(WHOLE[..., 0], dims=("chain", "draw", "day"), coords={"day": days.astype("datetime64[ns]")})
    terms, left_out = observed_terms({"log_likelihood": xr.Dataset({"y": array, "late": days})})
    names = [f"y[{row}, {level}]" for row in range(7) for level in range(3)]
    names += [f"late[{day}]" for day in ["2020-01-30", "2020-01-31", *(f"2020-02-0{k}" for k in range(1, 6))]]
    assert left_out == 0 and point_names(terms) == names
    assert point_names(terms, np.array([0, 4, 20, 21, 27])) == [names[k] for k in (0, 4, 20, 21, 27)]
    assert point_names(terms.isel(point=slice(None, None, 5)), slice(1, 3)) == [names[5], names[10]]
    assert point_names(terms, np.zeros(28, bool)) == []


def test_a_full_disk_is_an_error_when_draws_are_put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(large_draws.os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        stored(WHOLE, tmp_path)
    assert not list(tmp_path.iterdir())


FORMULAS: dict[str, dict[str, Any]] = {
    "events": {"formula": "big ~ X1 + (1 | g)", "family": "bernoulli"},
    "levels": {"formula": "level ~ X1", "family": "cumulative"},
    "two responses": {"formula": "mvbind(Y, X2) ~ X1", "options": {"rescor": False}},
    "a gap": {"formula": "gappy ~ X1", "family": "student"},
    "truncated counts": {"formula": "count | trunc(0) ~ X1", "family": "poisson"},
    "two generators": {"formula": "count ~ X1", "family": "zero_inflated_negative_binomial"},
}
ROWS = 600


def table() -> dict[str, list[Any]]:
    rng = np.random.default_rng(3)
    x, z = rng.normal(size=(2, ROWS))
    y = 1.0 + x + rng.normal(size=ROWS)
    gappy = [None if i in (4, 9) else float(v) for i, v in enumerate(y)]
    of = {"X1": x, "X2": z, "Y": y, "big": 1 * (y > 1), "level": np.digitize(y, [0.0, 2.0]), "g": np.arange(ROWS) % 6}
    return {**{k: v.tolist() for k, v in of.items()}, "count": (1 + rng.poisson(2.0, ROWS)).tolist(), "gappy": gappy}


def run(folder: Path, own: dict[str, Any]) -> Path:
    model = {"name": "m", "type": "regression", **own, "figures": ["ppc", "loo_pit", "pareto_k"]}
    data = {"name": "d", "source": "inline", "values": table()}
    for kind, content in (("model", {"defaults": [{"/data@_global_.data": "d"}, "_self_"], **model}), ("data", data)):
        (folder / kind).mkdir(parents=True)
        (folder / kind / f"{content['name']}.yaml").write_text(json.dumps(content))
    few = ["sampler.draws=120", "sampler.tune=150", "sampler.chains=2", "sampler.cores=1", "store.float32_above=5000"]
    kept = ["diagnostics.prior_sensitivity=true", "tracking=none", f"paths.outputs={folder}/out"]
    return library.run("m", [*few, *kept], config_dir=folder).folder


def contents(folder: Path) -> Iterator[tuple[str, Any]]:
    for name in ("summary.csv", "findings.json"):
        yield name, (folder / name).read_text().replace(str(folder), "")
    metrics = json.loads((folder / "metrics.json").read_text())
    yield "metrics", {name: value for name, value in metrics.items() if "second" not in name}
    with netCDF4.Dataset(folder / "posterior.nc") as file:
        file.set_auto_mask(False)
        for name, group in file.groups.items():
            for own, variable in group.variables.items():
                values = variable[...]
                attrs = {k: str(variable.getncattr(k)) for k in variable.ncattrs()}
                exact = values.tobytes() if values.dtype.kind in "iuf" else values.tolist()
                yield f"{name}/{own}", (values.dtype, variable.dimensions, attrs, exact)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMULAS)
def test_a_run_has_the_same_numbers_and_reads_bounded_blocks(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for most in ("_AT_ONCE", "_CUT_AT_ONCE"):
        monkeypatch.setattr(f"bayesrun.engines.pymc3.predictive.{most}", 20_000)
    one = dict(contents(run(tmp_path / "memory", FORMULAS[name])))
    largest, made, written = [0], [0], set()
    read, fill = FileBuffer.read, FileBuffer.fill

    def counted(self: FileBuffer, draws: np.ndarray, points: np.ndarray) -> np.ndarray:
        largest[0] = max(largest[0], len(draws) * len(points))
        return read(self, draws, points)

    def noted(self: FileBuffer, first: int, values: np.ndarray) -> None:
        written.add((self.shape, self.dtype.kind))
        made[0] = max(made[0], values.size)
        fill(self, first, values)

    monkeypatch.setattr(FileBuffer, "read", counted)
    monkeypatch.setattr(FileBuffer, "fill", noted)
    monkeypatch.setattr(large_draws, "IN_MEMORY", 0)
    monkeypatch.setattr(large_draws, "AT_ONCE", 20_000)
    monkeypatch.setattr("bayesrun.figures.observations._NUMBERS", 20_000)
    monkeypatch.setattr("bayesrun.figures.observations._FEWEST", 10)
    monkeypatch.setattr("bayesrun.figures.reliability_panels.POINTS", 100)
    monkeypatch.setattr("bayesrun.figures.predictive_calibration.POINTS", 100)
    other = dict(contents(run(tmp_path / "file", FORMULAS[name])))
    assert one.keys() == other.keys()
    assert [key for key in one if one[key] != other[key]] == []
    assert written  # predictions and terms went to a file
    # the whole has 240 draws of 600 rows, 144,000 numbers; leaving rows out takes 65,536 at once
    assert 0 < largest[0] <= 2**16
    # predictions of the prior and the posterior, and terms, are made some draws at a time
    assert (1, 500, ROWS) in {shape for shape, _ in written}
    if name != "a gap":  # imputed values are picked out of all predictions of the prior
        assert 0 < made[0] <= 20_000
