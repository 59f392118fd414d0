"""`report.html`: all of a run on one page, made from the files of its folder, so that it can be made again at any time.

The page needs no other file and no network, is legible without scripts, and begins with whether the posterior can be
trusted. Whatever a run has not written is left out: a run that failed has a page as well.
"""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from bayesrun.diagnostics.base import find_interval_columns, listed, shorten
from bayesrun.invocation import command
from bayesrun.language.statements import WrittenModel
from bayesrun.report import data_table
from bayesrun.report.notation import Index, MathFormula, Notation
from bayesrun.report.numbers import count, plain, seconds, signed, to_error, when
from bayesrun.report.small_densities import MOST, SmallDensity, small_densities
from bayesrun.report.stored_run import StoredRun
from bayesrun.report.templating import Pictures, write_page
from bayesrun.run_folder import RunFolder

log = logging.getLogger("bayesrun.report")

NAME = "report.html"
_STEPPED = 60  # variables of a step that are named
_BYTES = 2_000_000  # of all pictures as files; the page has four thirds of it
_FORMS = ("density", "ecdf", "rootogram", "statistics", "calibration", "intervals", "residuals", "grouped")
_PREDICTIVE = ("ppc", *(f"ppc_{form}" for form in _FORMS), "loo_pit", "pareto_k")
_CAPTIONS = {
    "ppc_density": "Densities of the data and of data sets that the fitted model predicts.",
    "ppc_ecdf": "The distribution function of the data, and the band of predicted ones.",
    "ppc_rootogram": "How often each count was observed and is predicted.",
    "ppc_statistics": "Statistics of the data among those of predicted data sets.",
    "ppc_calibration": "Predicted probabilities against what happened, and the band of calibrated ones.",
    "ppc_intervals": "Each observation and the interval of its predictions.",
    "ppc_residuals": "Residuals against predicted means; averages with the interval of predicted data.",
    "ppc_grouped": "Observed and predicted means of each level.",
    "trace": "The distribution of each variable, and its draws in their order; ticks mark divergences.",
    "trace_chains": "The draws of each chain in their order; divergences are marked.",
    "rank": "Ranks of the draws by chain: flat bars where the chains agree.",
    "posterior": "The distribution of each scalar with its mean and interval.",
    "forest": "Mean, 50% interval and HDI of each scalar, the means of its chains above.",
    "prior_posterior": "What the data taught about each scalar: the densities, and both intervals below.",
    "autocorrelation": "Correlation of each draw with the ones before it.",
    "energy": "NUTS's energy against its changes, by chain.",
    "ppc": "The data against data sets that the fitted model predicts.",
    "loo_pit": "Calibration: positions of the observations in their leave-one-out predictions, against uniform ones.",
    "pareto_k": "Where leave-one-out is unreliable: the Pareto k of each observation.",
    "scatter": "The response against each column of the model.",
    "effects": "The predicted mean against each predictor, averaged over the others.",
    "returns": "The observed series over its dates.",
    "volatility": "The returns with posterior mean and interval of the volatility.",
    "switchpoint": "Posterior probability of each point in time.",
    "imputed": "The distribution of each imputed value.",
    "shrinkage": "Each group's own estimate, and its partially pooled effect.",
    "accident_rate": "The data, the rate over time, the switchpoint and imputed values.",
}
_SENTENCES = {
    "ok": "{what} passed every check.",
    "warn": "Use this {what} with care: {number}.",
    "fail": "Do not trust this {what}: {number}.",
}
_METHODS = {"nuts": "NUTS", "smc": "SMC", "advi": "ADVI"}
_TRANSFORM = re.compile(r"_[a-z-]+__$")  # `sigma_log__`: the variable as it is sampled


def write_report(folder: RunFolder) -> Path:
    """Write `report.html` of a run folder, without secrets.

    Parameters
    ----------
    folder
        The folder; it may lack any file.

    Returns
    -------
    Path
        The page.
    """
    run, pictures = StoredRun(folder.path), Pictures()
    try:
        content = _content(run, pictures)
    finally:
        run.close()
    return write_page(folder, NAME, "run.html", content, pictures)


