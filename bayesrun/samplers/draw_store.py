"""Draws on disk while a run samples, so that no crash loses more than the last second of them.

A run folder has `draws/ATTEMPT/` until `posterior.nc` holds all draws: `layout.json` and one file per chain. A chain's
file is a sequence of segments, each appended whole and synced:

    magic (8 bytes) | first draw (int64) | draws (int64) | CRC-32 of the rows (uint64) | rows (float64, row-major)

A row is one kept draw: the columns of `layout.json` in their order, each flattened in C order. A segment of 0 draws
says that the draws before it became warm-up (`first draw` is the number of divergences by then). A file ends at the
first segment whose header or checksum does not fit, which is what a kill or a power cut leaves. Space for all draws is
reserved before the first one, so a disk that fills up later takes none.

Beside them, where a sampler can continue from it, `states/CHAIN-DRAWS.npz` is the state of a chain after so many kept
draws: some in between, and the last one. The layout and these states stay in the run folder's `state/`, for
`task=extend`.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import struct
import time
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bayesrun.errors import OutputError
from bayesrun.run_folder import sync_folder
from bayesrun.samplers.smaller_steps import Changes, StepChange, as_changes

if TYPE_CHECKING:
    from bayesrun.samplers.base import Sampled


Arrays = Mapping[str, NDArray[Any]]

log = logging.getLogger("bayesrun.sampling")

SECONDS = 1.0
"""Seconds of draws that are not on disk yet, at most."""
STATS = ("diverging", "energy", "tree_depth", "acceptance_rate", "step_size", "n_steps", "lp")
"""Statistics that are stored, under ArviZ's names."""
MAX_RESERVED = 2_000_000_000
STATES = "states"
CHANGES = "changes"
"""Name of the array (change, 2) in a state that has the changes of steps before it."""
HELPERS = "helpers.npz"
MAX_STATES = 12
"""Largest number of states kept of a chain: that of the end of tuning, some in between, the last."""
_MAGIC = b"bayesrn1"
_STAT_TYPES = {"diverging": "bool", "tree_depth": "int64", "n_steps": "int64"}
_HEADER = struct.Struct("<8sqqQ")
Kind = Literal["points", "variables"]


@dataclass(frozen=True)
class RowLayout:
    """What the rows of a store are.

    Parameters
    ----------
    kind
        `points`: rows begin with the unconstrained parameters (column `point`); `variables`: with the variables.
    columns
        Shape of each column of a draw, by name.
    stats
        Names of the sampler statistics, which come after the columns, one number each; NaN where a method has none.
    chains, draws
        Of the run, as configured.
    steps
        Step method of each free variable.
    chosen
        Settings that the sampler chose by itself.
    """

    kind: Kind
    columns: Mapping[str, tuple[int, ...]]
    stats: tuple[str, ...]
    chains: int
    draws: int
    steps: Mapping[str, str]
    chosen: Mapping[str, Any] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return sum(math.prod(shape) for shape in self.columns.values()) + len(self.stats)


@dataclass(frozen=True)
class StoredDraws:
    """What a store holds: layout, columns and statistics (draw, ...) of each chain that has any, and its attempt.

    `changes` are those of the chains' steps before these draws.
    """

    layout: RowLayout
    chains: Mapping[int, tuple[Arrays, Arrays]]
    attempt: int = 1
    changes: Changes = field(default_factory=dict)


