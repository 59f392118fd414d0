"""What Python gets back: a `Run` with its posterior and verdict, and a `Sweep` with its table and answer.

Both are views of a folder: what they show is read from its files when it is first asked for.
"""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bayesrun.api.questions import Comparison, Groups, Kind, Overrides, answer_of, run_word, section_of_rows
from bayesrun.api.surroundings import as_guest
from bayesrun.api.words import words_of
from bayesrun.diagnostics.base import Finding
from bayesrun.errors import fail
from bayesrun.finished_run import NewLevels, Predictions, predict_frame, read_posterior
from bayesrun.language.statements import WrittenModel
from bayesrun.lazy import pd
from bayesrun.logs import logging_to_memory
from bayesrun.open_run import read_config
from bayesrun.report.console import number
from bayesrun.report.latex import as_latex
from bayesrun.report.notation import Notation

if TYPE_CHECKING:
    import arviz
    import pandas

_ROWS = 20
_COLOURS = {"ok": "#1a7f37", "warn": "#9a6700", "fail": "#cf222e"}


@dataclass(frozen=True)
class Run:
    """A finished run: a posterior, its verdict, and where it comes from.

    Parameters
    ----------
    folder
        The run folder.
    """

    folder: Path

    @cached_property
    def idata(self) -> arviz.InferenceData:
        """The posterior and its other groups (`posterior.nc`).

        Raises
        ------
        UserError
            When the run has none: it failed before its first draw.
        """
        return read_posterior(self.folder)

    @cached_property
    def summary(self) -> pandas.DataFrame:
        """One row per scalar, unrounded: mean, sd, HDI, Monte Carlo errors, ESS, R-hat (`summary.csv`)."""
        return pd.read_csv(self.folder / "summary.csv", index_col="name", float_precision="round_trip")

    @cached_property
    def status(self) -> Literal["finished", "partial", "failed", "running"]:
        """How the run ended; `partial` when it was stopped early and kept its draws."""
        status: Literal["finished", "partial", "failed", "running"] = self._json("status.json")["status"]
        return status

    @cached_property
    def verdict(self) -> Literal["ok", "warn", "fail"] | None:
        """The worst severity of the findings; None where the run has no posterior."""
        verdict: Literal["ok", "warn", "fail"] | None = self._json("status.json")["verdict"]
        return verdict

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Results of all checks, with a remedy each where something is wrong."""
        return tuple(Finding(**finding) for finding in self._json("findings.json"))

    @cached_property
    def metrics(self) -> Mapping[str, float]:
        """What is tracked of the run: `elpd_loo`, `r_hat_max`, `divergences`, ... (`metrics.json`)."""
        metrics: Mapping[str, float] = self._json("metrics.json")
        return metrics

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The config of the run, resolved, every key with its value."""
        return {key: value for key, value in read_config(self.folder).items() if key != "hydra"}

    @cached_property
    def latex(self) -> str:
        """The model in mathematical notation, an `aligned` environment of LaTeX: `IPython.display.Math(run.latex)`.

        Raises
        ------
        UserError
            When the run has no `model.json`: it is of an earlier version, or its model was never built.
        """
        notation = self._notation()
        if notation is None:
            raise fail("run", f"'{self.folder}' has no model.json", "run it again: task=rerun")
        return as_latex(notation)

    def _notation(self) -> Notation | None:
        path = self.folder / "model.json"
        return Notation(WrittenModel.restored(json.loads(path.read_text(encoding="utf-8")))) if path.is_file() else None

    def predict(
        self,
        frame: Any,
        *,
        interval: float | None = None,
        new_levels: NewLevels = "error",
        seed: int | None = None,
    ) -> pandas.DataFrame:
        """Predict new rows, without sampling; the numbers are those of `task=predict` (docs/predictions.md).

        Parameters
        ----------
        frame
            The rows: a pandas or polars data frame, or columns by name. It needs the predictors, not the response.
        interval
            Probability inside the intervals; None = that of the run's `intervals`.
        new_levels
            Labels of a factor that the fit has not seen: an `error`, or drawn from the groups' distribution
            (`population`).
        seed
            Of the predictions; None = the run's.

        Returns
        -------
        DataFrame
            `kind` (`observation`, `mu` or `probability`), `variable`, the row's labels, mean, sd, HDI and quantiles.

        Raises
        ------
        UserError
            For every problem with the rows, by column and row.
        """
        return self._predict(frame, interval, new_levels, (), seed).table

    def predict_groups(
        self,
        frame: Any,
        by: Sequence[str],
        *,
        interval: float | None = None,
        new_levels: NewLevels = "error",
        seed: int | None = None,
    ) -> pandas.DataFrame:
        """Predict the averages over the rows of each group.

        Parameters
        ----------
        frame, interval, new_levels, seed
            As in `predict`.
        by
            Columns whose labels make the groups.

        Returns
        -------
        DataFrame
            As that of `predict`, with the number of `rows`, one row per group.
        """
        grouped = self._predict(frame, interval, new_levels, by, seed).by_group
        assert grouped is not None
        return grouped

    def _predict(
        self, frame: Any, interval: float | None, new_levels: NewLevels, by: Sequence[str], seed: int | None
    ) -> Predictions:
        with as_guest(), logging_to_memory():
            return predict_frame(self.folder, frame, interval, new_levels, list(by), seed)

    def effects(
        self,
        of: str | None = None,
        *,
        kind: Kind | None = None,
        values: Sequence[Any] | None = None,
        comparison: Comparison | None = None,
        at: Mapping[str, Any] | None = None,
        by: str | Sequence[str] | None = None,
        typical: bool | None = None,
        groups: Groups | None = None,
        parameter: str | None = None,
        data: Any = None,
        overrides: Overrides = (),
    ) -> pandas.DataFrame:
        """Return what a predictor does to the outcome: the table of `task=effects` (docs/tasks.md).

        Parameters
        ----------
        of
            The predictor that is changed; None = expected values as they are.
        kind, values, comparison, at, by, typical, groups, parameter
            As the keys of `effects`.
        data
            Rows to average over: a data frame, columns by name, or the name or file of a data set; None = those of the
            fit.
        overrides
            Keys of `tracking`, `paths`, `seed` and `intervals`, as in `bayesrun.run`.

        Returns
        -------
        DataFrame
            One row per effect: its labels, `mean`, `sd`, HDI, and the share of draws above no effect.

        Raises
        ------
        UserError
            With everything that is wrong with the question.
        """
        with section_of_rows(data) as rows:
            options = {
                **{"of": of, "kind": kind, "comparison": comparison, "typical": typical, "groups": groups},
                **{"values": values, "at": at, "by": by, "parameter": parameter, "data": rows},
            }
            return answer_of("effects", options, [run_word(self.folder), *words_of(overrides)], "effects.csv")

    def hypothesis(
        self, *statements: str, rope: tuple[float, float] | None = None, overrides: Overrides = ()
    ) -> pandas.DataFrame:
        """Return how probable statements are: the table of `task=hypothesis` (docs/tasks.md).

        Parameters
        ----------
        statements
            Such as `"x > 0"`, `"theta[A] - theta[C]"` or `"mu = 0"`.
        rope
            Region of practical equivalence of quantities, its lower and upper end.
        overrides
            As in `effects`.

        Returns
        -------
        DataFrame
            One row per statement and element: `probability`, `evidence_ratio`, estimates and their errors.

        Raises
        ------
        UserError
            With everything that is wrong with the statements.
        """
        options = {"statements": list(statements), "rope": rope}
        return answer_of("hypothesis", options, [run_word(self.folder), *words_of(overrides)], "hypotheses.csv")

    def _json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def __repr__(self) -> str:
        return f"Run('{self.folder}', status={self.status}, verdict={self.verdict})"

    def _repr_html_(self) -> str:
        return run_html(self)


