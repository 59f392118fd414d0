"""The answer in words and tables: for the console, for tracking (Markdown), and as one HTML page."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bayesrun.diagnostics.base import find_interval_columns
from bayesrun.sweep.table import Setting

if TYPE_CHECKING:
    import pandas as pd

_ROWS = 60
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; font-variant-numeric: tabular-nums }
th, td { padding: .25em .7em; border-bottom: 1px solid #ddd; text-align: right }
th { background: #f4f4f4; position: sticky; top: 0 } th.text, td.text { text-align: left }
tr.first td { border-top: 2px solid #888 } td.ok { color: #05603a } td.warn { color: #93500a }
td.fail, td.error { color: #b42318 } img { max-width: 100% }
"""


def text(settings: Sequence[Setting], table: pd.DataFrame, baseline: str, folder: Path) -> str:
    """Say on the console what moved, and where the answer is."""
    lines = ["", *_plain_table(_moved(table)), ""] if table["parameter"].notna().any() else [""]
    failed = [s for s in settings if not s.summaries]
    lines += [f"no posterior: {s.name}: {(s.error or s.status).splitlines()[-1].strip()}" for s in failed]
    if baseline:
        lines.append(f"shifts are from '{baseline}', in its posterior sd")
    return "\n".join([*lines, f"table  {folder / 'sweep.csv'}", f"page   {folder / 'sweep.html'}"])


def _moved(table: pd.DataFrame) -> pd.DataFrame:
    """Pick the few parameters that moved most."""
    known = table[table["parameter"].notna()]
    order = known.assign(by=known["shift"].astype(float).abs()).groupby("parameter")["by"].max()
    top = list(order.sort_values(ascending=False, na_position="last").index[:4])
    return known[known["parameter"].isin(top)][_shown(table)].dropna(axis="columns", how="all").head(_ROWS)


def _shown(table: pd.DataFrame) -> list[str]:
    ends = find_interval_columns(table.columns)
    return ["parameter", "setting", "mean", "sd", *ends, "shift", "overlap", "spread", "verdict", "note"]


def _plain_table(table: pd.DataFrame) -> list[str]:
    shown = table.apply(lambda column: column.map(_short))
    return str(shown.to_string(index=False)).splitlines()


def describe(
    settings: Sequence[Setting], table: pd.DataFrame, baseline: str, elpd: pd.DataFrame | None, why_not: str
) -> str:
    """Write the answer in Markdown: the description of the sweep's tracked run."""
    done = sum(bool(s.summaries) for s in settings)
    lines = [f"**{done} of {len(settings)} settings have a posterior.** Shifts are from `{baseline}`, in its sd.", ""]
    lines += _markdown(table[_shown(table)].head(_ROWS), "parameter")
    if len(table) > _ROWS:
        lines += ["", f"and {len(table) - _ROWS} more rows in `sweep.csv`"]
    lines += ["", "**Expected log predictive density**", ""]
    lines += _markdown(elpd.reset_index(), "setting") if elpd is not None else [f"not compared: {why_not}"]
    lines += [f"- `{s.name}`: {s.error or s.status}" for s in settings if not s.summaries]
    return "\n".join([*lines, "", "The whole answer is the artifact `sweep.html`; the jobs are this run's children."])


def _markdown(table: pd.DataFrame, first: str) -> list[str]:
    lines = ["| " + " | ".join(table.columns) + " |", "|---" * len(table.columns) + "|"]
    return [*lines, *("| " + " | ".join(map(_short, row)) + " |" for row in table.itertuples(index=False))]


def page(
    title: str,
    settings: Sequence[Setting],
    table: pd.DataFrame,
    baseline: str,
    elpd: pd.DataFrame | None,
    why_not: str,
    figures: Sequence[Path],
) -> str:
    """Write the answer as one page that needs no other file."""
    done = sum(bool(s.summaries) for s in settings)
    body = [
        f"<h1>Sweep {escape(title)}</h1>",
        f"<p>{done} of {len(settings)} settings have a posterior. ",
        f"Shifts are from <b>{escape(baseline)}</b>, in units of its posterior sd; ",
        "overlap is the share of posterior mass in common with it (1 = the same).</p>" if baseline else "</p>",
        *_images(figures),
        "<h2>Parameter by setting</h2>",
        _html(table[[c for c in table.columns if c not in ("jobs",)]].dropna(axis="columns", how="all"), "parameter"),
        "<h2>Expected log predictive density</h2>",
        _html(elpd.reset_index(), "") if elpd is not None else f"<p>Not compared: {escape(why_not)}.</p>",
        *_failures(settings),
    ]
    return f'<!doctype html><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>' + "\n".join(
        body
    )


def _failures(settings: Iterable[Setting]) -> list[str]:
    failed = [s for s in settings if not s.summaries or s.error]
    rows = [f"<li><b>{escape(s.name)}</b> ({escape(s.status)})<pre>{escape(s.error or '')}</pre></li>" for s in failed]
    return ["<h2>Failed jobs</h2><ul>", *rows, "</ul>"] if rows else []


def _images(figures: Iterable[Path]) -> list[str]:
    sources = [(p.stem, base64.b64encode(p.read_bytes()).decode()) for p in figures]
    return [f'<p><img alt="{name}" src="data:image/png;base64,{data}"></p>' for name, data in sources]


def _html(table: pd.DataFrame, group: str) -> str:
    heads = "".join(f"<th class=text>{escape(str(c))}</th>" for c in table.columns)
    rows, last = [], None
    for row in table.to_dict("records"):
        first = ' class="first"' if group and row.get(group) != last else ""
        last = row.get(group)
        rows.append(f"<tr{first}>" + "".join(_cell(str(k), v) for k, v in row.items()) + "</tr>")
    return f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _cell(column: str, value: Any) -> str:
    kind = "text" if isinstance(value, str) else ""
    if column == "verdict" and isinstance(value, str):
        kind = f"text {value}"
    return f'<td class="{"text error" if column == "error" else kind}">{escape(_short(value))}</td>'


def _short(value: Any) -> str:
    if value is None or value != value:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1f}" if 1000 <= abs(value) < 1e6 else f"{value:.4g}"
