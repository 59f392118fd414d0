"""What there is to choose from: the names of each kind, a line on each, and its keys with their defaults.

Everything is read from files (YAML, and the text of modules): nothing is imported that a name stands for, so that the
answer comes at once.
"""

from __future__ import annotations

import ast
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml

from bayesrun.cli.key_docs import comments_in, comments_of_section, documented, first_comment
from bayesrun.cli.schemas import SUMMED_OUT
from bayesrun.config.run_config import CHOSEN, SECTIONS, TopSpec
from bayesrun.data.base import SOURCES
from bayesrun.data.section import PredictSpec
from bayesrun.diagnostics.base import CHECKS
from bayesrun.errors import did_you_mean, fail
from bayesrun.figures.base import FIGURES
from bayesrun.invocation import command
from bayesrun.language.distributions import distributions, known_family
from bayesrun.models.regression.families import FAMILIES
from bayesrun.registry import Registry
from bayesrun.schema import Section
from bayesrun.sweeps.base import SweepSpec
from bayesrun.tasks.base import TASKS

_GROUP_OF = {"models": "model", "data": "data", "samplers": "sampler", "experiments": "experiment"}


@dataclass(frozen=True)
class Key:
    """A key of the config: its default, the values that it takes, and what it means."""

    key: str
    default: Any
    takes: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class Entry:
    """Something that has a name.

    Parameters
    ----------
    kind
        `model`, `data set`, `sampler`, ...
    name
        Its name.
    line
        What it is, in a line.
    use
        How it is chosen.
    keys
        Its keys, where it has some.
    """

    kind: str
    name: str
    line: str
    use: str = ""
    keys: tuple[Key, ...] = field(default=())


def kinds() -> list[str]:
    """Return the kinds of things that can be listed."""
    return list(_LISTS)


def listed(kind: str, folders: Sequence[Path]) -> list[Entry]:
    """Return everything of a kind, without keys.

    Parameters
    ----------
    kind
        `models`, `data`, `samplers`, ...
    folders
        Config folders: the shipped one and the user's.

    Raises
    ------
    UserError
        When there is no such kind.
    """
    if kind not in _LISTS:
        raise fail("list", f"there is no kind '{kind}'", did_you_mean(kind, kinds()))
    return _LISTS[kind](folders)


def described(name: str, folders: Sequence[Path]) -> list[Entry]:
    """Return everything that has a name, with its keys; a model and its data may have the same one.

    Raises
    ------
    UserError
        When nothing has that name.
    """
    found = [entry for kind in _LISTS for entry in _LISTS[kind](folders) if entry.name == name]
    found += [entry for entry in (*_sources(), *_sections()) if entry.name == name]
    if not found:
        names = {entry.name for kind in _LISTS for entry in _LISTS[kind](folders)} | {e.name for e in _sections()}
        near = did_you_mean(name, names).partition("allowed:")[0].strip()
        raise fail("describe", f"nothing is called '{name}'", f"{near} `{command('list', 'KIND')}` lists names".strip())
    return [_with_keys(entry, folders) for entry in found]


def as_json(entries: Sequence[Entry]) -> str:
    """Return entries as JSON."""
    return json.dumps([asdict(entry) for entry in entries], indent=1, default=str)


# ---------------------------------------------------------------- files of a config group


def _files(kind: str) -> Callable[[Sequence[Path]], list[Entry]]:
    group = _GROUP_OF[kind]
    word = {"data": "data set"}.get(group, group)

    def entries(folders: Sequence[Path]) -> list[Entry]:
        files = {path.relative_to(folder / group): path for folder in folders for path in _below(folder / group)}
        return [
            Entry(word, str(name.with_suffix("")), first_comment(path), f"{group}={name.with_suffix('')}")
            for name, path in sorted(files.items())
        ]

    return entries


def _below(folder: Path) -> list[Path]:
    return [*folder.rglob("*.yaml")] if folder.is_dir() else []


# ---------------------------------------------------------------- registered modules


def _registered(kind: str, registry: Registry[Any], use: str) -> Callable[[Sequence[Path]], list[Entry]]:
    def entries(folders: Sequence[Path]) -> list[Entry]:
        return [Entry(kind, name, _line_of(registry, name), use.format(name=name)) for name in registry.names()]

    return entries


