"""The optional dependency numpy, loaded when it is first needed."""

from typing import Any

from overdrive.errors import missing_extra

try:
    import numpy as np
except ModuleNotFoundError as error:
    raise missing_extra("numpy", "agents") from error

__all__ = ["zeros"]


def zeros(shape: tuple[int, int]) -> Any:
    """Make an array of `float32` zeros."""
    return np.zeros(shape, dtype=np.float32)
