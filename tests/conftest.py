import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# A deadline for an example measures the machine, not the code. `HYPOTHESIS_PROFILE=slow` looks
# further than a developer likes to wait.
settings.register_profile("fast", deadline=None, max_examples=50)
settings.register_profile("slow", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(scope="session")
def open_directory():
    """A directory that the servers' own user may enter, also when the tests run as root.

    It is not one of pytest's, which closes the one above its directories whenever a run begins.
    """
    with tempfile.TemporaryDirectory(prefix="overdrive-", ignore_cleanup_errors=True) as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="session")
def data_dir(open_directory):
    base = open_directory / "embedded"
    base.mkdir()
    return base / "data"


@pytest.fixture(scope="session")
def postgres(data_dir):
    from overdrive.database import EmbeddedPostgres  # noqa: PLC0415 - of an extra

    with EmbeddedPostgres(data_dir) as server:
        yield server