def _line_of(registry: Registry[Any], name: str) -> str:
    """Return the first line of the docstring of what registers a name; its module is read, not imported."""
    module = registry.module_of(name)
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return ""
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    text = ast.get_docstring(tree) or ""
    if module.rpartition(".")[2] != name:
        functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        used = [of for of in _names_beside(tree, f"{registry.attribute}S", name) if of in functions]
        text = (ast.get_docstring(functions[used[0]]) if used else "") or text
    head, colon, rest = text.partition("\n")[0].partition(": ")
    line = rest if head.startswith("`") else f"{head}{colon}{rest}"
    line = line.removeprefix("Draw ").rstrip(".")
    return line[:1].upper() + line[1:]


def _names_beside(tree: ast.Module, table: str, name: str) -> Iterator[str]:
    """Yield the names in the value of one key of a module's table."""
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        value = node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None
        if isinstance(value, ast.Dict) and any(isinstance(t, ast.Name) and t.id == table for t in targets):
            for key, of in zip(value.keys, value.values, strict=True):
                if isinstance(key, ast.Constant) and key.value == name:
                    yield from (part.id for part in ast.walk(of) if isinstance(part, ast.Name))


# ---------------------------------------------------------------- distributions and families

_RESPONSES = {
    "real": "any number", "positive": "numbers above 0", "nonnegative": "numbers from 0", "unit": "shares",
    "unit_closed": "shares, 0 and 1 too", "binary": "0 or 1", "count": "counts", "trials": "successes of trials",
    "angle": "angles", "level": "levels", "counts": "counts of several levels",
}  # fmt: skip


def _priors(folders: Sequence[Path]) -> list[Entry]:
    entries = []
    for name in distributions():
        known = known_family(name)
        parameters = ", ".join(known.parameters) or "no parameters"
        entries.append(Entry("prior", name, f"{known.support}: {parameters}", f"{{dist: {name}, ...}}"))
    for name, (line, keys) in SUMMED_OUT.items():
        entries.append(Entry("prior", name, f"{line}: {', '.join(keys)}", f"{{dist: {name}, ...}}"))
    return sorted(entries, key=lambda entry: entry.name)


def _families(folders: Sequence[Path]) -> list[Entry]:
    entries = []
    for name in FAMILIES.names():
        known = FAMILIES.load(name, "model.family")
        line = f"{_RESPONSES.get(known.values, known.values)}: {', '.join(known.parameters)}"
        entries.append(Entry("family", name, line, f"model.family={name}"))
    return entries


def _keys_of_prior(name: str) -> tuple[Key, ...]:
    if name in SUMMED_OUT:
        keys = SUMMED_OUT[name][1].items()
        return tuple(Key(key, None, "", f"{of['description'][0].lower()}{of['description'][1:]}") for key, of in keys)
    known = known_family(name)
    needed = [[sorted(one) for one in group] for group in known.required]
    said = {p: "required" for group in needed for one in group for p in one}
    for group in (g for g in needed if len(g) > 1):
        either = " or ".join(" and ".join(one) for one in group)
        said |= {p: f"give {either}" for one in group for p in one}
    return tuple(
        Key(p.name, None, p.domain + "[]" * p.axes, said.get(p.name, "optional")) for p in known.parameters.values()
    )


def _keys_of_family(name: str) -> tuple[Key, ...]:
    known = FAMILIES.load(name, "model.family")
    keys = []
    for parameter, of in known.parameters.items():
        links = f"links: {', '.join(of.links)}" if of.links else ""
        meaning = "predicted by the formula" if parameter == known.main else "its prior, unless a formula predicts it"
        keys.append(Key(parameter, None if of.prior is None else dict(of.prior), links, meaning))
    return tuple(keys)


# ---------------------------------------------------------------- keys of sections


def _sources() -> list[Entry]:
    return _registered("data source", SOURCES, "source: {name}")([])


def _sections() -> list[Entry]:
    return [Entry("section", name, "", f"{name}.KEY=VALUE") for name in _KEYS_OF_SECTIONS]


_KEYS_OF_SECTIONS: Mapping[str, type[Section]] = {
    **SECTIONS,
    "predict": PredictSpec,
    "sweep": SweepSpec,
    "top": TopSpec,
}


