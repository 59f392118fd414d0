"""The answer of a sweep in sentences: what moved, by how much, and whether the conclusion holds.

A parameter's conclusion is the side of zero on which its interval (`intervals`) is: above, below, or neither. It
holds if every setting gives the same. A shift counts only beyond its Monte Carlo error: thousands of scalars are
compared, and the largest of them moves by chance alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, sqrt
from typing import Any

import pandas as pd

from bayesrun.diagnostics.base import find_interval_columns, interval_probability
from bayesrun.sweeps.base import Goal
from bayesrun.sweeps.table import SweptSetting, small_variables_first

_LARGE = 1.0
_MAX_NAMED = 3
_SIDES = {1: "is above 0", -1: "is below 0", 0: "includes 0"}


@dataclass(frozen=True)
class Move:
    """The largest shift of one parameter.

    Parameters
    ----------
    parameter
        Its name.
    setting
        The setting that moves it most.
    shift, mcse
        Shift of its mean in the baseline's posterior sd, and the Monte Carlo standard error of that.
    before, after
        The rows of `sweep.csv` of the baseline and of that setting.
    beyond_error
        Whether the shift is larger than Monte Carlo error explains.
    changed
        The settings in which its interval is on another side of zero than in the baseline.
    """

    parameter: str
    setting: str
    shift: float
    mcse: float
    before: dict[str, Any]
    after: dict[str, Any]
    beyond_error: bool
    changed: tuple[str, ...] = ()


def moves(table: pd.DataFrame, baseline: str) -> list[Move]:
    """Find each parameter's largest shift; those beyond Monte Carlo error come first, the largest at the top.

    Parameters
    ----------
    table
        The sweep's table (`tabulate`).
    baseline
        Name of the setting that shifts are measured from.
    """
    known = table[table["parameter"].notna() & table["shift"].notna()]
    rows: list[dict[Any, Any]] = known.to_dict("records")
    before = {row["parameter"]: row for row in rows if row["setting"] == baseline}
    others = [row for row in rows if row["setting"] != baseline and row["parameter"] in before]
    # the largest of n standard normal errors is about sqrt(2 log n)
    threshold = max(2.0, sqrt(2 * log(max(len(others), 1))))
    by_parameter: dict[str, list[dict[Any, Any]]] = {}
    for row in others:
        by_parameter.setdefault(row["parameter"], []).append(row)
    found = [_move(before[name], own, threshold) for name, own in by_parameter.items()]
    # within Monte Carlo error, the few parameters come before the many latent values
    place = {name: i for i, name in enumerate(small_variables_first(by_parameter))}
    return sorted(found, key=lambda m: (0, -abs(m.shift)) if m.beyond_error else (1, place[m.parameter]))


def _move(before: dict[str, Any], rows: Sequence[dict[str, Any]], threshold: float) -> Move:
    def real(row: dict[str, Any]) -> bool:
        return bool(abs(row["shift"]) > threshold * row["shift_mcse"])

    largest = max(rows, key=lambda row: abs(row["shift"]))
    changed = tuple(row["setting"] for row in rows if real(row) and side(row) != side(before))
    return Move(
        before["parameter"], largest["setting"], float(largest["shift"]), float(largest["shift_mcse"]), before, largest,
        real(largest), changed,
    )  # fmt: skip


def side(row: dict[str, Any]) -> int:
    """Return the side of zero on which an interval is: 1 above, -1 below, 0 if it includes zero."""
    lower, upper = find_interval_columns(row)
    return 1 if row[lower] > 0 else -1 if row[upper] < 0 else 0


def interval_name(table: pd.DataFrame) -> str:
    """Name the table's interval: `94% interval`, of the columns `hdi_3%` and `hdi_97%`."""
    prob = interval_probability(table.columns)
    return "interval" if prob is None else f"{100 * prob:g}% interval"  # none: settings with different `intervals`


def sentences(
    settings: Sequence[SweptSetting], found: Sequence[Move], baseline: str, interval: str = "94% interval"
) -> list[str]:
    """Answer the sweep's question.

    Parameters
    ----------
    settings
        The sweep's settings.
    found
        What `moves` found.
    baseline
        Name of the setting that shifts are measured from; empty if it has no posterior.
    interval
        Name of the interval (`interval_name`).

    Returns
    -------
    list of str
        What moved; whether the conclusion holds; what to keep in mind.
    """
    return [*_what_moved(settings, found, baseline), *_conclusion(found, baseline, interval), *_caveats(settings)]