class DrawStore:
    """The draws of one run, in a folder of their own.

    Parameters
    ----------
    folder
        Where they are kept; None keeps none (the methods do nothing).
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self.attempts = 0

    def begin(self, layout: RowLayout, changes: Changes | None = None) -> Mapping[int, ChainFile]:
        """Begin an attempt at sampling: reserve the space, and return a file per chain.

        Parameters
        ----------
        layout
            Of the draws.
        changes
            Changes of the steps of chains that continue earlier ones.

        Raises
        ------
        OutputError
            When the disk has too little space; nothing is left behind.
        """
        if self._folder is None:
            return {chain: ChainFile(None, chain) for chain in range(layout.chains)}
        self.attempts += 1
        folder = self._folder / str(self.attempts)
        (folder / STATES).mkdir(parents=True)
        try:
            _write_synced(folder / "layout.json", json.dumps({**vars(layout), "changes": dict(changes or {})}))
            files = {chain: ChainFile(_reserved(folder, chain, layout), chain) for chain in range(layout.chains)}
            for changed in (folder, self._folder, self._folder.parent):
                sync_folder(changed)
            return files
        except OSError as error:
            shutil.rmtree(folder, ignore_errors=True)
            room = f"{_needed(layout)} are needed, {_free(self._folder)} free"
            message = f"there is not enough space for the draws: {error.strerror} ({room})"
            raise OutputError(self._folder, f"{message}; free some space, or decrease sampler.draws") from None

    @property
    def is_used(self) -> bool:
        """Whether a sampler keeps its draws here itself."""
        return self.attempts > 0

    def stored(self) -> StoredDraws | None:
        """Read what is stored so far; None where nothing is."""
        return None if self._folder is None else read_draws(self._folder)

    def beyond(self, made: Mapping[int, int]) -> Mapping[int, tuple[Arrays, Arrays, list[StepChange]]]:
        """Read the chains of which more draws are stored than their process left in memory.

        It was killed, or was stopped soon after it had taken smaller steps, when its draws became warm-up.

        Parameters
        ----------
        made
            Draws in memory, of the chains in question.

        Returns
        -------
        dict
            Columns and statistics (draw, ...) of each such chain, and the changes of steps before them.
        """
        stored = self.stored() if made else None
        if stored is None:
            return {}
        lengths = {chain: len(next(iter(columns.values()))) for chain, (columns, _) in stored.chains.items()}
        more = [chain for chain in made if lengths.get(chain, 0) > made[chain]]
        return {chain: (*stored.chains[chain], list(stored.changes.get(chain, ()))) for chain in more}

    def states(self, attempt: int) -> Path:
        """Return the folder of the states of an attempt."""
        assert self._folder is not None
        return self._folder / str(attempt) / STATES

    def keep_states(self, folder: Path, sampled: Sampled, helpers: Arrays) -> None:
        """Move layout and states of the attempt whose draws are kept to where they stay.

        Parameters
        ----------
        folder
            Where they stay.
        sampled
            The kept draws.
        helpers
            Draws (chain, draw, ...) of variables that are kept nowhere else.
        """
        own = self.states(sampled.attempt)
        if not own.is_dir():  # they are there already: the run was killed in between
            return
        try:
            if helpers and any(own.iterdir()):
                with (own / HELPERS).open("wb") as file:
                    np.savez(file, **helpers)
                    file.flush()
                    os.fsync(file.fileno())
            layout = json.loads((own.parent / "layout.json").read_text())
            kept = [int(chain) for chain in sampled.kept] or list(range(sampled.size[0]))
            _write_synced(own / "layout.json", json.dumps({**layout, "kept": kept, "changes": dict(sampled.changes)}))
            sync_folder(own)
            os.replace(own, folder)
            sync_folder(folder.parent)
        except OSError as error:
            log.warning("the state of the chains can't be kept (%s): task=extend can't continue it", error.strerror)

    def trim(self) -> None:
        """Cut the files of chains that could not do so themselves, after their last whole segment."""
        for path in () if self._folder is None else self._folder.glob("*/layout.json"):
            with suppress(OSError, ValueError, TypeError, KeyError):
                layout, _ = read_layout(path)
                for file in path.parent.glob("chain-*.draws"):
                    os.truncate(file, _read_chain(file, layout.width).size)

    def remove(self) -> None:
        """Remove the store, once the draws are kept elsewhere."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class ChainFile:
    """The file of one chain.

    Parameters
    ----------
    path
        The file; None writes nothing.
    chain
        Number of the chain.
    """

    def __init__(self, path: Path | None, chain: int) -> None:
        self._path = path
        self._states = None if path is None else path.parent / STATES
        self._chain, self._draws_of_states = chain, list[int]()
        self._offset = self.saved = 0
        self._due = time.monotonic() + SECONDS

    @property
    def is_due(self) -> bool:
        """Whether it is time to save again."""
        return self._path is not None and time.monotonic() >= self._due

    def append(self, rows: NDArray[np.float64]) -> None:
        """Append the draws (draw, column) that come after the saved ones, and sync them.

        A disk that fails takes the rest of the chain's draws out of the store; sampling continues in memory.
        """
        self._due = time.monotonic() + SECONDS
        if self._path is None or not len(rows):
            return
        content = np.ascontiguousarray(rows, dtype="<f8").tobytes()
        self._write(_HEADER.pack(_MAGIC, self.saved, len(rows), zlib.crc32(content)) + content)
        if self._path is not None:
            self.saved += len(rows)

    def begin_again(self, change: StepChange) -> None:
        """Take the draws so far as warm-up, after they are all appended: the next one is the chain's first.

        They stay in the file, and are read where the chain was killed before it had as many again.
        """
        if self._path is not None:
            self._write(_HEADER.pack(_MAGIC, change.diverged, 0, 0))
            self.saved = 0
        if self._states is not None:
            for draws in self._draws_of_states:
                self._state_path(self._states, draws).unlink(missing_ok=True)
        self._draws_of_states.clear()

    def _write(self, segment: bytes) -> None:
        if self._path is None:
            return
        try:
            with self._path.open("r+b") as file:
                file.seek(self._offset)
                file.write(segment)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            log.warning("draws can no longer be written to disk (%s): they are kept in memory", error.strerror)
            self._path = None
            return
        self._offset += len(segment)

    def save_state(self, draws: int, state: Arrays) -> None:
        """Keep the state of the chain after so many draws; when there are too many, every second one is removed."""
        if self._states is None:
            return
        final = self._state_path(self._states, draws)
        temporary = final.with_suffix(".part")
        try:
            with temporary.open("wb") as file:
                np.savez(file, **state)
            os.replace(temporary, final)
            self._draws_of_states.append(draws)
            if len(self._draws_of_states) > MAX_STATES:
                for old in self._draws_of_states[1:-1:2]:
                    self._state_path(self._states, old).unlink(missing_ok=True)
                del self._draws_of_states[1:-1:2]
        except OSError:  # only the draws matter
            self._states = None

    def copy_states(self, folder: Path, draws: int) -> None:
        """Take over the states of the same chain that an earlier run kept, up to the one after so many draws."""
        for path in sorted(folder.glob(f"{self._chain}-*.npz"), key=_draws_of_state):
            if self._states is not None and _draws_of_state(path) <= draws:
                shutil.copy(path, self._states / path.name)
                self._draws_of_states.append(_draws_of_state(path))

    def _state_path(self, folder: Path, draws: int) -> Path:
        return folder / f"{self._chain}-{draws}.npz"

    def finish(self) -> None:
        """Give back the space that was reserved and not needed."""
        if self._path is not None:
            with suppress(OSError):
                os.truncate(self._path, self._offset)


