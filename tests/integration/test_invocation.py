"""Commands that messages name start where they are pasted, however bayesrun was started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT

BIN = Path(sys.executable).parent
UV = {"UV_RUN_RECURSION_DEPTH", "VIRTUAL_ENV"}
TABLE = "x,y\n" + "".join(f"{i},{3 * i % 7}\n" for i in range(20))
WAYS = {
    "uv": (["uv", "run", "python", "-m", "bayesrun"], False, "uv run python -m bayesrun"),
    "activated": (["python", "-m", "bayesrun"], True, "python -m bayesrun"),
    "by path": ([str(BIN / "python"), "-m", "bayesrun"], False, f"{BIN}/python -m bayesrun"),
    "script": (["bayesrun"], True, "bayesrun"),
    "script by path": ([str(BIN / "bayesrun")], False, f"{BIN}/bayesrun"),
}


@pytest.mark.parametrize(("words", "activated", "told"), WAYS.values(), ids=WAYS)
def test_a_named_command_starts_where_it_is_pasted(
    tmp_path: Path, words: Sequence[str], activated: bool, told: str
) -> None:
    if words[0] == "uv" and not (shutil.which("uv") and BIN == ROOT / ".venv" / "bin"):
        pytest.skip("NOT TESTED: these tests were not started by uv")
    table, own = tmp_path / "two words" / "rows.csv", tmp_path / "my configs"
    table.parent.mkdir()
    table.write_text(TABLE)
    path = [entry for entry in os.environ["PATH"].split(os.pathsep) if Path(entry) != BIN]
    environment = {name: value for name, value in os.environ.items() if name not in UV}
    environment["PATH"] = os.pathsep.join([str(BIN), *path] if activated else path)

    def start(command: Sequence[str] | str, is_line: bool = False) -> str:
        done = subprocess.run(
            command, cwd=ROOT, env=environment, shell=is_line, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    last = start([*words, "--config-dir", str(own), "new", "model", str(table)]).splitlines()[-1]
    line = last.removeprefix("run it: ")
    assert line == f"{told} --config-dir '{own}' model=rows"
    assert f"{told} --config-dir '{own}' model=rows" in (own / "model" / "rows.yaml").read_text()
    assert "name: rows" in start(f"{line} --cfg job", is_line=True)
