"""All that reaches into Hydra, joblib and submitit: what each patch does, why, and for which versions.

Public hooks are used where there are some: a config loader and an information watcher are subclasses of the
libraries' own. `PATCHES` lists the rest, and a test holds the list against the versions that are installed.
"""

from __future__ import annotations

import copy
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from bayesrun.errors import SamplingError, TimeLimitReached

if TYPE_CHECKING:
    from bayesrun.sweep.job import JobTask


@dataclass(frozen=True)
class Patch:
    """One place where bayesrun depends on a library's internals.

    Parameters
    ----------
    name
        The class or function in this module.
    library
        Name of its package.
    versions
        Versions that it was tested with, as a requirement (`>=1.3,<1.4`).
    what
        What it uses or changes.
    why
        What it is good for.
    """

    name: str
    library: str
    versions: str
    what: str
    why: str


PATCHES = (
    Patch(
        "SweepLoader",
        "hydra-core",
        ">=1.3.2,<1.4",
        "subclass of ConfigLoaderImpl that caches what jobs have in common",
        "composing a job takes 0.01 s instead of 0.15 s",
    ),
    Patch(
        "HydraParts",
        "hydra-core",
        ">=1.3.2,<1.4",
        "makes launchers and sweepers by Plugins.instance(), outside hydra.main",
        "points are checked, and reused, before a launcher sees them",
    ),
    Patch(
        "start_workers_from_forkserver",
        "joblib",
        ">=1.3,<2",
        "sets loky's own start method to forkserver",
        "workers share the imports of one process (4 s a worker)",
    ),
    Patch(
        "stop_workers",
        "joblib",
        ">=1.3,<2",
        "ends loky's reusable executor",
        "its idle workers would outlive the sweep by five minutes",
    ),
    Patch(
        "keep_interrupts",
        "joblib",
        ">=1.3,<2",
        "raises a Ctrl-C that loky replaces by another error",
        "a sweep that was interrupted must say so, and can be resumed",
    ),
    Patch(
        "explain_time_limit",
        "submitit",
        ">=1.4,<2",
        "wraps submitit's handler of SIGUSR2",
        "its 'Job not requeued because: timed-out too many times' does not name the key to change",
    ),
)
"""Every dependence on internals; `tests/unit/sweep/test_patches.py` checks the versions."""

_bases: dict[tuple[Any, ...], DictConfig] = {}
"""Configs composed in this process, by all that composing depends on: a worker gets a new loader with each job."""


class SweepLoader(ConfigLoaderImpl):  # type: ignore[misc]  # untyped
    """Hydra's config loader for the jobs of a sweep, which mostly differ in values.

    Composes the choices of groups once per process and sets the values in a copy. Hydra composes all choices first and
    sets values afterwards, so the choices do not depend on the values. `hydra.overrides` and `override_dirname` are
    recorded as Hydra records them.
    """

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Return what Hydra's own loader returns."""
        parsed = OverridesParser.create().parse_overrides(overrides)
        values = [o for o in parsed if self._sets_a_value(o)]
        whole = super().load_configuration
        if run_mode != RunMode.RUN or not values or any(o.is_sweep_override() for o in parsed):
            return whole(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        choices = [str(o.input_line) for o in parsed if o not in values]
        key = (config_name, *choices, *(f"{p.provider}={p.path}" for p in self.config_search_path.get_path()))
        if key not in _bases:
            _bases[key] = whole(config_name, choices, run_mode, from_shell, validate_sweep_overrides)
        config = copy.deepcopy(_bases[key])
        try:
            self._apply_overrides_to_config(values, config)
        except (HydraException, OmegaConfBaseException):  # Hydra's own loader explains what is wrong
            return whole(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        _record_overrides(parsed, config)
        return config

    def _sets_a_value(self, override: Override) -> bool:
        key = str(override.key_or_group)
        if override.package is not None or override.is_delete():
            return False
        if key.startswith("hydra."):
            return key.startswith("hydra.sweep.")  # others decide what is composed, or what else is recorded
        return "." in key or not self.repository.group_exists(key)


def _record_overrides(parsed: Sequence[Override], config: DictConfig) -> None:
    own = [o for o in parsed if not o.is_hydra_override()]
    config.hydra.overrides.hydra = [o.input_line for o in parsed if o.is_hydra_override()]
    config.hydra.overrides.task = [o.input_line for o in own]
    how = config.hydra.job.config.override_dirname
    config.hydra.job.override_dirname = get_overrides_dirname(
        overrides=own, kv_sep=how.kv_sep, item_sep=how.item_sep, exclude_keys=how.exclude_keys
    )


@dataclass(frozen=True)
class HydraParts:
    """What makes Hydra's launchers and sweepers.

    Parameters
    ----------
    config
        The composed config of the sweep, with Hydra's node.
    loader
        Its config loader.
    """

    config: Any
    loader: Any

    def launcher(self, task: JobTask) -> Any:
        """Make the launcher that the config names."""
        return Plugins.instance().instantiate_launcher(
            hydra_context=self._context(), task_function=task, config=self.config
        )

    def sweeper(self, task: JobTask) -> Any:
        """Make the sweeper that the config names."""
        return Plugins.instance().instantiate_sweeper(
            hydra_context=self._context(), task_function=task, config=self.config
        )

    def _context(self) -> Any:
        return HydraContext(config_loader=self.loader, callbacks=Callbacks(self.config))


def start_workers_from_forkserver() -> None:
    """Let joblib's workers fork from Python's fork server, which has imported what they need."""
    from joblib.externals.loky.backend import context

    context.set_start_method("forkserver", force=True)


def stop_workers() -> None:
    """End joblib's workers, whose jobs are done and recorded."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor(kill_workers=True).shutdown(wait=True, kill_workers=True)


@contextmanager
def keep_interrupts() -> Iterator[None]:
    """Raise the Ctrl-C that came while the block ran, even if a library lost it.

    While loky starts workers, its cleaning up after an interrupt raises another error in its place.
    """
    before, heard = signal.getsignal(signal.SIGINT), []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        before(number, frame)  # type: ignore[operator,misc]

    if callable(before):
        signal.signal(signal.SIGINT, hear)
    try:
        yield
    except Exception as error:
        if not heard:
            raise
        raise KeyboardInterrupt from error
    finally:
        signal.signal(signal.SIGINT, before)
    if heard:
        raise KeyboardInterrupt


@contextmanager
def explain_time_limit() -> Iterator[None]:
    """Raise `TimeLimitReached` where submitit says "Job not requeued because: timed-out too many times".

    Its handler still decides whether the job was only preempted. Where submitit does not run the job nothing listens
    to the signal, and nothing is changed.

    Slurm sends the signal to all processes of the job, and may send it again. Only this one answers, and only the
    first: the chains, forked from it, would have submitit write the same file at the same time, which it refuses.
    """
    submitits = signal.getsignal(signal.SIGUSR2)
    if not callable(submitits):
        yield
        return

    asked = os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        if os.getpid() != asked:
            return
        try:
            submitits(number, frame)
        except Exception as error:
            if "timed-out" in str(error):
                raise TimeLimitReached from None
            # submitit could not queue it again: `--no-requeue` forbids it
            raise SamplingError("the cluster gave its place to another job (preempted)") from None

    signal.signal(signal.SIGUSR2, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR2, submitits)
