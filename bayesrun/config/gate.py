"""The gate between what people write and Hydra's own keys: a config that others share must not run code.

Hydra's node can call any Python class (`callbacks`), set environment variables, write log files anywhere and import
packages. So nothing that a user's file says of `hydra` is merged. Its keys are offered to this gate one by one, and
what is not listed here is refused, whichever file it came from. The rest of the node is Hydra's and bayesrun's own.

Options of launchers and sweepers are checked again when all is resolved: an interpolation may bring anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Literal

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException
from pydantic import AfterValidator, Field, StringConstraints

from bayesrun.config.cluster_file import KEY as CLUSTER
from bayesrun.config.cluster_file import secret_lines
from bayesrun.config.hydra_internals import ConfigFile, WrittenOverride
from bayesrun.errors import Problem, did_you_mean
from bayesrun.schema import Section, parse


def _plain_word(text: str) -> str:
    if not text.isprintable() or re.search(r"[\"'`$\\]", text):
        raise ValueError("may not hold quotes, backslashes, '$' or control characters: a cluster's script names it")
    return text


_Line = Annotated[str, StringConstraints(max_length=200), AfterValidator(_plain_word)]
_Count = Annotated[int, Field(ge=1, le=100_000)]
_Scalar = str | int | float | bool | None


def _key_of_the_config(key: str) -> str:
    if not re.fullmatch(r"[+~]*[^\W_][\w./@-]*", key) or re.match(r"[+~]*hydra\b", key):
        raise ValueError("must be a key of the config, and not one of Hydra's own")
    if key.lstrip("+~") == CLUSTER:
        raise ValueError("may be named on the command line only: lines of the file are run")
    return key


_Key = Annotated[str, AfterValidator(_key_of_the_config)]
_Params = dict[_Key, _Scalar]


class BasicLauncherOptions(Section):
    """`launcher=basic` has no options."""


class JoblibOptions(Section):
    """Options of `launcher=parallel`."""

    n_jobs: Annotated[int, Field(ge=-1, le=1024)] = -1
    verbose: Annotated[int, Field(ge=0, le=100)] = 0
    timeout: Annotated[float, Field(gt=0)] | None = None


class QueueOptions(Section):
    """Options of a queue of this machine (`hydra/launcher=submitit_local`)."""

    timeout_min: _Count = 60
    cpus_per_task: _Count | None = None
    gpus_per_node: Annotated[int, Field(ge=0)] | None = None
    tasks_per_node: _Count = 1
    mem_gb: Annotated[float, Field(gt=0)] | None = None
    nodes: _Count = 1
    stderr_to_stdout: bool = False


class SlurmOptions(QueueOptions):
    """Options of `launcher=slurm`; `setup` and `additional_parameters` from the command line alone."""

    partition: _Line | None = None
    qos: _Line | None = None
    comment: _Line | None = None
    constraint: _Line | None = None
    exclude: _Line | None = None
    gres: _Line | None = None
    cpus_per_gpu: _Count | None = None
    gpus_per_task: _Count | None = None
    mem_per_gpu: _Line | None = None
    mem_per_cpu: _Line | None = None
    account: _Line | None = None
    signal_delay_s: Annotated[int, Field(ge=0)] = 120
    max_num_timeout: Annotated[int, Field(ge=0)] = 0
    array_parallelism: _Count = 256


class RayInitOptions(Section):
    """How Ray is started on this machine; `address`, of a cluster that will run code, from the command line alone."""

    address: _Line | None = None
    num_cpus: _Count | None = None


class RayRemoteOptions(Section):
    """What a job needs of its node, and how often Ray begins it again."""

    num_cpus: Annotated[float, Field(gt=0, le=1024)] = 1
    num_gpus: Annotated[float, Field(ge=0, le=1024)] | None = None
    memory: Annotated[int, Field(gt=0)] | None = None
    max_retries: Annotated[int, Field(ge=0, le=100)] = 0


class RayParts(Section):
    """Section `ray` of the launcher."""

    init: RayInitOptions = RayInitOptions()
    remote: RayRemoteOptions = RayRemoteOptions()


class RayOptions(Section):
    """Options of `launcher=ray`."""

    ray: RayParts = RayParts()


class BasicSweeperOptions(Section):
    """Options of `sweeper=basic`."""

    max_batch_size: _Count | None = None
    params: _Params = {}


class OptunaSamplerOptions(Section):
    """How optuna chooses points."""

    seed: int | None = None
    n_startup_trials: Annotated[int, Field(ge=0)] = 10
    multivariate: bool = False
    population_size: _Count = 50


class OptunaOptions(Section):
    """Options of `sweeper=optuna`."""

    direction: Literal["maximize", "minimize"] = "maximize"
    n_trials: _Count = 20
    n_jobs: _Count = 1
    study_name: _Line | None = None
    max_failure_rate: Annotated[float, Field(ge=0, le=1)] = 0.0
    params: _Params = {}
    sampler: OptunaSamplerOptions = OptunaSamplerOptions()


OPTIONS: dict[str, type[Section]] = {
    "hydra/launcher/basic": BasicLauncherOptions,
    "hydra/launcher/joblib": JoblibOptions,
    "hydra/launcher/submitit_local": QueueOptions,
    "hydra/launcher/submitit_slurm": SlurmOptions,
    "hydra/launcher/ray": RayOptions,
    "hydra/sweeper/basic": BasicSweeperOptions,
    "hydra/sweeper/optuna": OptunaOptions,
}
"""Launchers and sweepers that may be chosen, by Hydra's name, and the options that each takes."""