def run_html(run: Run) -> str:
    """Return what a notebook shows of a run: verdict with reasons and remedies, the model, its summary, the folder."""
    parts = [_verdict_html(run.verdict or run.status)]
    if (run.folder / "findings.json").is_file():
        reasons = [finding for finding in run.findings if finding.severity != "ok"]
        parts += ["<ul>", *(_reason_html(finding) for finding in reasons), "</ul>"] if reasons else []
    notation = run._notation()
    if notation is not None:
        parts.append(_model_html(notation))
    if (run.folder / "summary.csv").is_file():
        parts.append(_table_html(run.summary))
    report = run.folder / "report.html"
    more = f' · <a href="{html.escape(report.as_uri())}">report</a>' if report.is_file() else ""
    parts.append(f"<p><code>{html.escape(str(run.folder))}</code>{more}</p>")
    return f"<div>{''.join(parts)}</div>"


def _verdict_html(verdict: str) -> str:
    colour = _COLOURS.get(verdict, "inherit")
    return f'<p>verdict: <strong style="color:{colour}">{html.escape(verdict)}</strong></p>'


def _reason_html(finding: Finding) -> str:
    remedy = f" <em>{html.escape(finding.remedy)}</em>" if finding.remedy else ""
    return f"<li><strong>{finding.severity} {finding.check}</strong>: {html.escape(finding.message)}{remedy}</li>"


