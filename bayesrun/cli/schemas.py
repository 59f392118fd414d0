"""JSON Schemas of the YAML files that users write, made from the classes that parse them.

    bayesrun schema model                  print one: model, data, sampler, ..., config
    bayesrun --config-dir DIR schema       write all of them into DIR/.schemas

Editors complete and check a file that names its schema (draft 7) in a comment of the YAML language server. Sections of
which a name decides the keys (`model.type`, `data.source`, `sampler.method`) are unions by that name; descriptions are
those of the docstrings. A file may leave any key to the files of its `defaults`; any value may be an interpolation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from bayesrun.cli.key_docs import comments_in, documented
from bayesrun.config.resolvers import conf
from bayesrun.config.run_config import CHOSEN, REGISTRIES, SECTIONS, TopSpec
from bayesrun.data.base import GENERATORS
from bayesrun.data.section import PredictSpec
from bayesrun.diagnostics.base import CHECKS
from bayesrun.engines.base import ENGINES
from bayesrun.errors import check, did_you_mean, fail
from bayesrun.figures.base import FIGURES
from bayesrun.language.distributions import Distribution, distributions, known_family, truncatable
from bayesrun.language.hidden_markov import HIDDEN_MARKOV
from bayesrun.language.linear_gaussian import COMPONENTS, LINEAR_GAUSSIAN, MAX_PERIOD
from bayesrun.language.prior_checks import MARGINAL, OPTIONS, PARAMETERIZATIONS, TRANSFORMS
from bayesrun.models.base import MODELS, ModelType
from bayesrun.models.functions.base import FUNCTIONS
from bayesrun.models.regression.families import FAMILIES
from bayesrun.registry import Registry, load_plugins
from bayesrun.schema import Section
from bayesrun.sweeps.base import Steering, SweepSpec
from bayesrun.tasks.base import TASKS
from bayesrun.tracking.base import TRACKERS

Schema = dict[str, Any]

FOLDER = ".schemas"
_DRAFT = "http://json-schema.org/draft-07/schema#"
_REF = "#/$defs/{}"
_INTERPOLATION = {"$ref": _REF.format("interpolation")}
_MODE: JsonSchemaMode = "validation"
_FILES = ("diagnostics", "tracking", "store", "paths")
"""Groups of files whose keys are always the same."""
_NAMES: Mapping[tuple[str, str], Registry[Any]] = {
    ("ModelSpec", "figures"): FIGURES,
    ("ModelSpec", "type"): MODELS,
    ("RegressionSpec", "family"): FAMILIES,
    ("SimulateSpec", "generator"): GENERATORS,
    ("DiagnosticsSpec", "checks"): CHECKS,
    ("EngineSpec", "name"): ENGINES,
    ("TrackingSpec", "backend"): TRACKERS,
    ("SweepSpec", "figures"): FIGURES,
}
"""Keys whose values are registered names, by the class that has them."""


def kinds() -> list[str]:
    """Return the kinds of files that have a schema: config groups, and `config`, which holds all of them."""
    return [*CHOSEN, *_FILES, "config"]


def schema_of(kind: str, plugins: Sequence[str] = ()) -> Schema:
    """Return the JSON Schema of one kind of file.

    Parameters
    ----------
    kind
        A config group, or `config` for whole configs: experiments, and the `config.yaml` of a run.
    plugins
        Installed packages whose registrations are known to it.

    Raises
    ------
    UserError
        When there is no such kind, or a plug-in can't be loaded.
    """
    if kind not in kinds():
        raise fail("schema", f"there is no schema '{kind}'", did_you_mean(kind, kinds()))
    check(load_plugins(plugins, REGISTRIES))
    definitions, of_section = _definitions()
    whole = _config(of_section) if kind == "config" else dict(of_section[kind])
    for each in [whole, *(of for name, of in definitions.items() if name.startswith(f"{kind}."))]:
        each["properties"] = {**each["properties"], "defaults": _DEFAULTS}
    if kind in CHOSEN:
        names = {"enum": [*whole["propertyNames"]["enum"], "defaults"]}
        whole |= {"allOf": [*whole["allOf"], _needed(kind)], "propertyNames": names}
    title = {"title": f"bayesrun: {kind}", "description": f"A file of the config group {kind}."}
    title |= {"description": "A whole config, or a part of one."} if kind == "config" else {}
    used = _used(whole, definitions)
    return {"$schema": _DRAFT, **title, **whole, "$defs": {name: definitions[name] for name in sorted(used)}}


def write(folder: Path, plugins: Sequence[str] = ()) -> list[Path]:
    """Write all schemas into a config folder; return the files."""
    schemas = {kind: schema_of(kind, plugins) for kind in kinds()}
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    files = []
    for kind, schema in schemas.items():
        files.append(folder / FOLDER / f"{kind}.json")
        files[-1].write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")
    return files


def header(kind: str) -> str:
    """Return the comment by which a file in DIR/KIND names its schema."""
    return f"# yaml-language-server: $schema=../{FOLDER}/{kind}.json"


# ---------------------------------------------------------------- from classes


class _Generator(GenerateJsonSchema):
    """Pydantic's schemas, with descriptions of keys, null for what may be empty, and interpolations."""

    def model_schema(self, schema: Any) -> Schema:
        made = super().model_schema(schema)
        cls = schema["cls"]
        words = documented(cls)
        made["description"] = (cls.__doc__ or "").partition("\n")[0]
        made.pop("title", None)
        made.pop("required", None)
        for name, key in made.get("properties", {}).items():
            made["properties"][name] = _key(cls, name, key, words.get(name, ""))
        return made


