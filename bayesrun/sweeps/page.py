"""The answer in words and tables: for the console, for tracking (Markdown), and as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import floor, log10
from pathlib import Path
from typing import Any

import pandas as pd

from bayesrun.diagnostics.base import find_interval_columns, interval_probability, shorten
from bayesrun.report.templating import Pictures, write_page
from bayesrun.run_folder import RunFolder
from bayesrun.sweeps.base import Goal, one_line
from bayesrun.sweeps.conclusion import Move, best_setting, interval_name, moves, sentences
from bayesrun.sweeps.table import SweptSetting, small_variables_first

_MOVED = ("parameter", "largest shift (sd)", "at", "mean ± sd there", "in the baseline", "overlap")
_ELPD = ("setting", "elpd ± se", "behind the best ± se", "stacking weight ({})", "Pareto k")
_ROWS = 60
_MAX_MOVED = 5
_MAX_ROWS = 1000


@dataclass(frozen=True)
class Findings:
    """What a sweep found, before it is written.

    Parameters
    ----------
    title
        Name of the sweep's folder.
    settings
        Its settings, in order.
    table
        Parameter by setting (`tabulate`).
    baseline
        Name of the setting that shifts are measured from; empty if it has no posterior.
    elpd
        The comparison of settings (`compare`), or None with `why_no_elpd`.
    goal
        What a search optimizes; None for a sweep whose points were listed.
    """

    title: str
    settings: Sequence[SweptSetting]
    table: pd.DataFrame
    baseline: str
    elpd: pd.DataFrame | None = None
    why_no_elpd: str = ""
    goal: Goal | None = None

    @cached_property
    def moves(self) -> list[Move]:
        """The largest shift of each parameter, the parameters that moved most first."""
        return moves(self.table, self.baseline)

    @cached_property
    def answer(self) -> list[str]:
        """What a search found; what moved, and whether the conclusion holds."""
        searched = [] if self.goal is None else [best_setting(self.settings, self.goal)]
        return searched + sentences(self.settings, self.moves, self.baseline, interval_name(self.table))

    @cached_property
    def parameters(self) -> list[str]:
        """All parameters, those that moved most first."""
        names = self.table["parameter"].dropna()
        return list(dict.fromkeys([*(m.parameter for m in self.moves), *small_variables_first(dict.fromkeys(names))]))

    @property
    def fitted(self) -> int:
        """Number of settings that have a posterior."""
        return sum(bool(s.summaries) for s in self.settings)


def text(found: Findings, folder: Path) -> str:
    """Return what the console says: what moved, and where the answer is."""
    lines = ["", *_plain_table(_few(found)), ""] if found.parameters else [""]
    for setting in found.settings:
        if not setting.summaries:
            lines += [f"no posterior: {setting.name}", *_indented(setting.error or setting.status)]
        elif setting.error:
            lines += [f"ended early: {setting.name}", *_indented(setting.error)]
    lines += found.answer
    if found.baseline:
        lines.append(f"shifts are from '{found.baseline}', in its posterior sd")
    return "\n".join([*lines, f"table  {folder / 'sweep.csv'}", f"page   {folder / 'sweep.html'}"])


def _indented(message: str) -> list[str]:
    return [f"    {line}" for line in message.strip().splitlines()]


def _few(found: Findings) -> pd.DataFrame:
    """Pick the few parameters that moved most."""
    table = found.table
    few = table[table["parameter"].isin(found.parameters[:4])][_shown(table)].replace({"note": {"": None}})
    return few.dropna(axis="columns", how="all").head(_ROWS)


def _shown(table: pd.DataFrame) -> list[str]:
    ends = find_interval_columns(table.columns)
    return ["parameter", "setting", "mean", "sd", *ends, "shift", "overlap", "spread", "verdict", "note"]


def _plain_table(table: pd.DataFrame) -> list[str]:
    shown = table.apply(lambda column: column.map(_short))
    for name in {"parameter", "setting", "note"} & set(shown):  # else the table is wider than a page
        shown[name] = [shorten(str(text)) for text in shown[name]]
    return str(shown.to_string(index=False)).splitlines()


def describe(found: Findings) -> str:
    """Write the answer in Markdown: the description of the sweep's tracked run."""
    table, elpd = found.table, found.elpd
    lines = [f"**{' '.join(found.answer)}**", ""]
    lines += [f"{found.fitted} of {len(found.settings)} settings have a posterior.", ""]
    lines += _markdown(table[_shown(table)].head(_ROWS))
    if len(table) > _ROWS:
        lines += ["", f"and {len(table) - _ROWS} more rows in `sweep.csv`"]
    lines += ["", "**Expected log predictive density**", ""]
    lines += _markdown(elpd.reset_index()) if elpd is not None else [f"not compared: {found.why_no_elpd}"]
    lines += [f"- `{s.name}`: {one_line(s.error or s.status)}" for s in found.settings if not s.summaries]
    return "\n".join([*lines, "", "The whole answer is the artifact `sweep.html`; the jobs are this run's children."])