def _model_html(notation: Notation) -> str:
    """Return the model's formulas, each with a text for screen readers."""
    lines = []
    for formula in notation.formulas:
        right = "".join(f'<math displaystyle="true">{piece}</math><wbr>' for piece in formula.right)
        cells = (f'<math displaystyle="true">{formula.left}</math>', f"<math>{formula.relation}</math>", right)
        sides = ("right", "center", "left")
        row = "".join(f'<td style="text-align:{side}">{cell}</td>' for side, cell in zip(sides, cells, strict=True))
        lines.append(f'<tr role="math" aria-label="{html.escape(formula.spoken)}">{row}</tr>')
    table = f'<table style="font-size:110%"><tbody>{"".join(lines)}</tbody></table>'
    return f"<details open><summary>model</summary>{table}</details>"


def _table_html(summary: pandas.DataFrame) -> str:
    head = "".join(f"<th>{html.escape(str(column))}</th>" for column in ("", *summary.columns))
    rows = []
    for name, row in summary.head(_ROWS).iterrows():
        cells = "".join(f"<td>{number(str(column), row[column])}</td>" for column in summary.columns)
        rows.append(f"<tr><th>{html.escape(str(name))}</th>{cells}</tr>")
    more = f"<p>and {len(summary) - _ROWS:,} more rows</p>" if len(summary) > _ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>{more}"


@dataclass(frozen=True)
class Sweep:
    """A finished sweep: what each setting does to each posterior (docs/sweeps.md).

    Parameters
    ----------
    folder
        The sweep's folder.
    answer
        What the sweep found, as text: the settings, their verdicts, and how far they move the posterior.
    """

    folder: Path
    answer: str

    @cached_property
    def table(self) -> pandas.DataFrame:
        """One row per parameter and setting: mean, sd, HDI, shift against the baseline, verdict (`sweep.csv`)."""
        return pd.read_csv(self.folder / "sweep.csv", float_precision="round_trip")

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The runs of the jobs that have a posterior, in their order."""
        jobs = json.loads((self.folder / "sweep.json").read_text(encoding="utf-8"))["jobs"]
        folders = [Path(job["folder"]) for job in jobs if job["folder"]]
        return tuple(Run(folder) for folder in folders if (folder / "posterior.nc").is_file())

    def __repr__(self) -> str:
        return f"Sweep('{self.folder}', {len(self.runs)} runs)"

    def _repr_html_(self) -> str:
        page = self.folder / "sweep.html"
        link = f'<p><a href="{html.escape(page.as_uri())}">all of it</a></p>' if page.is_file() else ""
        return f"<div><pre>{html.escape(self.answer)}</pre>{link}</div>"
