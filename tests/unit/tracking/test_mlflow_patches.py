"""MLflow comes without pandas, which stays importable."""

import subprocess
import sys

import pytest

LOAD = "import sys; from bayesrun.tracking.mlflow_patches import import_mlflow; import_mlflow(database={database}); "


def said(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("database", [True, False])
def test_mlflow_is_imported_without_pandas(database):
    modules = "'mlflow.tracking', 'mlflow.store.tracking.sqlalchemy_store', 'pandas'"
    code = LOAD.format(database=database) + f"print([name in sys.modules for name in ({modules})])"
    assert said(code) == str([True, database, False])


def test_pandas_can_be_imported_afterwards():
    assert said(LOAD.format(database=False) + "import pandas; print(pandas.Series([1, 2]).sum())") == "3"


def test_a_pandas_that_is_there_stays():
    assert said("import pandas; " + LOAD.format(database=False) + "print(sys.modules['pandas'] is pandas)") == "True"


def test_a_database_that_does_not_answer_is_tried_for_seconds_not_minutes():
    code = LOAD.format(database=True) + "import mlflow.store.db.utils as u; print(u.MAX_RETRY_COUNT); "
    use = "import inspect; print('attempts < MAX_RETRY_COUNT' in inspect.getsource(u))"
    assert said(code + use).split() == ["4", "True"]
