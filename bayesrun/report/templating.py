"""The pages' templates: text from data and config is escaped, and a name that a template lacks is an error."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_FOLDER = Path(__file__).parent / "templates"


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **values: Any) -> str:
    """Return a page.

    Parameters
    ----------
    template
        File name in `templates`.
    values
        What it names. Markup that is safe already is passed as `markupsafe.Markup`.
    """
    page: str = _environment().get_template(template).render(**values)
    return page
