import os

import pytest
from hypothesis import settings

# A deadline for an example measures the machine, not the code. `HYPOTHESIS_PROFILE=slow` looks
# further than a developer likes to wait.
settings.register_profile("fast", deadline=None, max_examples=50)
settings.register_profile("slow", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    # A directory that the server's own user may enter, also when the tests run as root.
    base = tmp_path_factory.mktemp("postgres")
    for path in (base, *base.parents):
        if path == path.parent or path.stat().st_mode & 0o055 == 0o055:
            continue
        path.chmod(path.stat().st_mode | 0o055)
    return base / "data"


@pytest.fixture(scope="session")
def postgres(data_dir):
    from overdrive.database import EmbeddedPostgres  # noqa: PLC0415 - of an extra

    with EmbeddedPostgres(data_dir) as server:
        yield server