def _key(cls: type[Section], name: str, key: Schema, words: str) -> Schema:
    default = cls.model_fields[name].get_default(call_default_factory=True)
    key = {k: v for k, v in key.items() if k not in ("title", "default")}
    registry = next((r for (owner, of), r in _NAMES.items() if of == name and _is_a(cls, owner)), None)
    if registry is not None:
        key = _of_names(key, registry.names())
    options = [key]
    if isinstance(default, dict | list | Section):
        options.append({"type": "null"})
    if not _takes_text(key):
        options.append(_INTERPOLATION)
    made: Schema = {"anyOf": options} if len(options) > 1 else key
    made = {"description": words, **made} if words else made
    is_plain = not cls.model_fields[name].is_required() and not isinstance(default, Section)
    return {**made, "default": default} if is_plain else made


def _is_a(cls: type[Section], owner: str) -> bool:
    return any(each.__name__ == owner for each in cls.__mro__)


def _of_names(key: Schema, names: Sequence[str]) -> Schema:
    """Restrict a text, or the texts of a list, to names."""
    if "anyOf" in key:
        return {**key, "anyOf": [_of_names(each, names) for each in key["anyOf"]]}
    if key.get("type") == "array":
        return {**key, "items": {"enum": list(names)}}
    return {"enum": list(names)} if key.get("type") == "string" else key


def _takes_text(key: Schema) -> bool:
    if "anyOf" in key:
        return any(map(_takes_text, key["anyOf"]))
    return key.get("type") == "string" and "enum" not in key


def _definitions() -> tuple[dict[str, Schema], dict[str, Schema]]:
    """Return all definitions by name, and the schema of each section by its name."""
    chosen = {
        (group, name): registry.load(name, f"{group}.{key}")
        for group, (key, _, registry) in CHOSEN.items()
        for name in registry.names()
    }
    generators = {name: GENERATORS.load(name, "data.generator").parameters for name in GENERATORS.names()}
    fixed: dict[str, type[Section]] = {**SECTIONS, "predict": PredictSpec, "sweep": SweepSpec}
    fixed |= {"top": TopSpec, "steering": Steering}
    classes = [*(entry.spec for entry in chosen.values()), *generators.values(), *fixed.values()]
    modes = [(cls, _MODE) for cls in dict.fromkeys(classes)]
    made, found = models_json_schema(modes, ref_template="#/$defs/{model}", schema_generator=_Generator)
    definitions: dict[str, Schema] = {**found["$defs"], **_of_priors()}
    at = {cls: schema["$ref"].removeprefix("#/$defs/") for (cls, _), schema in made.items()}
    for (group, name), entry in chosen.items():
        definitions[f"{group}.{name}"] = _with_own_keys(definitions[at[entry.spec]], name, entry, generators, at)
    sections = {name: definitions[at[cls]] for name, cls in fixed.items()}
    sections |= {group: _union(group, definitions) for group in CHOSEN}
    return definitions, sections


