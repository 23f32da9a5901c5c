import asyncio
import math
import multiprocessing
import threading

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from overdrive.agents import OptimizedAgentManager
from overdrive.database import PostgresStateSink


def statement(postgres, text, *args):
    async def run():
        connection = await asyncpg.connect(postgres.dsn)
        try:
            return await connection.fetch(text, *args)
        finally:
            await connection.close()

    return asyncio.run(run())


@pytest.fixture
def sink(postgres, request):
    sink = PostgresStateSink(postgres.dsn, name=request.node.name)
    yield sink
    sink.clear()
    sink.close()


def test_nothing_saved_is_none(sink):
    assert sink.load() is None


def test_states_and_marker_come_back(sink):
    sink.save({"a": {"x": 1}, "b": {"x": 2}}, {"position": 1})
    sink.save({"b": {"x": 3}}, {"position": 2})
    assert sink.load() == ({"a": {"x": 1}, "b": {"x": 3}}, {"position": 2})


def test_a_checkpoint_without_states_moves_the_marker(sink):
    sink.save({}, {"position": 1})
    assert sink.load() == ({}, {"position": 1})


def test_sets_of_agents_do_not_see_each_other(postgres, sink):
    other = PostgresStateSink(postgres.dsn, name="another")
    other.save({"a": {}}, {})
    assert sink.load() is None
    other.clear()
    assert other.load() is None
    other.close()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
IDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(states=st.dictionaries(IDS, st.dictionaries(st.text(), JSON, max_size=3), max_size=4))
def test_every_json_object_comes_back_exactly(sink, states):
    sink.clear()
    sink.save(states, {"states": len(states)})
    loaded, _ = sink.load()
    assert repr(sorted(loaded.items())) == repr(sorted(states.items()))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_json_cannot_say_is_refused_by_name_and_nothing_is_saved(sink, value):
    with pytest.raises(ValueError, match="state of agent 'b'"):
        sink.save({"a": {}, "b": {"x": value}}, {})
    assert sink.load() is None


def test_a_state_that_is_no_json_is_refused_by_name(sink):
    with pytest.raises(TypeError, match="state of agent 'a'"):
        sink.save({"a": {"x": object()}}, {})


def test_an_id_with_a_nul_is_refused(sink):
    with pytest.raises(ValueError, match="NUL"):
        sink.save({"a\0": {}}, {})


@pytest.mark.parametrize("options", [{"name": ""}, {"name": "a\0"}, {"timeout": 0.0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        PostgresStateSink("postgresql://", **options)


def test_totals_are_added_up_by_the_database(sink):
    sink.save({"a": {"n": 1}, "b": {"n": 2.5}, "c": {}}, {})
    assert sink.total("n") == 3.5
    assert sink.total("absent") == 0
    assert sink.count() == 3


def test_versions_count_how_often_a_state_was_saved(postgres, sink):
    for _ in range(3):
        sink.save({"a": {}}, {})
    rows = statement(
        postgres, "select version from overdrive_agent_states where name = $1", sink._name
    )
    assert [row["version"] for row in rows] == [3]


def test_a_lost_connection_is_opened_again(postgres, sink):
    sink.save({"a": {"x": 1}}, {"position": 1})
    pid = sink._connection.get_server_pid()
    statement(postgres, "select pg_terminate_backend($1, 5000)", pid)
    sink.save({"a": {"x": 2}}, {"position": 2})
    assert sink.load() == ({"a": {"x": 2}}, {"position": 2})


def test_a_checkpoint_that_fails_leaves_the_last_one(postgres, sink):
    sink.save({"a": {"x": 1}}, {"position": 1})
    statement(
        postgres,
        "alter table overdrive_agent_states add constraint no_b check (agent_id <> 'b')",
    )
    try:
        with pytest.raises(asyncpg.CheckViolationError):
            sink.save({"a": {"x": 2}, "b": {}}, {"position": 2})
    finally:
        statement(postgres, "alter table overdrive_agent_states drop constraint no_b")
    assert sink.load() == ({"a": {"x": 1}}, {"position": 1})


def test_an_unreachable_server_is_an_error_not_a_hang(tmp_path):
    sink = PostgresStateSink(f"postgresql://postgres@/postgres?host={tmp_path}", timeout=5.0)
    with pytest.raises(OSError, match="No such file"):
        sink.load()
    sink.close()


def test_it_works_inside_a_running_event_loop(sink):
    async def main():
        sink.save({"a": {}}, {"position": 1})
        return sink.load()

    assert asyncio.run(main()) == ({"a": {}}, {"position": 1})


def test_many_threads_may_save(sink):
    threads = [
        threading.Thread(target=sink.save, args=({f"agent-{i}": {"x": i}}, {"by": i}))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sink.load()[0] == {f"agent-{i}": {"x": i} for i in range(8)}


def _save_in_child(sink):
    sink.save({"child": {}}, {"by": "child"})
    sink.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_has_its_own_connection(sink):
    sink.save({"parent": {}}, {"by": "parent"})
    child = multiprocessing.get_context("fork").Process(target=_save_in_child, args=(sink,))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    assert sink.load() == ({"parent": {}, "child": {}}, {"by": "child"})


def test_closing_twice_is_harmless_and_a_closed_sink_opens_again(sink):
    sink.save({"a": {}}, {})
    sink.close()
    sink.close()
    assert sink.load() == ({"a": {}}, {})


class Counter:
    def __init__(self):
        self.n = 0

    def step(self, by):
        self.n += by
        return self.n

    def get_state(self):
        return {"n": self.n}

    def set_state(self, state):
        self.n = state["n"]


def test_a_manager_resumes_from_the_database(postgres, sink):
    name = sink._name
    with OptimizedAgentManager(sink=PostgresStateSink(postgres.dsn, name=name)) as manager:
        for i in range(100):
            manager.register_agent(f"agent-{i}", Counter())
        manager.step_agents({f"agent-{i}": i for i in range(100)})
        manager.checkpoint({"tick": 1})
    with OptimizedAgentManager(sink=PostgresStateSink(postgres.dsn, name=name)) as manager:
        for i in range(100):
            manager.register_agent(f"agent-{i}", Counter())
        assert manager.restore() == {"tick": 1}
        assert manager.step_agent("agent-7", 1) == 8
    assert sink.total("n") == sum(range(100))
