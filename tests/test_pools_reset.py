"""What `reset="auto"` does to which objects, and what it refuses."""

import array
import gc
import sys
from collections import OrderedDict, defaultdict, deque

import pytest

from overdrive.pools import ObjectPool

np = pytest.importorskip("numpy")


class SubList(list):
    cleared = 0

    def clear(self):
        self.cleared += 1
        super().clear()


AUTOMATIC = {
    "list": (list, lambda x: x.append(1), lambda x: x == []),
    "subclass of list": (SubList, lambda x: x.append(1), lambda x: x == [] and x.cleared),
    "set": (set, lambda x: x.add(1), lambda x: x == set()),
    "dict": (dict, lambda x: x.update(a=1), lambda x: x == {}),
    "defaultdict": (lambda: defaultdict(int), lambda x: x["a"], lambda x: x == {}),
    "OrderedDict": (OrderedDict, lambda x: x.update(a=1), lambda x: x == {}),
    "deque": (deque, lambda x: x.append(1), lambda x: len(x) == 0),
    "bounded deque": (lambda: deque(maxlen=2), lambda x: x.extend("abc"), lambda x: len(x) == 0),
    "bytearray": (lambda: bytearray(4), lambda x: x.__setitem__(1, 7), lambda x: x == bytes(4)),
    "array": (
        lambda: array.array("d", [0.0] * 3),
        lambda x: x.__setitem__(1, 7.5),
        lambda x: list(x) == [0.0] * 3,
    ),
}
for dtype in [
    "f4",
    "f8",
    "i2",
    "u1",
    "?",
    "c16",
    "M8[s]",
    "m8[D]",
    "U3",
    "S2",
    "f4,i8",
    "O",
    ">f8",
]:
    AUTOMATIC[f"array of {dtype}"] = (
        lambda dtype=dtype: np.zeros(6, dtype),
        lambda x: x.__setitem__(slice(None), np.ones(6, x.dtype)),
        lambda x: (x == np.zeros(6, x.dtype)).all(),
    )
for name, shape in {
    "matrix": lambda: np.zeros((3, 4)),
    "Fortran matrix": lambda: np.zeros((3, 4), order="F"),
    "strided array": lambda: np.zeros((3, 8))[:, ::2],
    "reversed array": lambda: np.zeros(5)[::-1],
    "empty array": lambda: np.zeros(0),
    "scalar array": lambda: np.zeros(()),
    "array of fields with objects": lambda: np.zeros(3, "f4,O"),
}.items():
    AUTOMATIC[name] = (
        shape,
        lambda x: x.__setitem__(Ellipsis, np.ones(x.shape, x.dtype)),
        lambda x: (x == np.zeros(x.shape, x.dtype)).all(),
    )


@pytest.mark.parametrize("kind", AUTOMATIC)
def test_automatic_reset_empties_or_zeroes(kind):
    factory, use, is_reset = AUTOMATIC[kind]
    pool = ObjectPool(factory, reset="auto")
    thing = pool.acquire()
    assert is_reset(thing)
    use(thing)
    pool.release(thing)
    assert pool.acquire() is thing
    assert is_reset(thing)


def test_automatic_reset_leaves_the_neighbours_of_a_view_alone():
    whole = np.ones((4, 8), dtype=np.float32)
    rows = iter(range(4))
    pool = ObjectPool(lambda: whole[next(rows), 2:5], reset="auto")
    pool.acquire()
    assert whole.sum() == 4 * 8 - 3
    assert whole[0].tolist() == [1, 1, 0, 0, 0, 1, 1, 1]


def test_what_is_lent_first_is_as_what_is_lent_again():
    pool = ObjectPool(lambda: np.ones(3), reset="auto")
    assert not pool.acquire().any()
    assert ObjectPool(lambda: [1, 2], reset="auto").acquire() == []


