"""docs/tour.ipynb, executed as it is by a kernel of Jupyter."""

from __future__ import annotations

from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

TOUR = ROOT / "docs" / "tour.ipynb"
AT_HOME = "import bayesrun.config.resolvers as places, pathlib\nplaces.root = pathlib.Path.cwd"
"""Puts the outputs into the notebook's own folder, as an installed bayesrun does."""


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Return the cells of code with their outputs, up to a failing one."""
    folder = tmp_path_factory.mktemp("notebook")
    book = nbformat.read(TOUR, as_version=4)
    book.cells.insert(0, nbformat.v4.new_code_cell(AT_HOME))
    NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    nbformat.write(book, folder / "executed.ipynb")
    return [cell for cell in book.cells[1:] if cell.cell_type == "code"]


def _outputs(cells: list[Any], code: str, kind: str) -> list[Any]:
    (cell,) = [cell for cell in cells if code in cell.source]
    return [output for output in cell.outputs if output.output_type == kind]


@pytest.mark.slow
def test_every_cell_runs(executed: list[Any]) -> None:
    assert all(cell.execution_count for cell in executed)
    assert not [output for cell in executed for output in cell.outputs if output.output_type == "error"]
    assert not [
        o.text for cell in executed for o in cell.outputs if o.get("name") == "stderr" and "warning" not in o.text
    ]


@pytest.mark.slow
def test_a_run_shows_itself_and_one_line_of_progress(executed: list[Any]) -> None:
    (shown,) = _outputs(executed, 'bayesrun.fit("y ~ x + (1 | g)"', "execute_result")
    assert "<table>" in shown.data["text/html"] and "<summary>model</summary>" in shown.data["text/html"]
    assert "sd_g[Intercept]" in shown.data["text/html"]
    assert shown.data["text/plain"].startswith("Run('")
    progress = _outputs(executed, 'bayesrun.fit("y ~ x + (1 | g)"', "display_data")
    texts = [shown.data["text/plain"] for shown in progress]
    draws = [text for text in texts if "drawing figures" not in text]  # which is told where it takes some seconds
    assert len(draws) == 1
    assert "draws (100%)" in draws[-1]


@pytest.mark.slow
def test_errors_are_told_as_text(executed: list[Any]) -> None:
    (told,) = _outputs(executed, "sampler.drawz", "stream")
    assert "2 problems in the config or the data" in told.text


@pytest.mark.slow
def test_a_quiet_sweep_shows_nothing_of_its_jobs(executed: list[Any]) -> None:
    (cell,) = [cell for cell in executed if "bayesrun.sweep(" in cell.source]
    assert [output.output_type for output in cell.outputs] == ["execute_result"]
