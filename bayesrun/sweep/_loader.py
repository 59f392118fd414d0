"""Hydra's config loader for the jobs of a sweep, which mostly differ in values: what they share is composed once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

_bases: dict[tuple[Any, ...], DictConfig] = {}
"""Configs composed in this process, by all that composing depends on: a worker gets a new loader with each job."""


class SweepLoader(ConfigLoaderImpl):  # type: ignore[misc]  # untyped
    """Composes the choices of a job once a process, and sets its values in a copy.

    Hydra composes all choices of groups first, and sets values afterwards, so nothing of the former depends on the
    latter. What it records of the overrides themselves is recorded as it does.
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
        except (HydraException, OmegaConfBaseException):  # Hydra's own loader says what is wrong with it
            return whole(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        _record(parsed, config)
        return config

    def _sets_a_value(self, override: Override) -> bool:
        key = str(override.key_or_group)
        if override.package is not None or override.is_delete():
            return False
        if key.startswith("hydra."):
            return key.startswith("hydra.sweep.")  # others decide what is composed, or what else is recorded
        return "." in key or not self.repository.group_exists(key)


def _record(parsed: Sequence[Override], config: DictConfig) -> None:
    own = [o for o in parsed if not o.is_hydra_override()]
    config.hydra.overrides.hydra = [o.input_line for o in parsed if o.is_hydra_override()]
    config.hydra.overrides.task = [o.input_line for o in own]
    how = config.hydra.job.config.override_dirname
    config.hydra.job.override_dirname = get_overrides_dirname(
        overrides=own, kv_sep=how.kv_sep, item_sep=how.item_sep, exclude_keys=how.exclude_keys
    )
