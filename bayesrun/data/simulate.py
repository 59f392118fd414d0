"""Source `simulate`: data simulated by a registered generator with its own seed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from bayesrun.data.arrays import assemble, plain
from bayesrun.data.base import GENERATORS, DataSpec, Source
from bayesrun.errors import Problem, UserError
from bayesrun.lazy import xr
from bayesrun.schema import Section, parse


class SimulateSpec(DataSpec):
    """Keys of `source: simulate`.

    Parameters
    ----------
    generator
        Registered name of a file in `bayesrun/data/generators`.
    parameters
        Parameters of the generator, each with its default.
    seed
        Seed of the data. It is separate from the seed of the sampler, so that the data stay the same when that changes.
    """

    generator: str
    parameters: dict[str, Any] = Field(default_factory=dict)
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 8927

    @field_validator("parameters", mode="before")
    @classmethod
    def _null_parameters_are_empty(cls, value: Any) -> Any:
        return {} if value is None else value


def check(spec: SimulateSpec, directory: Path) -> list[Problem]:
    """Return the problems of the generator and its parameters."""
    problems: list[Problem] = []
    _parameters(spec, problems)
    return problems


def load(spec: SimulateSpec, directory: Path) -> xr.Dataset:
    """Simulate the data, each array over `spec.dim`; no file is read."""
    problems: list[Problem] = []
    parameters = _parameters(spec, problems)
    if parameters is None:
        raise UserError(problems)
    drawn = GENERATORS.load(spec.generator, "data.generator").draw(parameters, spec.seed)
    variables = {name: ((spec.dim,), plain(values)) for name, values in drawn.items()}
    return assemble(variables, "data.generator").assign_attrs(origin=f"generator {spec.generator}, seed {spec.seed}")


def _parameters(spec: SimulateSpec, problems: list[Problem]) -> Section | None:
    try:
        generator = GENERATORS.load(spec.generator, "data.generator")
    except UserError as error:
        problems += error.problems
        return None
    return parse(generator.parameters, spec.parameters, "data.parameters", problems)


SOURCE = Source(spec=SimulateSpec, load=load, check=check)