@pytest.mark.parametrize(
    "thing", [object(), 1, "text", b"bytes", (1, 2), None, np.float32(1), memoryview(b"abc")]
)
def test_automatic_reset_refuses_what_it_cannot_reset(thing):
    with pytest.raises(TypeError, match='reset="auto" does not know how to reset'):
        ObjectPool(lambda: thing, reset="auto").acquire()


def create_agent_state():
    return {
        "beliefs": np.zeros(100),
        "observations": deque(maxlen=10),
        "actions": [],
        "name": "agent",
        "steps": 0,
        "nested": {"seen": set(), "weight": 1.5},
    }


def assert_same_state(state, other):
    assert list(state) == list(other)
    assert np.array_equal(state.pop("beliefs"), other.pop("beliefs"))
    assert state == other


def test_a_dict_is_reset_member_by_member():
    pool = ObjectPool(create_agent_state, reset="auto")
    state = pool.acquire()
    members = {key: id(value) for key, value in state.items()}
    state["beliefs"][3] = 1
    state["observations"].append(1)
    state["actions"].append(2)
    state["steps"] += 5
    state["nested"]["seen"].add(1)
    state["nested"]["weight"] = "other"
    state["extra"] = "left over"
    state["nested"]["extra"] = "left over"
    pool.release(state)
    assert pool.acquire() is state
    assert {key: id(value) for key, value in state.items()} == members
    assert_same_state(state, create_agent_state())


def test_a_member_that_was_replaced_is_reset_and_the_first_one_is_left_alone():
    pool = ObjectPool(create_agent_state, reset="auto")
    state = pool.acquire()
    kept = state["actions"]
    kept.append("mine")
    state["actions"] = deque([1])
    pool.release(state)
    assert kept == ["mine"]
    assert pool.acquire()["actions"] == deque()


def test_a_member_that_is_missing_or_cannot_be_reset_discards_the_dict():
    pool = ObjectPool(create_agent_state, reset="auto")
    state = pool.acquire()
    del state["actions"]
    with pytest.raises(ValueError, match="misses the member 'actions'"):
        pool.release(state)
    state = pool.acquire()
    state["actions"] = object()
    with pytest.raises(TypeError, match="does not know how to reset <class 'object'>"):
        pool.release(state)
    assert pool.stats().discarded_count == 2
    assert pool.stats().pool_size == 0


def test_a_dict_inside_itself_is_refused():
    def factory():
        state = {}
        state["self"] = state
        return state

    with pytest.raises(ValueError, match="is one inside itself"):
        ObjectPool(factory, reset="auto").acquire()


def test_an_array_that_became_read_only_is_discarded():
    pool = ObjectPool(lambda: np.zeros(3), reset="auto")
    thing = pool.acquire()
    thing.setflags(write=False)
    with pytest.raises(ValueError, match="read-only"):
        pool.release(thing)
    assert pool.stats().discarded_count == 1


def test_an_array_that_was_resized_in_place_is_zeroed_where_it_is_now():
    pool = ObjectPool(lambda: np.zeros(3), reset="auto")
    thing = pool.acquire()
    thing.resize(100_000, refcheck=False)
    thing += 1
    pool.release(thing)
    assert not pool.acquire().any()


def test_what_is_cleared_may_use_the_pool():
    class Meddler:
        def __del__(self):
            seen.append(pool.acquire())

    seen = []
    pool = ObjectPool(lambda: {"things": [], "later": []}, reset="auto")
    state = pool.acquire()
    state["things"].append(Meddler())
    state["later"].append(1)
    pool.release(state)
    assert len(seen) == 1
    assert seen[0] is not state
    assert state == {"things": [], "later": []}


def test_recycling_allocates_a_fifth_of_what_making_does_or_less():
    pool = ObjectPool(create_agent_state, 100, reset="auto")
    warm = [pool.acquire() for _ in range(100)]
    for state in warm:
        pool.release(state)
    del warm

    def blocks(make):
        gc.collect()
        before = sys.getallocatedblocks()
        things = [make() for _ in range(100)]
        return (sys.getallocatedblocks() - before) / len(things)

    assert blocks(pool.acquire) <= 0.2 * blocks(create_agent_state)