_FIXED = {
    "hydra/config": "hydra",
    "hydra/output/default": "hydra",
    **{f"hydra/{n}/default": f"hydra.{n}" for n in ("help", "hydra_help", "hydra_logging", "job_logging", "env")},
}
_SAMPLERS = tuple(f"hydra/sweeper/sampler/{name}" for name in ("tpe", "random", "cmaes", "nsgaii", "motpe", "grid"))
FILES: dict[str, str] = {
    **_FIXED,
    **{name: name.rpartition("/")[0].replace("/", ".") for name in (*OPTIONS, *_SAMPLERS)},
}
"""Files of Hydra's own groups that a composition may have, and where each belongs."""

_ANYWHERE = {"run.dir": str, "sweep.dir": str, "sweep.subdir": str, "mode": str}
_BY_HAND = re.compile(r"job\.env_set(\.\w+)?|launcher\.(setup|additional_parameters\.[\w-]+|ray\.init\.address)")
_HINT = (
    "a config may set hydra.run.dir, hydra.sweep.dir, hydra.sweep.subdir, hydra.mode, hydra.sweeper.params, and "
    "options of the launcher and the sweeper"
)
_HINT_BY_HAND = "set it on the command line, or in a file of your own: cluster=FILE (docs/sweeps.md)"


@dataclass(frozen=True)
class Offer:
    """A key below `hydra` that was written, and where."""

    key: str
    value: Any
    where: str
    by_hand: bool = False


def may_merge(file: ConfigFile) -> bool:
    """Return whether all that a file sets below `hydra` may be merged: it is Hydra's or ours, and in its place."""
    if file.name in FILES:
        return file.ours and file.package == FILES[file.name]
    return file.ours and not file.name.startswith("hydra/") and file.package.partition(".")[0] != "hydra"


def file_problems(file: ConfigFile) -> list[Problem]:
    """Refuse a file of Hydra's groups that is not one of those that may be chosen."""
    if not file.name.startswith("hydra/") or may_merge(file):
        return []
    group, _, name = file.name.rpartition("/")
    allowed = [known.rpartition("/")[2] for known in FILES if known.rpartition("/")[0] == group]
    return [Problem(group, f"'{name}' may not be chosen from a config", did_you_mean(name, allowed))]