def _markdown(table: pd.DataFrame) -> list[str]:
    lines = ["| " + " | ".join(table.columns) + " |", "|---" * len(table.columns) + "|"]
    return [*lines, *("| " + " | ".join(map(_short, row)) + " |" for row in table.itertuples(index=False))]


def write_sweep_page(found: Findings, figures: Sequence[Path], folder: RunFolder) -> Path:
    """Write the answer as `sweep.html`, one page that needs no other file and opens with the answer."""
    shown = found.moves[:_MAX_MOVED]
    rest = len(found.moves) - len(shown)
    pictures = Pictures()
    shown_pictures = {path.stem: pictures.add(path.read_bytes()) for path in figures}
    values = dict(
        title=found.title,
        answer=found.answer,
        done=found.fitted,
        total=len(found.settings),
        baseline=found.baseline,
        moved_heads=_MOVED,
        moved=[_moved_row(move) for move in shown],
        unmoved=f"{rest} more parameters are in the table at the end." if rest else "",
        pictures={"forest": "", "density": "", **shown_pictures},
        elpd_heads=[] if found.elpd is None else _elpd_heads(found.elpd),
        elpd=[] if found.elpd is None else [_elpd_row(str(name), row.to_dict()) for name, row in found.elpd.iterrows()],
        best="" if found.elpd is None else best(found.elpd),
        why_no_elpd=found.why_no_elpd,
        failures=[s for s in found.settings if not s.summaries or s.error],
        table=_whole_table(found.table),
    )
    return write_page(folder, "sweep.html", "sweep.html", values, pictures)


def _moved_row(move: Move) -> list[str]:
    shift = f"{move.shift:+.2f} ± {move.mcse:.2f}".replace("-", "−")
    values = [_with_sd(row["mean"], row["sd"]) for row in (move.after, move.before)]
    overlap = move.after["overlap"]
    return [move.parameter, shift, move.setting, *values, f"{overlap:.2f}" if overlap == overlap else ""]


def _with_sd(mean: float, sd: float) -> str:
    """Write a mean to the second digit of its sd."""
    if not 1e-4 < sd < 1e6:
        return f"{mean:.3g} ± {sd:.2g}"
    decimals = max(0, 1 - floor(log10(sd)))
    return f"{mean:.{decimals}f} ± {sd:.{decimals}f}"


def _elpd_heads(elpd: pd.DataFrame) -> list[str]:
    prob = interval_probability(elpd.columns, "weight")
    return [head.format("interval" if prob is None else f"{100 * prob:g}%") for head in _ELPD]


def _elpd_row(name: str, row: Mapping[Any, Any]) -> list[str]:
    behind = "best" if row["rank"] == 0 else f"{row['elpd_diff']:.1f} ± {row['dse']:.1f}"
    low, high = (row[column] for column in find_interval_columns(row, "weight"))
    weight = f"{row['weight']:.2f} ({low:.2f} to {high:.2f})"
    return [
        name,
        f"{row['elpd_loo']:.1f} ± {row['se']:.1f}".replace("-", "−"),
        behind,
        weight,
        "some above 0.7" if row["warning"] else "all below 0.7",
    ]


def best(elpd: pd.DataFrame) -> str:
    """Write which setting predicts best, and whether the difference from the next one is clear."""
    first, second = elpd.index[0], elpd.iloc[1]
    ahead = f"{second['elpd_diff']:.1f} ± {second['dse']:.1f}"
    # below 4 the normal approximation of a difference's error is unreliable (doi:10.1007/s11222-016-9696-4)
    if second["elpd_diff"] < max(4.0, 2 * second["dse"]):
        return f"The best two can't be distinguished: '{first}' is ahead of '{elpd.index[1]}' by {ahead} only."
    return f"'{first}' predicts best, ahead of '{elpd.index[1]}' by {ahead}."


def _whole_table(table: pd.DataFrame) -> dict[str, Any]:
    shown = table[[c for c in table.columns if c != "jobs"]].replace({"note": {"": None}})
    shown = shown.dropna(axis="columns", how="all").head(_MAX_ROWS)
    names = [str(c) for c in shown.columns]
    rows = [
        [_cell(name, value) for name, value in zip(names, row, strict=True)] for row in shown.itertuples(index=False)
    ]
    parameters = list(table["parameter"])
    firsts = {i for i, name in enumerate(parameters) if i == 0 or name != parameters[i - 1]}
    return {"columns": names, "rows": rows, "firsts": firsts, "total": len(table)}


def _cell(column: str, value: Any) -> dict[str, str]:
    kind = "text" if isinstance(value, str) else ""
    if column == "verdict" and isinstance(value, str):
        kind = f"text {value}"
    return {"text": _short(value), "kind": "text error" if column == "error" else kind}


def _short(value: Any) -> str:
    if value is None or value != value:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1f}" if 1000 <= abs(value) < 1e6 else f"{value:.4g}"
