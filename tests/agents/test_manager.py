"""The manager steps agents one operation at a time each, and loses nothing."""

import threading

import pytest

from overdrive.agents import FileStateSink, OptimizationConfig, OptimizedAgentManager


class Recorder:
    """Notes what it does, and whether it ever did two things at once."""

    def __init__(self):
        self.log = []
        self.inside = False

    def _note(self, entry):
        assert not self.inside
        self.inside = True
        self.log.append(entry)
        self.inside = False
        return entry

    def step(self, observation):
        if isinstance(observation, Exception):
            raise observation
        return self._note(observation)

    def receive(self, message):
        self._note(message)

    def get_state(self):
        return {"log": self.log}

    def set_state(self, state):
        self.log = state["log"]


class Together(Recorder):
    batches = 0

    @classmethod
    def step_batch(cls, agents, observations):
        cls.batches += 1
        return [agent.step(o) for agent, o in zip(agents, observations, strict=True)]


@pytest.fixture
def manager():
    with OptimizedAgentManager(OptimizationConfig(max_workers=4, batch_size=3)) as manager:
        yield manager


@pytest.mark.parametrize("kind", [Recorder, Together])
def test_every_agent_is_stepped_once_with_its_observation(manager, kind):
    for i in range(50):
        assert manager.register_agent(i, kind())
    assert manager.step_agents({i: -i for i in range(50)}) == {i: -i for i in range(50)}
    assert [manager.get_agent(i).log for i in range(50)] == [[-i] for i in range(50)]
    assert manager.get_statistics()["agents_processed"] == 50


def test_agents_of_a_class_with_step_batch_are_stepped_by_one_call(manager):
    for i in range(50):
        manager.register_agent(i, Together())
    before = Together.batches
    manager.step_agents(dict.fromkeys(range(50)))
    assert Together.batches == before + 1


def test_failures_are_results(manager):
    manager.register_agent("good", Recorder())
    manager.register_agent("bad", Recorder())
    error = ValueError("bad")
    results = manager.step_agents({"good": 1, "bad": error, "nobody": 2})
    assert results["good"] == 1
    assert results["bad"] is error
    assert isinstance(results["nobody"], KeyError)
    with pytest.raises(ValueError, match="bad"):
        manager.step_agent("bad", error)
    with pytest.raises(KeyError):
        manager.step_agent("nobody", 0)
    assert manager.get_statistics()["failures"] == 2


def test_a_batch_of_wrong_length_is_an_error_for_each_agent(manager):
    class Short(Recorder):
        @classmethod
        def step_batch(cls, agents, observations):
            return [1]

    for i in range(3):
        manager.register_agent(i, Short())
    results = manager.step_agents(dict.fromkeys(range(3)))
    assert all("returned 1 results for 3 agents" in str(error) for error in results.values())


def test_an_id_keeps_its_first_agent(manager):
    first = Recorder()
    assert manager.register_agent("id", first)
    assert not manager.register_agent("id", Recorder())
    assert manager.get_agent("id") is first
    assert manager.unregister_agent("id") is first
    assert manager.unregister_agent("id") is None


def test_an_agent_without_step_is_refused(manager):
    class Waiting:
        async def step(self, observation):
            return observation

    for agent in (object(), Waiting()):
        with pytest.raises(TypeError, match="plain method step"):
            manager.register_agent("id", agent)


def test_messages_of_one_sender_arrive_in_order(manager):
    manager.register_agent("a", Recorder())
    for i in range(500):
        assert manager.send("a", i)
    manager.drain(10)
    assert manager.get_agent("a").log == list(range(500))