def _with_own_keys(
    schema: Schema, name: str, entry: Any, generators: Mapping[str, type[Section]], at: Mapping[type, str]
) -> Schema:
    """Return the schema of one model type, source or method, with what its class leaves open."""
    properties = dict(schema["properties"])
    made = {**schema, "properties": properties}
    if isinstance(entry, ModelType):
        properties["priors"] = {"description": properties["priors"]["description"], **_priors_of(entry)}
        if "likelihood" in properties:
            of = {"type": ["object", "null"], "additionalProperties": {"$ref": _REF.format("likelihood")}}
            properties["likelihood"] = {"description": properties["likelihood"]["description"], **of}
        if name == "arbitrary_deterministic":
            function = {"properties": {"function": {"enum": FUNCTIONS.names()}}}
            properties["options"] = {**properties["options"], "allOf": [{"if": {"type": "object"}, "then": function}]}
    if "generator" in properties:
        parameters = {g: {"anyOf": [{"$ref": _REF.format(at[c])}, {"type": "null"}]} for g, c in generators.items()}
        made["allOf"] = [_if("generator", g, {"properties": {"parameters": p}}) for g, p in parameters.items()]
    return made


def _union(group: str, definitions: Mapping[str, Schema]) -> Schema:
    """Return the union of what a group may hold, by the name that decides it."""
    key, default, registry = CHOSEN[group]
    names = registry.names()
    of = {name: definitions[f"{group}.{name}"]["properties"] for name in names}
    words = of[names[0]][key]["description"]
    any_key = sorted({each for properties in of.values() for each in properties})
    made = [_if(key, name, {"$ref": _REF.format(f"{group}.{name}")}) for name in names]
    return {
        "type": "object",
        "properties": {key: {"description": words, "enum": names, **({"default": default} if default else {})}},
        "propertyNames": {"enum": any_key},
        "allOf": made,
    }


def _if(key: str, value: str, then: Schema) -> Schema:
    return {"if": {"properties": {key: {"const": value}}, "required": [key]}, "then": then}


def _needed(group: str) -> Schema:
    """A file that builds on no other one must have a name, and what decides its keys."""
    key, default, registry = CHOSEN[group]
    needed = [] if default else ["name", key]
    parts: list[Schema] = [{"required": needed}]
    for name in registry.names():
        fields = registry.load(name, f"{group}.{key}").spec.model_fields
        required = [each for each, field in fields.items() if field.is_required()]
        parts.append(_if(key, name, {"required": required}))
    return {"if": {"not": {"required": ["defaults"]}}, "then": {"allOf": parts}}


_DEFAULTS: Schema = {
    "description": "Files that this one builds on, and their place among its own keys (_self_)",
    "type": "array",
    "items": {"anyOf": [{"type": "string"}, {"type": "object"}]},
}


_MEANING = {"model": "What is fitted", "data": "The data that it is fitted to", "sampler": "How it is sampled"}


def _config(of_section: Mapping[str, Schema]) -> Schema:
    top, steering = of_section["top"]["properties"], of_section["steering"]["properties"]
    comments = comments_in(conf() / "main.yaml")
    groups = {name: of_section[name] for name in ("sampler", *SECTIONS, "predict", "sweep")}
    groups |= {name: {"anyOf": [of_section[name], {"type": "null"}]} for name in ("model", "data")}
    groups = {name: {"description": _MEANING.get(name, ""), **schema} for name, schema in groups.items()}
    text = {"type": ["string", "null"]}
    others: Schema = {
        "task": {"enum": ["run", *TASKS.names()]},
        "run": text,
        "runs": {"type": ["array", "null"], "items": {"type": "string"}},
        **{name: {k: v for k, v in steering[name].items()} for name in steering if name != "sweep"},
    }
    properties = {
        **top,
        **groups,
        **{name: {"description": comments[name], **schema} for name, schema in others.items()},
        "hydra": {"description": "Settings of Hydra: mode, sweeper, launcher, folders", "type": "object"},
    }
    return {"type": ["object", "null"], "properties": properties, "additionalProperties": False}


