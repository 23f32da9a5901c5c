"""A memory pool hands out rows of one array, all zeros, each to one borrower at a time."""

import gc

import pytest
from concurrency import run_script
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from overdrive.pools import MemoryPool, MemoryPoolStats, PoolExhaustedError

np = pytest.importorskip("numpy")


class MemoryPoolIsASetOfRows(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.pool = MemoryPool(3, 5)
        self.held = []

    @rule(value=st.floats(width=32, allow_nan=False))
    def acquire(self, value):
        if len(self.held) == 3:
            with pytest.raises(PoolExhaustedError, match="all 3 blocks are in use"):
                self.pool.acquire()
            return
        block = self.pool.acquire()
        assert block.dtype == np.float32
        assert block.shape == (5,)
        assert not block.any()
        block[:] = value
        self.held.append((block, value))

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data):
        block, _ = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        self.pool.release(block)
        with pytest.raises(ValueError, match="released before"):
            self.pool.release(block)

    @rule()
    def release_foreign(self):
        with pytest.raises(ValueError, match="this ndarray is not lent by the pool"):
            self.pool.release(np.zeros(5, dtype=np.float32))

    @invariant()
    def blocks_are_apart_and_counted(self):
        assert all((block == value).all() for block, value in self.held)
        used = len(self.held)
        assert self.pool.get_stats() == {
            "available": 3 - used,
            "in_use": used,
            "utilization": used / 3,
        }
        assert self.pool.stats() == MemoryPoolStats(3 - used, used, used / 3)


TestMemoryPoolIsASetOfRows = MemoryPoolIsASetOfRows.TestCase


def test_all_blocks_are_rows_of_one_slab():
    pool = MemoryPool(4, 16)
    blocks = [pool.acquire() for _ in range(4)]
    assert len({id(block.base) for block in blocks}) == 1
    assert {np.diff(sorted(block.ctypes.data for block in blocks)).tolist()[0]} == {64}


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0), (-1, 1), (1, -(2**70))])
def test_a_memory_pool_needs_blocks_of_some_size(sizes):
    with pytest.raises(ValueError, match=r"(pool|state)_size must be at least 1, got (0|-\d+)"):
        MemoryPool(*sizes)


def test_a_slab_too_large_for_the_machine_is_an_error():
    with pytest.raises((MemoryError, ValueError)):
        MemoryPool(2**62, 2**62)


def test_blocks_survive_their_pool():
    block = MemoryPool(1, 3).acquire()
    gc.collect()
    block += 1
    assert block.tolist() == [1, 1, 1]


def test_without_numpy_a_memory_pool_says_what_to_install():
    code = """
import sys
sys.modules["numpy"] = None
from overdrive import MemoryPool, ObjectPool
ObjectPool(lambda: {"a": [], "b": bytearray(3)}, reset="auto").acquire()
try:
    MemoryPool(1, 1)
except ImportError as error:
    print(error)
"""
    done = run_script(code)
    assert done.stderr == ""
    assert 'numpy is not installed; run: pip install "overdrive[agents]"' in done.stdout