def searchpath_problems(folders: Any) -> list[Problem]:
    """Refuse a search path that imports packages: only folders are searched."""
    key, hint = "hydra.searchpath", "write a list of file:///FOLDER"
    if folders is None:
        return []
    if not isinstance(folders, list):
        return [Problem(key, f"must be a list of folders (got {folders!r})", hint)]
    wrong = [folder for folder in folders if not (isinstance(folder, str) and re.match(r"file://[^$]*$", folder))]
    return [Problem(key, f"'{folder}' is not allowed", hint) for folder in wrong]


def offers(file: ConfigFile) -> list[Offer]:
    """List what a file sets below `hydra`, key by key."""
    if "hydra" not in file.config:
        return []
    node = OmegaConf.to_container(file.config, resolve=False)["hydra"]  # type: ignore[index,call-overload]
    return [Offer(key, value, f"{file.name}.yaml") for key, value in _leaves(node, "")]


def offers_of(written: WrittenOverride) -> list[Offer]:
    """List what an override sets below `hydra`, key by key."""
    key = written.key.removeprefix("hydra.") if written.key != "hydra" else ""
    return [Offer(k, value, written.text, written.by_hand) for k, value in _leaves(written.override.value(), key)]


def _leaves(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and node and key != "sweeper.params":
        for name, value in node.items():
            yield from _leaves(value, f"{key}.{name}" if key else str(name))
    elif key or node:
        yield key, node


def is_by_hand(override: str) -> bool:
    """Return whether an override is allowed on the command line only, because its value is executed."""
    key = override.lstrip("+~").partition("=")[0]
    return key == CLUSTER or (key.startswith("hydra.") and bool(_BY_HAND.fullmatch(key.removeprefix("hydra."))))


class Gate:
    """Merges offered keys into a composed config, or records why they are refused.

    Parameters
    ----------
    config
        The composed config, with Hydra's node as Hydra and bayesrun have it; it is changed.
    choices
        The choice of each of Hydra's groups (`hydra/launcher`).
    """

    def __init__(self, config: DictConfig, choices: Mapping[str, Any]) -> None:
        self._config = config
        self._sections = {group: OPTIONS.get(f"hydra/{group}/{choices.get(f'hydra/{group}')}") for group in _GROUPS}

    def admit(self, offered: Sequence[Offer]) -> list[Problem]:
        """Set the keys that are allowed, and refuse the others."""
        problems: list[Problem] = []
        for offer in offered:
            problems += self._admit(offer)
        return problems or [p for offer in offered if offer.key in ("run.dir", "sweep.dir") for p in self._place(offer)]

    def _place(self, offer: Offer) -> list[Problem]:
        """Refuse a folder whose interpolations resolve to something other than text."""
        try:
            OmegaConf.select(self._config.hydra, offer.key)
        except InterpolationToMissingValueError:  # Hydra fills in `hydra.job` and `hydra.runtime` later
            return []
        except OmegaConfBaseException as error:
            return [Problem(f"hydra.{offer.key}", str(error).splitlines()[0], "it must be the path of a folder")]
        return []

    def _admit(self, offer: Offer) -> list[Problem]:
        where = f"hydra.{offer.key}" if offer.key else "hydra"
        if offer.key == "searchpath" or self._is_reported(offer):  # the search path is checked earlier
            return []
        if offer.key in _ANYWHERE and (offer.value is None or isinstance(offer.value, str)):
            return self._set(offer)
        if offer.by_hand and _BY_HAND.fullmatch(offer.key):
            lines = offer.value if offer.key == "launcher.setup" and isinstance(offer.value, list) else []
            return secret_lines([str(line) for line in lines], where) or self._set(offer)
        if _BY_HAND.fullmatch(offer.key):
            return [Problem(where, f"may not be set in a file ({offer.where})", _HINT_BY_HAND)]
        group, _, option = offer.key.partition(".")
        section = self._sections.get(group)
        if section is None or not _takes(section, option):
            refused = "is not allowed" if offer.by_hand else "may not be set in a config"
            return [Problem(where, f"{refused} ({offer.where})", _hint(section, option))]
        return self._set(offer)

    def _is_reported(self, offer: Offer) -> bool:
        """Return whether Hydra's node has this value already (a run folder's `config.yaml` has bayesrun's own keys)."""
        if not _exists(self._config.hydra, offer.key):
            return False
        found = _node(self._config.hydra, offer.key)
        plain = OmegaConf.to_container(found, resolve=False) if OmegaConf.is_config(found) else found._value()
        return type(plain) is type(offer.value) and bool(plain == offer.value)

    def _set(self, offer: Offer) -> list[Problem]:
        key = f"hydra.{offer.key}"
        try:
            with open_dict(self._config.hydra):
                there = _node(self._config, key) if _exists(self._config, key) else None
                merge = isinstance(there, DictConfig) and not there._is_none()
                OmegaConf.update(self._config, key, offer.value, merge=merge)
        except (OmegaConfBaseException, ValueError, AssertionError) as error:
            return [Problem(key, f"{str(error).splitlines()[0]} (got {offer.value!r})")]
        return []

    def settle(self) -> list[Problem]:
        """Resolve and check the options of the launcher and the sweeper, whoever set them.

        They are plain values afterwards: Hydra, which would call whatever class an interpolation brought, has nothing
        left to resolve.
        """
        problems: list[Problem] = []
        for group, section in self._sections.items():
            if section is not None:
                problems += self._settle(group, section)
        return problems

    def _settle(self, group: str, section: type[Section]) -> list[Problem]:
        node = self._config.hydra[group]
        problems: list[Problem] = []
        raw = {}
        for name in section.model_fields:
            if name in node.keys() and not OmegaConf.is_missing(node, name):  # noqa: SIM118
                raw[name] = self._resolved(node, name, f"hydra.{group}.{name}", problems)
        if "sampler" in raw:  # its class is optuna's
            raw["sampler"] = {k: v for k, v in raw["sampler"].items() if k in OptunaSamplerOptions.model_fields}
        if problems:
            return problems
        if parse(section, raw, f"hydra.{group}", problems) is None:
            return problems
        with open_dict(self._config.hydra):
            for name, value in raw.items():
                OmegaConf.update(node, name, value, merge=node[name] is not None)
        return []

    def _resolved(self, node: DictConfig, name: str, key: str, problems: list[Problem]) -> Any:
        try:
            value = node[name]
            plain = (
                OmegaConf.to_container(value, resolve=True, enum_to_str=True) if OmegaConf.is_config(value) else value
            )
        except OmegaConfBaseException as error:
            problems.append(Problem(key, str(error).splitlines()[0]))
            return None
        if any("${" in text for text in _texts(plain)):
            problems.append(Problem(key, "may not hold an interpolation once it is resolved"))
        return plain.name if isinstance(plain, Enum) else plain


_GROUPS = ("launcher", "sweeper")


def _exists(node: DictConfig, key: str) -> bool:
    found: Any = node
    for part in key.split("."):
        if not isinstance(found, DictConfig) or found._is_none() or found._is_missing() or found._is_interpolation():
            return False
        if part not in set(found.keys()):  # `in` alone would resolve an interpolation
            return False
        found = found._get_node(part)
    return True


def _node(node: DictConfig, key: str) -> Any:
    """Return what is at a key, interpolations as they are written."""
    found: Any = node
    for part in key.split("."):
        found = found._get_node(part)
    return found


def _takes(section: type[Section], option: str) -> bool:
    name, _, rest = option.partition(".")
    field = section.model_fields.get(name)
    if field is None:
        return False
    inner = field.annotation
    if isinstance(inner, type) and issubclass(inner, Section):  # key by key: a whole section may come by interpolation
        return bool(rest) and _takes(inner, rest)
    return not rest or name == "params"


def _hint(section: type[Section] | None, option: str) -> str:
    return did_you_mean(option, section.model_fields) if section and option else _HINT


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield str(name)
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
    elif isinstance(value, str):
        yield value