def test_steps_and_messages_of_several_threads_never_overlap_and_keep_their_order(manager):
    ids = range(5)
    for i in ids:
        manager.register_agent(i, Together() if i % 2 else Recorder())

    def work(thread):
        for n in range(100):
            manager.broadcast((thread, n, "message"))
            results = manager.step_agents(dict.fromkeys(ids, (thread, n, "step")))
            assert all(result == (thread, n, "step") for result in results.values())

    threads = [threading.Thread(target=work, args=(t,)) for t in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    manager.drain(10)
    for i in ids:
        log = manager.get_agent(i).log
        for t in range(4):
            expected = [(t, n, what) for n in range(100) for what in ("message", "step")]
            assert [entry for entry in log if entry[0] == t] == expected


def test_a_broadcast_reaches_the_subscribers_but_not_the_sender(manager):
    for name in "abc":
        manager.register_agent(name, Recorder())
    manager.subscribe("a", "topic")
    manager.subscribe("b", "topic")
    assert manager.broadcast("hello", topic="topic", sender="a") == 1
    assert manager.broadcast("nobody", topic="unknown") == 0
    manager.unsubscribe("b", "topic")
    assert manager.broadcast("bye", topic="topic", sender="a") == 0
    with pytest.raises(KeyError):
        manager.subscribe("nobody", "topic")
    manager.drain(10)
    assert [manager.get_agent(name).log for name in "abc"] == [[], ["hello"], []]


def test_a_message_to_nobody_is_a_dead_letter(manager, caplog):
    assert not manager.send("nobody", "hello", sender="me")
    assert manager.get_statistics()["dead_letters"] == 1
    assert "no agent 'nobody' for a message from 'me'" in caplog.text


def test_an_agent_may_send_but_not_wait_inside_its_step(manager):
    class Sender(Recorder):
        def step(self, observation):
            manager.send("other", observation)
            manager.step_agents({"other": observation})

    manager.register_agent("other", Recorder())
    manager.register_agent("sender", Sender())
    with pytest.raises(RuntimeError, match="use send or broadcast there"):
        manager.step_agent("sender", 1)
    manager.drain(10)
    assert manager.get_agent("other").log == [1]


def test_drain_times_out_with_a_clear_error(manager):
    began, release = threading.Event(), threading.Event()

    class Slow(Recorder):
        def receive(self, message):
            began.set()
            release.wait(10)

    manager.register_agent("slow", Slow())
    manager.send("slow", 1)
    assert began.wait(10)
    with pytest.raises(TimeoutError, match="still pending after 0"):
        manager.drain(0)
    release.set()
    manager.drain(10)


def test_checkpoints_hold_the_states_of_the_agents_that_changed(tmp_path):
    path = tmp_path / "states.json"
    with OptimizedAgentManager(sink=FileStateSink(path)) as manager:
        for name in "ab":
            manager.register_agent(name, Recorder())
        manager.step_agents({"a": 1, "b": 2})
        assert manager.checkpoint({"tick": 1}) == 2
        manager.step_agent("a", 3)
        assert manager.checkpoint({"tick": 2}) == 1
        manager.flush()
        assert manager.get_statistics()["states_saved"] == 3
    with OptimizedAgentManager(sink=FileStateSink(path)) as manager:
        for name in "abc":
            manager.register_agent(name, Recorder())
        assert manager.restore() == {"tick": 2}
        assert [manager.get_agent(name).log for name in "abc"] == [[1, 3], [2], []]


def test_a_failed_checkpoint_is_raised_and_saved_later():
    class Sink:
        failing = True
        saved = None
        closed = 0

        def save(self, states, marker):
            if self.failing:
                raise OSError("disk full")
            self.saved = (dict(states), marker)

        def close(self):
            self.closed += 1

    sink = Sink()
    manager = OptimizedAgentManager(sink=sink)
    manager.register_agent("a", Recorder())
    manager.step_agent("a", 1)
    manager.checkpoint({"tick": 1})
    with pytest.raises(OSError, match="disk full"):
        manager.flush()
    sink.failing = False
    manager.step_agent("a", 2)
    manager.checkpoint({"tick": 2})
    manager.shutdown()
    assert sink.saved == ({"a": {"log": [1, 2]}}, {"tick": 2})
    assert sink.closed == 1


def test_checkpoints_need_a_sink(manager):
    with pytest.raises(ValueError, match="sink=None"):
        manager.checkpoint({})
    with pytest.raises(ValueError, match="sink=None"):
        manager.restore()
