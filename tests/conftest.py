import pytest


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