def best_setting(settings: Sequence[SweptSetting], goal: Goal) -> str:
    """Write which setting of a search has the best metric, and by how much."""
    records = [record for setting in settings for record in setting.records]
    ranked = sorted((r for r in records if goal.metric in r.metrics), key=lambda r: r.metrics[goal.metric])
    ranked = ranked[::-1] if goal.maximize else ranked
    if not ranked:
        return f"There is no best setting: no job has the metric {goal.metric}."
    (first, *others), kind = ranked, "highest" if goal.maximize else "lowest"
    best = f"The {kind} {goal.metric} of {len(records)} jobs is {first.metrics[goal.metric]:.4g}, at '{first.setting}'"
    return f"{best}; next is {others[0].metrics[goal.metric]:.4g}, at '{others[0].setting}'." if others else f"{best}."


def _what_moved(settings: Sequence[SweptSetting], found: Sequence[Move], baseline: str) -> list[str]:
    fitted = [s for s in settings if s.summaries]
    if not fitted:
        return ["No setting has a posterior."]
    if not baseline:
        return ["Nothing can be compared: the baseline has no posterior."]
    if not found:
        return [f"There is nothing to compare: only '{baseline}' has a posterior."]
    first = found[0]
    if not first.beyond_error:
        largest = max(found, key=lambda move: abs(move.shift))
        return [
            f"Nothing moved beyond Monte Carlo error: the largest shift from the baseline '{baseline}' is that of "
            f"{largest.parameter}, {_size(largest)}, at '{largest.setting}'."
        ]
    rest = [m for m in found[1:] if m.beyond_error]
    others = f"; of the other {len(found) - 1} parameters none moved beyond Monte Carlo error" if found[1:] else ""
    if rest:
        others = f"; next is {rest[0].parameter} ({_size(rest[0])})"
    direction = "up" if first.shift > 0 else "down"
    return [
        f"{first.parameter} moved most: {direction} by {_size(first)} from the baseline '{baseline}' "
        f"({_mean(first.before)}) at '{first.setting}' ({_mean(first.after)}){others}."
    ]


def _size(move: Move) -> str:
    return f"{abs(move.shift):.2g} ± {move.mcse:.1g} posterior sd"


def _mean(row: dict[str, Any]) -> str:
    return f"mean {row['mean']:.3g}"


def _conclusion(found: Sequence[Move], baseline: str, interval: str) -> list[str]:
    changed = [m for m in found if m.changed]
    if changed:
        changes = "; ".join(_change(m, interval) for m in changed[:_MAX_NAMED])
        more = f"; and {len(changed) - _MAX_NAMED} more parameters" if len(changed) > _MAX_NAMED else ""
        return [f"The conclusion does not hold: {changes}{more}."]
    if not found or not baseline:
        return []
    large = [m.parameter for m in found if m.beyond_error and abs(m.shift) >= _LARGE]
    if large:
        named = ", ".join(large[:_MAX_NAMED]) + (", ..." if len(large) > _MAX_NAMED else "")
        return [
            f"The direction holds (every {interval} stays on its side of zero), the size does not: {named} moved by "
            f"{_LARGE:g} sd or more."
        ]
    return [f"The conclusion holds: every {interval} stays on its side of zero, and nothing moved by 1 sd or more."]


def _change(move: Move, interval: str) -> str:
    after = move.after if move.setting in move.changed else None
    where = f"at '{move.changed[0]}'" + (f" and {len(move.changed) - 1} more" if len(move.changed) > 1 else "")
    then = _SIDES[side(after)] if after else "does not"
    return f"the {interval} of {move.parameter} {_SIDES[side(move.before)]} in the baseline and {then} {where}"


def _caveats(settings: Sequence[SweptSetting]) -> list[str]:
    failed = [s.name for s in settings if s.verdict == "fail"]
    missing = [s.name for s in settings if not s.summaries]
    sentences = []
    if failed and len(failed) == len(settings):
        sentences.append("Do not rely on this yet: every setting has the verdict fail.")
    elif failed:
        sentences.append(f"Do not rely on this yet: the verdict is fail for {_named(failed)}.")
    if missing:
        sentences.append(f"No posterior: {_named(missing)}.")
    return sentences


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_MAX_NAMED])
    return shown + (f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else "")