NOWHERE = DrawStore(None)
"""Keeps nothing: for samplers that make all draws at once, and for callers that keep them otherwise."""


def rows_of(columns: Arrays, stats: Arrays, layout: RowLayout) -> NDArray[np.float64]:
    """Put columns and statistics (draw, ...) side by side, as a layout's rows have them."""
    count = len(next(iter(columns.values())))
    parts = [columns[name].reshape(count, -1) for name in layout.columns]
    numbers = [stats.get(name, np.full(count, np.nan)).reshape(count, 1) for name in layout.stats]
    return np.concatenate([*parts, *numbers], axis=1, dtype=float)


def read_layout(path: Path) -> tuple[RowLayout, Mapping[str, Any]]:
    """Read a layout, and what else its file says.

    Raises
    ------
    OSError, ValueError, TypeError, KeyError
        When there is no complete layout.
    """
    content = json.loads(path.read_text())
    own = {name: content.pop(name) for name in RowLayout.__dataclass_fields__ if name in content}
    columns = {name: tuple(shape) for name, shape in own.pop("columns").items()}
    return RowLayout(**{**own, "columns": columns, "stats": tuple(own["stats"])}), content


def read_state(
    folder: Path, chain: int, before: int, changes: Sequence[tuple[int, int]] = ()
) -> tuple[int, Arrays] | None:
    """Read the last whole state of a chain that has fewer kept draws than `before`, or the one at their beginning.

    States that come from other changes of its steps than `changes` are passed over.

    Returns
    -------
    tuple or None
        Kept draws at the state, and the state; None where there is none.
    """
    found = {_draws_of_state(path): path for path in folder.glob(f"{chain}-*.npz")}
    for draws in sorted(found, reverse=True):
        if draws < max(before, 1):
            with suppress(OSError, ValueError, zipfile.BadZipFile), np.load(found[draws]) as stored:
                if changes_in(stored) == [tuple(one) for one in changes]:
                    return draws, dict(stored)
    return None


