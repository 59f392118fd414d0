"""A run as its folder holds it: what `report.html` is made from, whatever of it is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from bayesrun.lazy import pd, xr
from bayesrun.run_folder import RunFolder

MAX_ROWS = 100
"""Rows of `summary.csv` that are read."""


@dataclass(frozen=True)
class StoredRun:
    """The files of a run folder. What a run did not get to write is empty.

    Parameters
    ----------
    folder
        The run folder.
    """

    folder: Path
    _groups: dict[str, xr.Dataset | None] = field(default_factory=dict, repr=False, compare=False)

    def json(self, name: str) -> Any:
        """Return a JSON file as plain values; an empty mapping if it can't be read."""
        return RunFolder(self.folder).read_json(name)

    @cached_property
    def status(self) -> Mapping[str, Any]:
        """`status.json`."""
        found: Mapping[str, Any] = self.json("status.json")
        return found

    @cached_property
    def findings(self) -> Sequence[Mapping[str, Any]]:
        """`findings.json`, the worst first."""
        return self.json("findings.json") or []

    @cached_property
    def metrics(self) -> Mapping[str, float]:
        """`metrics.json`."""
        found: Mapping[str, float] = self.json("metrics.json")
        return found

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """`provenance.json`."""
        found: Mapping[str, Any] = self.json("provenance.json")
        return found

    @cached_property
    def config_text(self) -> str:
        """`config.yaml` as it is written."""
        with suppress(OSError):
            return (self.folder / "config.yaml").read_text(encoding="utf-8")
        return ""

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """`config.yaml` as plain values."""
        with suppress(yaml.YAMLError):
            return yaml.load(self.config_text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}
        return {}

    def section(self, name: str) -> Mapping[str, Any]:
        """Return a section of the config; empty if it is null."""
        found = self.config.get(name)
        return found if isinstance(found, Mapping) else {}

    @cached_property
    def summary(self) -> pd.DataFrame | None:
        """The first rows of `summary.csv`; None without one."""
        path = self.folder / "summary.csv"
        return pd.read_csv(path, index_col="name", nrows=MAX_ROWS) if path.is_file() else None

    @cached_property
    def scalars(self) -> int:
        """Number of rows of `summary.csv`, each on a line of its own."""
        with suppress(OSError), (self.folder / "summary.csv").open("rb") as file:
            return sum(1 for _ in file) - 1
        return 0

    @cached_property
    def figures(self) -> dict[str, Path]:
        """The figures that were drawn, by name, in the order of `model.figures`."""
        names = [str(name) for name in self.section("model").get("figures") or ()]
        paths = {path.stem: path for path in sorted((self.folder / "figures").glob("*.png"))}
        ordered = [name for name in names if name in paths]
        return {name: paths[name] for name in [*ordered, *(n for n in paths if n not in ordered)]}

    def group(self, name: str) -> xr.Dataset | None:
        """Return a group of `posterior.nc`, whose values are read when they are used; None without one."""
        if name not in self._groups:
            path = self.folder / "posterior.nc"
            try:
                self._groups[name] = xr.open_dataset(path, group=name, engine="netcdf4")
            except (OSError, ValueError, KeyError):
                self._groups[name] = None
        return self._groups[name]

    def close(self) -> None:
        """Close what was opened."""
        for group in self._groups.values():
            if group is not None:
                group.close()
        self._groups.clear()
