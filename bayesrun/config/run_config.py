"""The parsed config: all settings of a run, checked once and frozen.

`parse_config` takes what was composed, resolves interpolations and reports every problem at once. It imports nothing
heavy, so that a wrong key is reported within a fraction of a second.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, field_validator

from bayesrun.config.hydra_internals import TooManyInterpolations, count_interpolations
from bayesrun.data.base import GENERATORS, SOURCES, DataSpec
from bayesrun.data.section import PredictSpec, parse_data, parse_rows
from bayesrun.diagnostics.base import CHECKS, INTERVAL, DiagnosticsSpec
from bayesrun.engines.base import ENGINES, EngineSpec, check_engine
from bayesrun.errors import Problem, UserError, check, did_you_mean
from bayesrun.figures.base import FIGURES
from bayesrun.language.densities.base import DENSITIES
from bayesrun.language.prior_checks import check_prior
from bayesrun.models.base import MODELS, ModelSpec, ModelType
from bayesrun.models.functions.base import FUNCTIONS
from bayesrun.models.regression.families import FAMILIES
from bayesrun.redaction import redact_value, remember_config
from bayesrun.registry import Registry
from bayesrun.samplers.base import SAMPLERS, SamplerSpec
from bayesrun.schema import Section, join, parse
from bayesrun.tracking.base import TRACKERS, TrackingSpec

REGISTRIES: tuple[Registry[Any], ...] = (
    MODELS,
    FAMILIES,
    FUNCTIONS,
    SOURCES,
    GENERATORS,
    SAMPLERS,
    ENGINES,
    CHECKS,
    FIGURES,
    TRACKERS,
    DENSITIES,
)


class PredictiveSpec(Section):
    """Keys of `predictive`.

    Parameters
    ----------
    prior
        Prior predictive draws; 0 = none.
    posterior
        Whether each likelihood is drawn once per posterior draw.
    """

    prior: Annotated[int, Field(ge=0, le=10_000_000)] = 500
    posterior: bool = True


class StoreSpec(Section):
    """What the run folder keeps.

    Parameters
    ----------
    variables
        Variables of the posterior to keep; null = all.
    exclude
        Variables to leave out.
    groups
        Groups of `posterior.nc` to keep beside the posterior.
    float32_above
        Variables with more numbers than this are stored in single precision.
    compression
        Level of zlib's compression of all numbers in `posterior.nc`, 0 = none; null = whole numbers at level 1, real
        ones not: their digits are random, so that a file gets a sixth smaller in six times the time.
    model
        Whether the fit is also kept as an MLflow model.
    """

    variables: list[str] | None = None
    exclude: list[str] = []
    groups: list[str] = [
        "sample_stats",
        "log_likelihood",
        "loo",
        "observed_data",
        "constant_data",
        "prior",
        "prior_predictive",
        "posterior_predictive",
    ]
    float32_above: Annotated[int, Field(ge=0)] = 1_000_000
    compression: Annotated[int, Field(ge=0, le=9)] | None = None
    model: bool = True


class PathsSpec(Section):
    """Where files are.

    Parameters
    ----------
    root
        Folder of the project.
    data
        Where relative paths of data begin.
    outputs
        Run folders, sweeps and the tracking store.
    """

    root: Path
    data: Path
    outputs: Path


class TopSpec(Section):
    """Keys at the top of the config that belong to no group.

    Parameters
    ----------
    seed
        The same config and seed give the same draws.
    name
        Name of the run; null = made from the model and the overrides.
    experiment_name
        Experiment in MLflow.
    tags
        Further tags of the run, `{tag: value}`.
    plugins
        Installed packages whose registrations are loaded.
    report
        Whether `report.html` is written.
    intervals
        Probability inside every interval in tables and figures.
    """

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 8927
    name: str | None = None
    experiment_name: str
    tags: dict[str, str | int | float | bool | None] = {}
    plugins: list[str] = []
    report: bool = True
    intervals: Annotated[float, Field(gt=0, lt=1)] = INTERVAL

    @field_validator("tags", mode="before")
    @classmethod
    def _single_values(cls, tags: Any) -> Any:
        for name, value in tags.items() if isinstance(tags, Mapping) else ():
            if isinstance(value, Mapping | list):
                raise ValueError(f"tag '{name}' must be a text, a number, true or false")
        return tags


@dataclass(frozen=True)
class RunConfig:
    """A run's config, parsed. Fields are the groups; `plain` is all of it, resolved, as plain values."""

    top: TopSpec
    model: ModelSpec
    model_type: ModelType
    data: DataSpec | None
    sampler: SamplerSpec
    engine: EngineSpec
    diagnostics: DiagnosticsSpec
    tracking: TrackingSpec
    predictive: PredictiveSpec
    store: StoreSpec
    paths: PathsSpec
    plain: Mapping[str, Any]
    predict: PredictSpec = field(default_factory=PredictSpec)