def changes_in(state: Mapping[str, NDArray[Any]]) -> list[StepChange]:
    """Return the changes of a chain's steps before a state."""
    return [StepChange(*map(int, one)) for one in state[CHANGES]] if CHANGES in state else []


def _draws_of_state(path: Path) -> int:
    return int(path.stem.partition("-")[2])


def read_draws(folder: Path) -> StoredDraws | None:
    """Read a store: the attempt with the most draws.

    Parameters
    ----------
    folder
        Of the store, `RUN_FOLDER/draws`.

    Returns
    -------
    StoredDraws or None
        None when no draw was stored.
    """
    attempts = [_read_attempt(path.parent) for path in sorted(folder.glob("*/layout.json"))]
    with_draws = [attempt for attempt in attempts if attempt is not None and attempt.chains]
    return max(with_draws, key=_count, default=None)


def _count(stored: StoredDraws) -> int:
    return sum(len(next(iter(columns.values()))) for columns, _ in stored.chains.values())


def _read_attempt(folder: Path) -> StoredDraws | None:
    try:
        layout, more = read_layout(folder / "layout.json")
    except (OSError, ValueError, TypeError, KeyError):  # a power cut before the first draw
        return None
    chains, changes, earlier = {}, {}, as_changes(more.get("changes", {}))
    for chain in range(layout.chains):
        read = _read_chain(folder / f"chain-{chain}.draws", layout.width)
        if len(read.rows):
            chains[chain] = split_rows(read.rows, layout)
            if own := [*earlier.get(chain, ()), *read.changes]:
                changes[chain] = own
    return StoredDraws(layout, chains, int(folder.name), changes)


class _ReadChain(NamedTuple):
    """What a chain's file holds: rows (draw, column), the changes of steps before them, and bytes that are whole."""

    rows: NDArray[np.float64]
    changes: list[StepChange]
    size: int


def _read_chain(path: Path, width: int) -> _ReadChain:
    """Read the whole segments at a file's beginning.

    The rows since the last change of steps are read, unless there were more before.
    """
    content = path.read_bytes() if path.exists() else b""
    parts, changes, offset, count = [[np.empty((0, width))]], list[StepChange](), 0, 0
    while offset + _HEADER.size <= len(content):
        magic, first, draws, checksum = _HEADER.unpack_from(content, offset)
        begin = offset + _HEADER.size
        end = begin + draws * width * 8
        whole = magic == _MAGIC and draws >= 0 and (first == count or draws == 0) and end <= len(content)
        if not whole or zlib.crc32(content[begin:end]) != checksum:
            break
        if draws == 0:
            changes.append(StepChange(count, first))
            parts.append([np.empty((0, width))])
            count = 0
        else:
            parts[-1].append(np.frombuffer(content[begin:end], dtype="<f8").reshape(draws, width))
            count += draws
        offset = end
    lengths = [sum(map(len, part)) for part in parts]
    chosen = max(range(len(parts)), key=lambda place: (lengths[place], place))
    return _ReadChain(np.concatenate(parts[chosen]), changes[:chosen], offset)


def split_rows(rows: NDArray[np.float64], layout: RowLayout) -> tuple[Arrays, Arrays]:
    """Return the columns and statistics (draw, ...) that rows (draw, column) hold; NaN means none."""
    columns, begin = {}, 0
    for name, shape in layout.columns.items():
        end = begin + math.prod(shape)
        columns[name] = rows[:, begin:end].reshape(len(rows), *shape)
        begin = end
    stats = {name: rows[:, begin + i] for i, name in enumerate(layout.stats)}
    known = {name: values for name, values in stats.items() if not np.isnan(values).all()}
    return columns, {name: values.astype(_STAT_TYPES.get(name, "float64")) for name, values in known.items()}


def _reserved(folder: Path, chain: int, layout: RowLayout) -> Path:
    """Make a chain's file, with room for all its rows and as many headers as can come."""
    path = folder / f"chain-{chain}.draws"
    size = _chain_bytes(layout)
    with path.open("xb") as file:
        if 0 < layout.chains * size <= MAX_RESERVED and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        os.fsync(file.fileno())
    return path


def _chain_bytes(layout: RowLayout) -> int:
    return layout.draws * (layout.width * 8 + _HEADER.size)


def _needed(layout: RowLayout) -> str:
    return _size(layout.chains * _chain_bytes(layout))


def _free(folder: Path) -> str:
    return _size(shutil.disk_usage(folder).free)


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _write_synced(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
