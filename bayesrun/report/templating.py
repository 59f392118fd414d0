"""The pages' templates: text from data and config is escaped, and a name that a template lacks is an error.

A page is written without secrets. Its pictures come into it last, as their bytes are not text that could hold one.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from bayesrun.redaction import redact_known
from bayesrun.run_folder import RunFolder
from bayesrun.version import __version__

_FOLDER = Path(__file__).parent / "templates"


class Pictures:
    """The pictures of a page."""

    def __init__(self) -> None:
        self._sources: dict[str, str] = {}

    def add(self, content: bytes, kind: str = "image/png") -> str:
        """Return what stands for a picture in `src` until the page is written."""
        mark = f"picture:{len(self._sources)}:"
        self._sources[mark] = f"data:{kind};base64,{base64.b64encode(content).decode()}"
        return mark

    def put_in(self, page: str) -> str:
        """Return a page with its pictures."""
        return re.sub(r'src="(picture:\d+:)"', lambda found: f'src="{self._sources[found[1]]}"', page)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def write_page(folder: RunFolder, name: str, template: str, values: Mapping[str, Any], pictures: Pictures) -> Path:
    """Write a page that needs no other file.

    Parameters
    ----------
    folder
        Where.
    name
        File name of the page.
    template
        File name in `templates`.
    values
        What the template names. Markup that is safe already is passed as `markupsafe.Markup`.
    pictures
        The pictures that stand in it.
    """
    page = redact_known(_environment().get_template(template).render(version=__version__, **values))
    return folder.write(name, lambda path: path.write_text(pictures.put_in(page), encoding="utf-8"))