SECTIONS: dict[str, type[Section]] = {
    "engine": EngineSpec,
    "diagnostics": DiagnosticsSpec,
    "tracking": TrackingSpec,
    "predictive": PredictiveSpec,
    "store": StoreSpec,
    "paths": PathsSpec,
}
"""Groups whose keys are always the same."""

CHOSEN: dict[str, tuple[str, str | None, Registry[Any]]] = {
    "model": ("type", None, MODELS),
    "data": ("source", None, SOURCES),
    "sampler": ("method", "nuts", SAMPLERS),
}
"""Groups whose keys depend on a name in them: its key, its default, and where it is registered."""

_GROUPS = ("model", "data", "predict", "sampler", *SECTIONS)


def parse_config(composed: DictConfig) -> RunConfig:
    """Check and parse what Hydra composed.

    Parameters
    ----------
    composed
        The composed config, defaults filled in; Hydra's own node is passed over.

    Returns
    -------
    RunConfig
        The parsed config.

    Raises
    ------
    UserError
        With every problem found, each with its key.
    """
    problems: list[Problem] = []
    count_interpolations()
    raw = _resolve(composed, problems)
    remember_config(raw)
    if not isinstance(raw.get("model"), Mapping) or "name" not in raw["model"]:
        problems = [p for p in problems if p.key != "experiment_name"]  # only the model is wrong
    check(problems)
    check(_too_large(raw, ""))  # what follows takes numbers and texts for what they are
    problems = unknown_top_keys(raw) + _unknown_names(raw)
    parsed = _sections(raw, problems)
    check(problems)
    return RunConfig(**parsed, plain=_plain(parsed))


def _sections(raw: Mapping[str, Any], problems: list[Problem]) -> dict[str, Any]:
    parsed: dict[str, Any] = {name: parse(s, _given(raw, name), name, problems) for name, s in SECTIONS.items()}
    top = {k: v for k, v in raw.items() if k in TopSpec.model_fields}
    parsed["top"] = parse(TopSpec, {"experiment_name": "", **top}, "", problems)
    problems += _tracking_problems(parsed["tracking"])
    parsed["model_type"], parsed["model"] = _parse_model(raw.get("model"), problems)
    parsed["sampler"] = _parse_sampler(_given(raw, "sampler"), problems)
    problems += check_engine(parsed["engine"]) if parsed["engine"] else []
    parsed["data"] = _parse_data(raw.get("data"), parsed["paths"], problems)
    parsed["predict"] = parse_rows(raw.get("predict"), parsed["paths"].data if parsed["paths"] else Path(), problems)
    return parsed


def _tracking_problems(spec: TrackingSpec | None) -> list[Problem]:
    if spec is None:
        return []
    try:
        found = TRACKERS.load(spec.backend, "tracking.backend").check(spec)
    except UserError as error:
        return list(error.problems)
    return [Problem(f"tracking.{key}", message, hint) for key, message, hint in found]


def _too_large(node: Any, key: str) -> list[Problem]:
    """Refuse numbers and texts of a size that no model needs: they would fail much later, or fill the memory."""
    if key == "tags" and isinstance(node, Mapping) and len(node) > _MAX_TAGS:
        return [Problem(key, f"has {len(node):,} tags; a run may have {_MAX_TAGS}", "put tables into files")]
    if isinstance(node, Mapping):
        long = [Problem(join(key, [str(k)]), _TOO_LONG.format(len(str(k)), _MAX_NAME)) for k in node if _is_long(k)]
        return long + [p for k, v in node.items() for p in _too_large(v, join(key, [str(k)])) if not _is_long(k)]
    if isinstance(node, list):
        return [problem for index, value in enumerate(node) for problem in _too_large(value, join(key, [index]))]
    if isinstance(node, int) and abs(node) >= 2**63:
        estimate = int(abs(node).bit_length() * math.log10(2)) + 1
        digits = estimate if estimate > 4000 else len(str(abs(node)))  # Python refuses to write out more than 4,300
        return [Problem(key, f"is a number of {digits:,} digits; whole numbers may have 18")]
    most = _MAX_NAME if key in _NAMES else _MAX_TEXT
    if isinstance(node, str) and len(node) > most:
        return [Problem(key, _TOO_LONG.format(len(node), most))]
    if isinstance(node, str) and key in _NAMES and (safe := redact_value(node)) != node:
        return [Problem(key, f"holds a secret: '{safe}'", "choose another name: folders, tables and MLflow show it")]
    return []


def _is_long(key: Any) -> bool:
    return len(str(key)) > _MAX_NAME