@dataclass(frozen=True)
class Fact:
    """A number that matters: its name, its value, what qualifies it, and how it was judged."""

    name: str
    value: str
    more: str = ""
    severity: str = ""


def _content(run: StoredRun, pictures: Pictures) -> dict[str, Any]:
    model = run.section("model")
    densities, has_prior = _densities(run)
    figures, left_out = _figures(run, pictures)
    return {
        "title": str(model.get("name") or run.folder.name),
        "started": when(run.provenance.get("started")),
        "lead": _lead(run),
        **_verdict(run),
        "facts": list(_facts(run)),
        **_model(run, pictures),
        "data": _data(run),
        "summary": _summary(run),
        "densities": densities,
        "has_prior": has_prior,
        "densities_note": f"The first {MOST} scalars are shown." if len(densities) == MOST else "",
        "predictive": _predictive(run, figures),
        "figures": [figure for name, figure in figures.items() if name not in _PREDICTIVE],
        "left_out": list(_left_out(run, left_out)),
        "sampler": {"settings": list(_settings(run)), "steps": _steps(run)},
        "again": command("--config-dir", str(run.folder), "--config-name", "config"),
        "command": _command(run),
        "config": run.config_text,
        "provenance": list(_provenance(run)),
        "folder": str(run.folder),
    }


# ---------------------------------------------------------------- verdict


def _lead(run: StoredRun) -> str:
    model, sampler = run.section("model"), run.section("sampler")
    parts = []
    name = run.config.get("name")
    if name and name != model.get("name"):
        parts.append(str(name))
    if model.get("formula"):
        parts.append(f"{model['formula']}, family {model.get('family', 'normal')}")
    draws = run.metrics.get("n_draws")
    if draws:
        method = str(sampler.get("method", "nuts"))
        chains = sampler.get("chains") if method in ("nuts", "smc") else None
        by = f" of {chains} chains" if chains and chains != 1 else ""
        how = " from the prior" if _is_prior(run) else f"{by} by {_METHODS.get(method, method)}"
        parts.append(f"{count(draws)} draws{how}")
    return " · ".join(parts)


def _is_prior(run: StoredRun) -> bool:
    return run.section("sampler").get("method") == "prior"


def _verdict(run: StoredRun) -> dict[str, Any]:
    status, severity = str(run.status.get("status") or "unknown"), run.status.get("verdict")
    problems = [_finding(one) for one in run.findings if one["severity"] != "ok"]
    passed = [_finding(one) for one in run.findings if one["severity"] == "ok"]
    error = run.status.get("error")
    detail = ""
    if severity in _SENTENCES:
        worst = [one for one in problems if one["severity"] == severity]
        word = {"warn": "warning", "fail": "failed check"}.get(severity, "")
        what = "sample of the prior" if _is_prior(run) else "posterior"
        number = f"{len(worst)} {word}{'s' if len(worst) != 1 else ''}"
        sentence = _SENTENCES[severity].format(what=f"The {what}" if severity == "ok" else what, number=number)
        if status == "partial":
            detail = "Sampling ended early: the page is about the draws so far."
    else:
        severity = "fail" if status in ("failed", "partial") else ""
        sentence = {
            "failed": "The run failed: there is no posterior.",
            "partial": "The run ended early: its draws are kept, and were not checked.",
            "running": "The run has not ended.",
        }.get(status, "This folder holds no finished run.")
    word = run.status.get("verdict") or status
    return {
        "verdict": {"severity": severity, "sentence": sentence, "detail": detail, "word": word},
        "error": error or "",
        "problems": problems,
        "passed": passed,
        "passed_title": f"{len(passed)} check{'s' if len(passed) != 1 else ''} passed",
    }


def _finding(one: Mapping[str, Any]) -> dict[str, Any]:
    return {**one, "message": marked(str(one["message"])), "remedy": marked(str(one.get("remedy") or ""))}