# ---------------------------------------------------------------- priors and likelihoods

_VALUE: Schema = {"type": ["number", "string", "boolean", "array", "null"]}
_NUMBERS = ("real", "positive", "nonnegative", "unit", "simplex", "count", "size", "integer", "matrices", "number")
"""Domains of parameters whose values are numbers or expressions; the others may have a form of their own."""
_OBSERVED: Schema = {
    "observed": {"description": "The data variable that it explains", "type": "string"},
    "weights": {"description": "Times the log likelihood of each row", "type": ["string", "number", "null"]},
    "observed_if": {
        "description": "condition that holds for the rows that are observed",
        "type": ["string", "number", "null"],
    },
    "censored": {"description": "{status: column}, or limits {lower: ..., upper: ...}", "type": ["object", "null"]},
    "truncated": {"description": "{lower: ..., upper: ...}: no rows beyond them", "type": ["object", "null"]},
}
_OF_HIDDEN_MARKOV: Schema = {
    "transition": {"description": "Probabilities from each state to each state", **_VALUE},
    "initial": {"description": "Probabilities of the states in the first row", **_VALUE},
    "emission": {
        "description": "Distribution of a row, with parameters over the states; or a list of them",
        "anyOf": [{"$ref": "#/$defs/prior"}, {"type": "array", "items": {"type": "object", "required": ["dist"]}}],
    },
    "dims": {"description": "Dim of the states", "type": ["array", "string", "null"]},
}
_OF_COMPONENTS: Mapping[str, Schema] = {
    "sd": {"description": "Sd of the change from row to row", **_VALUE},
    "init": {
        "description": "What is known of it at the first row: a normal distribution, or a value",
        "anyOf": [{"$ref": "#/$defs/prior"}, _VALUE],
    },
    "period": {"description": "Rows until effects repeat", "type": "integer", "minimum": 2, "maximum": MAX_PERIOD},
    "rho": {"description": "Coefficients of the rows before", **_VALUE},
}
_COMPONENT_WORDS = {
    "level": "Random walk about which observations lie",
    "trend": "Slope of the level, which is a random walk, too",
    "seasonal": "Effects that repeat after a period, and sum to 0 but for their change",
    "ar": "Autoregression",
}
_OF_LINEAR_GAUSSIAN: Schema = {
    **{
        name: {
            "description": _COMPONENT_WORDS[name],
            "type": ["object", "null"],
            "properties": {key: _OF_COMPONENTS[key] for key in keys},
            "propertyNames": {"enum": [*keys]},
        }
        for name, keys in COMPONENTS.items()
    },
    "mu": {"description": "What the components are added to", **_VALUE},
    "sigma": {"description": "Sd of an observation about the components", **_VALUE},
    "steps": {"description": "Times of the rows", **_VALUE},
}
SUMMED_OUT: Mapping[str, tuple[str, Schema]] = {
    HIDDEN_MARKOV: ("likelihood of a series in hidden states", _OF_HIDDEN_MARKOV),
    LINEAR_GAUSSIAN: ("likelihood of a series that is a sum of components that move", _OF_LINEAR_GAUSSIAN),
    MARGINAL: (
        "prior of a discrete variable",
        {"of": {"description": "Distribution of the variable that is summed out", "$ref": "#/$defs/prior"}},
    ),
}
"""Values of `dist` whose variable is summed out, and drawn afterwards: what each is, and the schemas of its keys."""
_OF_OPTIONS: Mapping[str, Schema] = {
    "dims": {"description": "Dims by name", "type": ["array", "string", "null"]},
    "shape": {"description": "Sizes of axes, labelled 0, 1, ...", "type": ["integer", "array", "string", "null"]},
    "initval": {"description": "Initial value", "type": ["number", "array", "string", "null"]},
    "transform": {"description": "How it is transformed for sampling", "enum": [*TRANSFORMS, None]},
    "parameterization": {"description": "How it is sampled", "enum": [*PARAMETERIZATIONS, None]},
}