_MAX_NAME, _MAX_TEXT, _MAX_TAGS = 200, 20_000, 500
_TOO_LONG = "has {:,} characters; it may have {:,}"
_NAMES = ("name", "experiment_name", "model.name", "data.name")


def _given(raw: Mapping[str, Any], name: str) -> Any:
    return {} if raw.get(name) is None else raw[name]


def _plain(parsed: Mapping[str, Any]) -> dict[str, Any]:
    """All keys with their values, defaults too, in the order in which they are read."""
    groups = {name: parsed[name] for name in ("top", *_GROUPS)}
    plain = {name: None if section is None else section.model_dump(mode="json") for name, section in groups.items()}
    return {**(plain.pop("top") or {}), **plain}


def _unknown_names(raw: Mapping[str, Any]) -> list[Problem]:
    """Look up names in registries, whatever else is wrong; the section reports a value that is not a list."""
    problems = []
    for group, key, registry in (("model", "figures", FIGURES), ("diagnostics", "checks", CHECKS)):
        section = raw.get(group)
        names = section.get(key) if isinstance(section, Mapping) else None
        for index, name in enumerate(names if isinstance(names, list) else []):
            if name not in registry.names() and isinstance(name, str):
                hint = did_you_mean(name, registry.names())
                problems.append(Problem(f"{group}.{key}[{index}]", f"unknown {registry.kind} '{name}'", hint))
    return problems


def unknown_top_keys(raw: Mapping[str, Any]) -> list[Problem]:
    """Return the keys at the top of a config that nothing reads."""
    allowed = {*TopSpec.model_fields, *_GROUPS, *EXTRA_GROUPS}
    return [Problem(k, f"unknown key '{k}'", did_you_mean(str(k), allowed)) for k in raw if k not in allowed]


EXTRA_GROUPS: tuple[str, ...] = ("sweep", "resume", "force", "fail_fast", "cluster", "task", "run", "runs")
"""Keys that the layers above read: the sweep's, and what a command does with which runs."""


def _parse_model(raw: Any, problems: list[Problem]) -> tuple[ModelType | None, ModelSpec | None]:
    if not isinstance(raw, Mapping) or "type" not in raw:
        problems.append(Problem("model.type", "is required but missing", f"allowed: {', '.join(MODELS.names())}"))
        return None, None
    try:
        kind = MODELS.load(str(raw["type"]), "model.type")
    except UserError as error:
        problems += error.problems
        return None, None
    spec = parse(kind.spec, raw, "model", problems)
    problems += _prior_problems(raw.get("priors") or {}, kind)
    known = {key: value for key, value in raw.items() if key in kind.spec.model_fields}
    checked = spec or parse(kind.spec, known, "model", [])  # a mistyped key must not hide other problems
    problems += kind.static_check(checked) if checked else []
    return kind, spec


def _prior_problems(priors: Any, kind: ModelType) -> list[Problem]:
    if not isinstance(priors, Mapping):
        return []  # the spec reports it already
    names, problems = kind.priors, []
    for name in names.required:
        if name not in priors:
            problems.append(Problem(f"model.priors.{name}", "is required but missing", "add {dist: ..., ...}"))
    for name, prior in priors.items():
        if not names.open and name not in (*names.required, *names.optional):
            hint = did_you_mean(str(name), (*names.required, *names.optional))
            problems.append(Problem(f"model.priors.{name}", f"unknown prior '{name}'", hint))
        elif name not in names.nested and not (isinstance(prior, Mapping) and prior.get("dist") in names.joint):
            problems += check_prior(f"model.priors.{name}", prior)
    return problems


def _parse_sampler(raw: Any, problems: list[Problem]) -> SamplerSpec | None:
    method = raw.get("method", "nuts") if isinstance(raw, Mapping) else "nuts"
    try:
        spec = SAMPLERS.load(str(method), "sampler.method").spec
    except UserError as error:
        problems += error.problems
        return None
    return parse(spec, raw, "sampler", problems)


def _parse_data(raw: Any, paths: PathsSpec | None, problems: list[Problem]) -> DataSpec | None:
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        problems.append(Problem("data", f"must be a mapping (got {raw!r})", "choose one with data=NAME"))
        return None
    return parse_data(raw, paths.data if paths else Path(), problems)


def _resolve(config: DictConfig, problems: list[Problem]) -> dict[str, Any]:
    return {str(key): _resolve_node(config, key, problems) for key in config if key != "hydra"}


def _resolve_node(config: DictConfig, key: Any, problems: list[Problem]) -> Any:
    try:
        node = config[key]
        return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    except OmegaConfBaseException as error:
        where = getattr(error, "full_key", None) or str(key)
        too_many = isinstance(error, TooManyInterpolations)
        hint = "write the values out" if too_many else "an interpolation ${...} must name a key of the config"
        problems.append(Problem(str(where), str(error.msg or error).splitlines()[0], hint))
        return None