def marked(text: str) -> Markup:
    """Return a message with what stands in back-ticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _facts(run: StoredRun) -> Iterator[Fact]:
    metrics = run.metrics
    worst = _severities(run)
    if "r_hat_max" in metrics:
        yield Fact("largest R-hat", f"{metrics['r_hat_max']:.3f}", "", worst.get("r_hat", ""))
    for key, name in (("ess_bulk_min", "smallest bulk ESS"), ("ess_tail_min", "smallest tail ESS")):
        if key in metrics:
            yield Fact(name, count(metrics[key]), "", worst.get("ess", ""))
    if "divergences" in metrics:
        yield Fact("divergences", count(metrics["divergences"]), "", worst.get("divergences", ""))
    if "elpd_loo" in metrics:
        yield _elpd(metrics)
    if "seconds_total" in metrics:
        yield Fact("time", seconds(metrics["seconds_total"]), f"{seconds(metrics.get('seconds_sample'))} sampling")


def _severities(run: StoredRun) -> dict[str, str]:
    """Return the severity of each check that did not pass; findings are sorted, the worst first."""
    found: dict[str, str] = {}
    for one in run.findings:
        if one["severity"] != "ok":
            found.setdefault(str(one["check"]), str(one["severity"]))
    return found


def _elpd(metrics: Mapping[str, float]) -> Fact:
    error = metrics.get("elpd_loo_se")
    return Fact("elpd (LOO)", signed(f"{metrics['elpd_loo']:.1f}"), f"± {error:.1f}" if error is not None else "")


# ---------------------------------------------------------------- model and data


def _model(run: StoredRun, pictures: Pictures) -> dict[str, Any]:
    formulas: tuple[MathFormula, ...] = ()
    indices: list[dict[str, Any]] = []
    notes = []
    content = run.json("model.json")
    if content:
        try:
            notation = Notation(WrittenModel.restored(content))
            formulas, indices = (
                notation.formulas,
                [{"letter": one.letter, "dim": one.dim, "values": _values(one)} for one in notation.indices],
            )
        except Exception:  # a formula must not cost the page
            log.debug("no formulas", exc_info=True)
        if any("term_scale" in str(one.get("distribution")) for one in content["statements"]):
            notes.append(marked("`term_scale` is the natural scale of each term, from the data (docs/regression.md)."))
    first_prior = next((place for place, formula in enumerate(formulas) if formula.kind == "prior"), 0)
    return {
        "formulas": [
            {
                "left": Markup(formula.left),
                "relation": Markup(formula.relation),
                "right": [Markup(piece) for piece in formula.right],
                "spoken": formula.spoken,
                "gap": place == first_prior > 0,
            }
            for place, formula in enumerate(formulas)
        ],
        "indices": indices,
        "notes": notes,
        "graph": _graph(run, pictures),
    }


def _values(index: Index) -> list[str]:
    """Return the values of an index: all of a few, otherwise the first, dots and the last."""
    if 0 < index.size <= 3:
        return [str(number) for number in range(1, index.size + 1)]
    return ["1", "…", f"{index.size:,}" if index.size else index.letter.upper()]


def _graph(run: StoredRun, pictures: Pictures) -> dict[str, Any] | None:
    path = run.folder / "model.svg"
    if not path.is_file():
        return None
    content = path.read_bytes()
    size = re.search(rb'<svg[^>]*?width="([\d.]+)(pt|px)?"', content[:3000])
    width = float(size[1]) * (4 / 3 if size[2] == b"pt" else 1) if size else 800
    alt = "Graph of the model: priors above the variables that depend on them, plates around the dims"
    # beside the formulas if it is legible there, that is at four fifths of its size
    return {
        "source": pictures.add(content, "image/svg+xml"),
        "width": round(width),
        "basis": round(0.8 * width),
        "alt": alt,
    }


def _data(run: StoredRun) -> dict[str, Any] | None:
    section = run.section("data")
    constant, observed = run.group("constant_data"), run.group("observed_data")
    if not section and constant is None and observed is None:
        return None
    attrs = {} if constant is None else constant.attrs
    rows = data_table.data_rows(constant, observed)
    dropped = str(attrs.get("dropped") or "")
    origin = str(attrs.get("origin") or section.get("path") or "")
    name = str(section.get("name") or "")
    sizes = " × ".join(f"{dim} ({size:,})" for dim, size in data_table.sizes(None, observed))
    parts = [part for part in (name, sizes, origin if origin != name else "") if part]
    more = len(rows) - data_table.MOST
    return {
        "sentence": " · ".join(parts),
        "notes": [dropped] if dropped else [],
        "heads": data_table.HEADS,
        "rows": rows[: data_table.MOST],
        "more": f"And {more} more variables." if more > 0 else "",
    }


# ---------------------------------------------------------------- estimates


def _summary(run: StoredRun) -> dict[str, Any] | None:
    table = run.summary
    if table is None or table.empty:
        return None
    low, high = find_interval_columns(table.columns)
    columns = [c for c in ("mean", "sd", low, high, "mcse_mean", "ess_bulk", "ess_tail", "r_hat") if c in table]
    heads = {low: low.replace("hdi_", "HDI "), high: high.replace("hdi_", "HDI "), "r_hat": "R-hat"}
    heads |= {"mcse_mean": "MCSE", "ess_bulk": "bulk ESS", "ess_tail": "tail ESS"}
    limits = _limits(run)
    rows = []
    for name, row in zip(map(str, table.index), table[columns].to_dict("records"), strict=True):
        cells = [_cell(column, row[column], row.get("sd"), limits) for column in columns]
        rows.append({"name": name, "shown": shorten(name, 40), "cells": cells})
    note = ""
    if run.scalars > len(table):
        note = f"The first {len(table)} of {run.scalars:,} rows; all are in summary.csv."
    return {
        "title": "Prior" if _is_prior(run) else "Posterior",
        "heads": ["parameter", *(heads.get(column, column) for column in columns)],
        "rows": rows,
        "note": note,
    }


def _limits(run: StoredRun) -> Mapping[str, Sequence[float]]:
    found = run.section("diagnostics").get("thresholds")
    return found if isinstance(found, Mapping) else {}


def _cell(column: str, value: float, sd: float | None, limits: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    severity = ""
    if column == "r_hat":
        text = plain(value) if value != value else f"{value:.3f}"
        warn, fail = limits.get("r_hat", (float("inf"), float("inf")))
        severity = "fail" if value > fail else "warn" if value > warn else ""
    elif column.startswith("ess"):
        text = count(value)
        warn, fail = limits.get("ess", (0, 0))
        severity = "fail" if value < fail else "warn" if value < warn else ""
    elif column == "mcse_mean":
        text = plain(value, 2)
    else:
        text = to_error(value, sd)
    return {"text": text, "value": repr(float(value)), "severity": severity}


def _densities(run: StoredRun) -> tuple[list[SmallDensity], bool]:
    posterior, prior = run.group("posterior"), run.group("prior")
    if posterior is None or _is_prior(run):
        return [], False
    try:
        return small_densities(posterior, prior), prior is not None
    except Exception:  # a picture must not cost the page
        log.debug("no small densities", exc_info=True)
        return [], False


def _predictive(run: StoredRun, figures: Mapping[str, Any]) -> dict[str, Any]:
    metrics, facts = run.metrics, []
    worst = _severities(run)
    if "elpd_loo" in metrics:
        facts.append(_elpd(metrics))
        if "p_loo" in metrics:
            facts.append(Fact("effective parameters (p LOO)", f"{metrics['p_loo']:.1f}"))
        if "pareto_k_max" in metrics:
            facts.append(Fact("largest Pareto k", f"{metrics['pareto_k_max']:.2f}", "", worst.get("loo", "")))
    if "elpd_waic" in metrics:
        facts.append(Fact("elpd (WAIC)", signed(f"{metrics['elpd_waic']:.1f}")))
    told = [str(one["message"]) for one in run.findings if one["check"] == "loo"]
    return {
        "facts": facts,
        "sentence": marked(told[0]) if told else "",
        "figures": [figures[name] for name in _PREDICTIVE if name in figures],
    }


def _figures(run: StoredRun, pictures: Pictures) -> tuple[dict[str, dict[str, str]], list[str]]:
    """Return the figures that the page has room for, and the names of the others."""
    shown, left_out, room = dict[str, dict[str, str]](), list[str](), _BYTES
    for name, path in run.figures.items():
        size = path.stat().st_size
        if size > room:
            left_out.append(name)
            continue
        room -= size
        caption, title = _CAPTIONS.get(name, ""), name.replace("_", " ")
        alt = f"{title}: {caption}" if caption else f"Figure {title}"
        shown[name] = {"title": title, "alt": alt, "caption": caption, "source": pictures.add(path.read_bytes())}
    return shown, left_out


def _left_out(run: StoredRun, large: Sequence[str]) -> Iterator[str]:
    if large:
        yield f"Only in the folder figures/, so that the page stays small: {listed(large, 20)}."
    wanted = [str(name) for name in run.section("model").get("figures") or ()]
    missing = [name for name in wanted if name not in run.figures]
    if missing and run.summary is not None:
        yield f"Not drawn: {listed(missing, 20)}; run.log has the reasons."


# ---------------------------------------------------------------- sampler and provenance


def _settings(run: StoredRun) -> Iterator[tuple[str, str]]:
    for name, value in run.section("sampler").items():
        if value is not None and value != {} and name != "progress":
            pairs = [f"{key}: {each}" for key, each in value.items()] if isinstance(value, Mapping) else [str(value)]
            yield str(name), ", ".join(pairs)
    metrics = run.metrics
    if "accept_mean" in metrics:
        yield "mean acceptance", f"{metrics['accept_mean']:.2f}"
    if "seconds_compile" in metrics:
        yield "compiling", seconds(metrics["seconds_compile"])
    if "seconds_sample" in metrics:
        rate = metrics.get("ess_per_second")
        speed = f", {count(rate)} effective draws per second" if rate else ""
        yield "sampling", seconds(metrics["seconds_sample"]) + speed


def _steps(run: StoredRun) -> list[tuple[str, str]]:
    """Return the variables of each step."""
    by_step: dict[str, list[str]] = {}
    for variable, step in (run.provenance.get("steps") or {}).items():
        by_step.setdefault(str(step), []).append(_TRANSFORM.sub("", str(variable)))
    return [(step, listed(names, _STEPPED)) for step, names in by_step.items()]


def _command(run: StoredRun) -> str:
    words = run.provenance.get("command_line") or ()
    words = [str(word) for word in words]
    if len(words) > 1 and words[1].endswith("__main__.py"):
        words = ["python", "-m", "bayesrun", *words[2:]]
    return shlex.join(words)


def _provenance(run: StoredRun) -> Iterator[tuple[str, Any]]:
    found = run.provenance
    commit, diff = found.get("git_commit"), found.get("git_diff")
    pairs: list[tuple[str, Any]] = [
        ("run folder", str(run.folder)),
        ("started", when(found.get("started"))),
        ("ended", when(found.get("ended"))),
        ("seed", found.get("seed")),
        ("data digest", found.get("data_digest")),
        ("config digest", found.get("config_digest")),
        ("git commit", f"{commit} with uncommitted changes" if commit and diff else commit),
        ("machine", ", ".join(str(found[k]) for k in ("host", "platform") if found.get(k))),
        ("processors", found.get("cpus")),
        ("compiler", found.get("compiler")),
        ("python", found.get("python")),
        ("packages", ", ".join(f"{name} {v}" for name, v in (found.get("packages") or {}).items() if v)),
    ]
    return ((name, str(value)) for name, value in pairs if value not in (None, ""))
