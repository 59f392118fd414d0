"""Draws that were made before: those that a killed run had stored, and those of a run that is extended."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import SamplingError, fail
from bayesrun.lazy import xr
from bayesrun.run_folder import RunFolder
from bayesrun.samplers.base import Sampled
from bayesrun.samplers.chains import most_draws
from bayesrun.samplers.draw_store import HELPERS, DrawStore, RowLayout, StoredDraws, read_layout, read_state, rows_of
from bayesrun.samplers.smaller_steps import Changes, as_changes

if TYPE_CHECKING:
    from bayesrun.engines.base import Arrays, Vector


@dataclass(frozen=True)
class EarlierDraws:
    """Draws of an earlier run, and the states of its chains.

    Parameters
    ----------
    layout
        How they were made: chains, step methods, and what the sampler chose.
    kept
        Numbers of the chains that are kept.
    draws, stats
        Variables and statistics (chain, draw, ...), chains in the order of `kept`. Variables may be missing, and large
        ones may be float32, as the run's config says.
    states
        Folder of the states.
    changes
        Changes of the chains' steps before these draws; a longer run makes the same, and no others.
    """

    layout: RowLayout
    kept: Sequence[int]
    draws: Arrays
    stats: Arrays
    states: Path
    changes: Changes = field(default_factory=dict)

    @property
    def length(self) -> int:
        """Kept draws per chain."""
        return next(iter(self.draws.values())).shape[1]

    def origin(self, chain: int) -> tuple[int, Arrays | None]:
        """Return where a chain continues: its kept draws and the state; (0, None) to start from the beginning.

        At least one of the kept draws is made again, which shows whether the chain is the same. If the draws were not
        kept completely, all are made again.
        """
        before = self.length if chain in self.kept and self._is_whole else 0
        return read_state(self.states, chain, before, self.changes.get(chain, ())) or (0, None)

    @property
    def _is_whole(self) -> bool:
        both = [*((n, self.draws) for n in self.layout.columns), *((n, self.stats) for n in self.layout.stats)]
        return all(name in group and group[name].dtype != "float32" for name, group in both)

    def rows(self, chain: int, draws: int, layout: RowLayout) -> NDArray[np.float64]:
        """Return the first draws of a chain as rows of a store; none where they are not kept."""
        if draws == 0:
            return np.empty((0, layout.width))
        place = list(self.kept).index(chain)
        columns, stats = ({n: v[place, :draws] for n, v in of.items()} for of in (self.draws, self.stats))
        return rows_of(columns, stats, layout)

    def compare(self, sampled: Sampled) -> None:
        """Check that a longer run begins with these draws, bit for bit as they are kept.

        Raises
        ------
        SamplingError
            When it does not: the result would not be a longer run, but a different one.
        """
        numbers = list(sampled.kept) or list(range(self.layout.chains))
        length = min(self.length, sampled.size[1])
        for name, old, new in self._both(sampled):
            for place, chain in enumerate(self.kept):
                if chain in numbers:
                    ours = new[numbers.index(chain), :length].astype(old.dtype)
                    _check_same(name, chain, old[place, :length], ours)

    def _both(self, sampled: Sampled) -> list[tuple[str, NDArray[Any], NDArray[Any]]]:
        pairs = ((self.draws, sampled.draws), (self.stats, sampled.stats))
        return [(name, old[name], new[name]) for old, new in pairs for name in old if name in new]

    @classmethod
    def of_sampled(cls, sampled: Sampled, store: DrawStore) -> EarlierDraws:
        """Take what was sampled just now, and what its store keeps, as the beginning of a longer run."""
        states = store.states(sampled.attempt)
        layout, _ = read_layout(states.parent / "layout.json")
        kept = list(sampled.kept) or list(range(layout.chains))
        return cls(layout, kept, sampled.draws, sampled.stats, states, as_changes(sampled.changes))


def _check_same(name: str, chain: int, old: NDArray[Any], new: NDArray[Any]) -> None:
    if not np.array_equal(old, new, equal_nan=old.dtype.kind == "f"):
        differ = (old != new).reshape(len(old), -1).any(1)
        message = f"draw {int(differ.argmax())} of '{name}' in chain {chain} differs from that of the earlier run"
        why = "another version of a library, another processor or changed files produce different draws"
        raise SamplingError(f"{message}: {why}; run the model again with as many draws as you need")


def read_earlier(folder: RunFolder) -> EarlierDraws:
    """Read the draws of a run and the states of its chains.

    Raises
    ------
    UserError
        When the run has no draws, or kept no state.
    """
    if not folder.posterior.is_file():
        raise folder.lacks("posterior.nc")
    try:
        layout, more = read_layout(folder.state / "layout.json")
    except (OSError, ValueError, TypeError, KeyError):
        message = f"'{folder.path}' has no state that sampling can continue from (state/layout.json)"
        raise fail("run", message, "run the model again with more draws: sampler.draws=N") from None
    groups = {}
    for group in ("posterior", "sample_stats"):
        try:
            with xr.open_dataset(folder.posterior, group=group, engine="netcdf4", decode_times=False) as stored:
                arrays = {str(array.attrs.get("name", name)): array for name, array in stored.data_vars.items()}
                groups[group] = {name: a.values for name, a in arrays.items() if a.dims[:2] == ("chain", "draw")}
        except OSError:  # a group that is not kept
            groups[group] = {}
    if not groups["posterior"]:
        hint = "run the model again with more draws: sampler.draws=N"
        raise fail("run", f"'{folder.path}' has no draws in posterior.nc (store.variables, store.exclude)", hint)
    draws, helpers = groups["posterior"], _helpers(folder)
    draws.update({name: values for name, values in helpers.items() if name not in draws})
    changes = as_changes(more.get("changes", {}))
    return EarlierDraws(layout, more["kept"], draws, groups["sample_stats"], folder.state, changes)


def _helpers(folder: RunFolder) -> dict[str, NDArray[Any]]:
    try:
        with np.load(folder.state / HELPERS) as stored:
            return dict(stored)
    except (OSError, ValueError, zipfile.BadZipFile):
        return {}


def recovered(stored: StoredDraws, constrain: Callable[[], Callable[[Vector], Arrays]]) -> Sampled:
    """Put stored draws together.

    Parameters
    ----------
    stored
        The draws of each chain.
    constrain
        Compiles the map from points to variables; called only where points were stored.

    Returns
    -------
    Sampled
        Draws of the chains that have any, all cut to the one length that keeps the most, `interrupted` by `killed`.
    """
    layout = stored.layout
    kept, length = most_draws({chain: _length(columns) for chain, (columns, _) in stored.chains.items()})
    columns = {name: np.stack([stored.chains[n][0][name][:length] for n in kept]) for name in layout.columns}
    known = set.intersection(*(set(stored.chains[n][1]) for n in kept))
    stats = {
        name: np.stack([stored.chains[n][1][name][:length] for n in kept]) for name in layout.stats if name in known
    }
    draws = constrain()(columns["point"]) if layout.kind == "points" else columns
    lost = {n: "left no draws" for n in range(layout.chains) if n not in kept}
    return Sampled(
        draws,
        stats,
        layout.steps,
        0.0,
        0.0,
        interrupted="killed",
        died=lost,
        kept=kept,
        attempt=stored.attempt,
        changes=stored.changes,
    )


def layout_of(sampled: Sampled) -> RowLayout:
    """Return the layout in which all draws of a sampler can be stored at once."""
    chains, draws = next(iter(sampled.draws.values())).shape[:2]
    columns = {name: values.shape[2:] for name, values in sampled.draws.items()}
    one_number = tuple(name for name, values in sampled.stats.items() if values.ndim == 2)
    return RowLayout("variables", columns, one_number, chains, draws, sampled.steps)


def _length(columns: Arrays) -> int:
    return len(next(iter(columns.values())))