def _of_priors() -> dict[str, Schema]:
    """Return the definitions of a prior and of a likelihood: unions by the name of the distribution."""
    assert set(_OF_OPTIONS) == set(OPTIONS)
    found: dict[str, Schema] = {"interpolation": {"type": "string", "pattern": r"\$\{"}}
    kinds_of: Mapping[str, Schema] = {"prior": {}, "likelihood": _OBSERVED}
    for kind, extra in kinds_of.items():
        cases, keys = [], {"dist", *extra}
        for name in distributions():
            properties = {**_parameters(known_family(name)), **extra}
            keys |= set(properties)
            allowed = {"propertyNames": {"enum": ["dist", *properties]}, "properties": properties}
            cases.append(_if("dist", name, allowed))
        names = distributions()
        if kind == "likelihood":
            for name in (HIDDEN_MARKOV, LINEAR_GAUSSIAN):
                names = [*names, name]
                own = {**SUMMED_OUT[name][1], **extra}
                keys |= set(own)
                cases.append(_if("dist", name, {"propertyNames": {"enum": ["dist", *own]}, "properties": own}))
        else:
            names = [*names, MARGINAL]
            keys.add("of")
            summed: Schema = {"propertyNames": {"enum": ["dist", "of"]}, "properties": SUMMED_OUT[MARGINAL][1]}
            summed["required"] = ["of"]
            cases.append(_if("dist", MARGINAL, summed))
        dist = {"description": "Name of the distribution", "enum": names}
        found[kind] = {
            "type": "object",
            "properties": {"dist": dist},
            "propertyNames": {"enum": sorted(keys)},
            "allOf": cases,
        }
    return found


def _parameters(known: Distribution) -> dict[str, Schema]:
    inner = {"$ref": _REF.format("prior")}
    found: dict[str, Schema] = {}
    nested: Mapping[str, Schema] = {
        "distribution": {"anyOf": [inner, {"type": "null"}]},
        "distributions": {"type": "array", "items": inner},
    }
    for parameter in known.parameters.values():
        of = nested.get(parameter.domain, _VALUE if parameter.domain in _NUMBERS else {})
        found[parameter.name] = {"description": f"{known.name}: {parameter.domain}{'[]' * parameter.axes}", **of}
    if truncatable(known):
        found |= {each: {"description": f"{each.title()} limit of the truncated distribution", **_VALUE}
                  for each in ("lower", "upper")}  # fmt: skip
    return {**found, **_OF_OPTIONS}


def _priors_of(kind: ModelType) -> Schema:
    """Return the schema of a model type's priors: by name, and open where the type is."""
    names = kind.priors
    prior: Schema = {"$ref": _REF.format("prior")}
    own: Schema = {"type": "object", "properties": {"dist": {"type": "string"}}, "required": ["dist"]}
    joint: Schema = {**own, "properties": {"dist": {"enum": [*names.joint]}}}
    one: Schema = {"anyOf": [prior, joint]} if names.joint else prior
    by_name: Schema = {"type": "object", "not": {"required": ["dist"]}, "additionalProperties": {"type": "object"}}
    nested: Schema = {"anyOf": [own, by_name, {"type": "null"}]}
    properties = {name: one for name in (*names.required, *names.optional)} | {name: nested for name in names.nested}
    return {
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": one if names.open else False,
    }


def _used(schema: Any, definitions: Mapping[str, Schema]) -> set[str]:
    """Return the definitions that a schema refers to, also through others."""
    found, todo = set[str](), [schema]
    while todo:
        node = todo.pop()
        if isinstance(node, Mapping):
            name = str(node.get("$ref", "")).removeprefix("#/$defs/")
            if name and name not in found:
                found.add(name)
                todo.append(definitions[name])
            todo += node.values()
        elif isinstance(node, list):
            todo += node
    return found