def _with_keys(entry: Entry, folders: Sequence[Path]) -> Entry:
    keys: tuple[Key, ...] = ()
    if entry.kind == "prior":
        keys = _keys_of_prior(entry.name)
    elif entry.kind == "family":
        keys = _keys_of_family(entry.name)
    elif entry.kind in ("model", "data set", "sampler"):
        keys = _keys_of_file(entry, folders)
    elif entry.kind == "data source":
        keys = _keys_of(SOURCES.load(entry.name, "data.source").spec, {"source": entry.name}, {})
    elif entry.kind == "task":
        keys = _keys_of_task(entry.name)
    elif entry.kind == "section":
        keys = _keys_of(_KEYS_OF_SECTIONS[entry.name], {}, comments_of_section(entry.name))
    return Entry(entry.kind, entry.name, entry.line, entry.use, keys)


def _keys_of_file(entry: Entry, folders: Sequence[Path]) -> tuple[Key, ...]:
    """Return the keys of a model, a data set or a sampler: those of its type, with the values of its file."""
    group = entry.use.partition("=")[0]
    path = next(p for f in reversed(folders) if (p := f / group / f"{entry.name}.yaml").is_file())
    raw = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    chosen, default, registry = CHOSEN[group]
    kind = str(raw.get(chosen, default))
    if kind not in registry.names():
        return ()
    given = {name: value for name, value in raw.items() if name != "defaults"}
    return _keys_of(registry.load(kind, f"{group}.{chosen}").spec, given, comments_in(path))


def _keys_of_task(name: str) -> tuple[Key, ...]:
    options = TASKS.load(name, "task").options
    spec = _KEYS_OF_SECTIONS.get(name) if options is None else options
    return () if spec is None else _keys_of(spec, {}, comments_of_section(name))


def _keys_of(
    spec: type[Section], given: Mapping[str, Any], comments: Mapping[str, str], above: str = ""
) -> tuple[Key, ...]:
    """Return the keys of a section: from its schema, with a file's values and the comments beside them."""
    words = documented(spec)
    keys: list[Key] = []
    for name, of in spec.model_fields.items():
        default = None if of.is_required() else of.get_default(call_default_factory=True)
        value = given.get(name, default)
        inner = of.annotation
        if isinstance(inner, type) and issubclass(inner, Section) and not isinstance(value, str):
            below = value.model_dump(mode="json") if isinstance(value, Section) else value or {}
            keys += _keys_of(inner, below, comments, f"{above}{name}.")
            continue
        meaning = comments.get(f"{above}{name}") or words.get(name, "")
        if isinstance(value, Mapping) and value:
            below = {f"{above}{name}.{inner}": of_inner for inner, of_inner in value.items()}
            keys += [Key(key, each, "", comments.get(key, meaning)) for key, each in below.items()]
            continue
        keys.append(Key(f"{above}{name}", _plain(value), _takes(inner, of.metadata), meaning))
    return tuple(keys)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, Section) else value


def _takes(kind: Any, bounds: Sequence[Any] = ()) -> str:
    """Return which values a field takes, in words."""
    origin, parts = get_origin(kind), get_args(kind)
    if hasattr(kind, "__metadata__"):
        return _takes(parts[0], kind.__metadata__)
    if origin is not None and str(origin).endswith("Literal"):
        return ", ".join(map(str, parts))
    if origin in (dict, Mapping):
        return "mapping"
    if origin in (list, tuple, Sequence):
        return "list"
    if parts:
        return ", ".join(dict.fromkeys("null" if p is type(None) else _takes(p) for p in parts))
    word = {int: "whole number", float: "number", bool: "true, false", str: "text", Path: "path"}.get(kind, "any")
    return " ".join([word, *_bounds(bounds)])


def _bounds(metadata: Sequence[Any]) -> list[str]:
    found = []
    for bound in (each for one in metadata for each in (getattr(one, "metadata", None) or [one])):
        words = {"ge": "from", "gt": "above", "le": "to", "lt": "below"}
        found += [f"{word} {getattr(bound, name):,}" for name, word in words.items() if hasattr(bound, name)]
    return found


_LISTS: Mapping[str, Callable[[Sequence[Path]], list[Entry]]] = {
    **{kind: _files(kind) for kind in ("models", "data", "samplers")},
    "families": _families,
    "priors": _priors,
    "figures": _registered("figure", FIGURES, "model.figures=[{name}]"),
    "checks": _registered("check", CHECKS, "diagnostics.checks=[{name}]"),
    "experiments": _files("experiments"),
    "tasks": _registered("task", TASKS, "task={name}"),
}

__all__ = ["Entry", "Key", "as_json", "described", "kinds", "listed"]
