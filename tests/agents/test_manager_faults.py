"""Whatever goes wrong in an agent or a sink, the manager stays usable and loses nothing."""

import subprocess
import sys
import textwrap
import threading

import pytest

from overdrive.agents import FileStateSink, OptimizationConfig, OptimizedAgentManager


class Counter:
    """Counts what it is asked; raises what it is told to."""

    def __init__(self):
        self.steps = 0
        self.messages = []

    def step(self, observation):
        if isinstance(observation, BaseException):
            raise observation
        self.steps += 1
        return self.steps

    def receive(self, message):
        if isinstance(message, BaseException):
            raise message
        self.messages.append(message)


class Saved(Counter):
    def get_state(self):
        return {"steps": self.steps}

    def set_state(self, state):
        self.steps = state["steps"]


class Sink:
    """Keeps what is saved; fails as often as it is told to; notes if it is called twice at once."""

    def __init__(self, failures=0):
        self.failures = failures
        self.states = {}
        self.marker = None
        self.closed = 0
        self.overlaps = 0
        self._inside = threading.Lock()

    def _enter(self):
        if not self._inside.acquire(blocking=False):
            self.overlaps += 1
            self._inside.acquire()

    def save(self, states, marker):
        self._enter()
        try:
            if self.failures:
                self.failures -= 1
                raise OSError("disk full")
            self.states.update(states)
            self.marker = marker
        finally:
            self._inside.release()

    def load(self):
        self._enter()
        try:
            return None if self.marker is None else (dict(self.states), self.marker)
        finally:
            self._inside.release()

    def close(self):
        self.closed += 1


@pytest.fixture
def manager():
    with OptimizedAgentManager(OptimizationConfig(max_workers=2, batch_size=4)) as manager:
        yield manager


def register(manager, count, kind=Counter):
    for i in range(count):
        manager.register_agent(i, kind())
    return [manager.get_agent(i) for i in range(count)]


def in_thread(function, timeout=10):
    """Return the result of a call, or fail if it hangs."""
    results = []
    thread = threading.Thread(target=lambda: results.append(function()), daemon=True)
    thread.start()
    thread.join(timeout)
    assert results, "the call hangs"
    return results[0]


def until_it_raises(action):
    """Call again and again: the failure happens on another thread."""
    for _ in range(1000):
        action()


class Odd(list):
    def __bool__(self):
        raise ValueError("the truth value is ambiguous")


class Faithless(list):
    def __iter__(self):
        raise ValueError("no results after all")


@pytest.mark.parametrize("kind", [Odd, Faithless])
def test_results_of_step_batch_may_be_any_sequence(manager, kind):
    class Together(Counter):
        @classmethod
        def step_batch(cls, agents, observations):
            return kind(range(len(agents)))

    register(manager, 3, Together)
    results = in_thread(lambda: manager.step_agents(dict.fromkeys(range(3))))
    if kind is Odd:
        assert results == {0: 0, 1: 1, 2: 2}
    else:
        assert [str(error) for error in results.values()] == ["no results after all"] * 3


def test_an_attribute_that_raises_does_not_hold_other_agents(manager):
    class Strange(Counter):
        def __getattr__(self, name):
            raise ValueError(name)

    agents = register(manager, 3, Strange)
    for n in (1, 2):
        assert in_thread(lambda: manager.step_agents(dict.fromkeys(range(3)))) == {
            0: n,
            1: n,
            2: n,
        }
    assert [agent.steps for agent in agents] == [2, 2, 2]


def test_an_agent_whose_receive_ends_the_thread_still_gets_what_follows(manager):
    agents = register(manager, 8)
    for agent_id in range(8):
        for message in (1, SystemExit(), 2):
            manager.send(agent_id, message)
    manager.drain(10)
    assert [agent.messages for agent in agents] == [[1, 2]] * 8
    assert in_thread(lambda: manager.step_agent(0, None)) == 1


def test_a_broadcast_reaches_all_although_one_agent_ends_the_thread(manager):
    agents = register(manager, 4)
    release = threading.Event()
    agents[0].receive = lambda message: release.wait(10) and sys.exit()
    manager.broadcast("hello")
    release.set()
    manager.drain(10)
    assert [agent.messages for agent in agents[1:]] == [["hello"]] * 3


def test_an_interrupt_in_a_step_leaves_all_agents_usable(manager):
    agents = register(manager, 20)
    observations = dict.fromkeys(range(20)) | {3: KeyboardInterrupt()}
    with pytest.raises(KeyboardInterrupt):
        # Sooner or later it is the calling thread that steps agent 3.
        until_it_raises(lambda: manager.step_agents(observations))
    manager.drain(10)
    before = [agent.steps for agent in agents]
    results = in_thread(lambda: manager.step_agents(dict.fromkeys(range(20))))
    assert results == {i: before[i] + 1 for i in range(20)}


def test_an_interrupt_while_agents_are_claimed_leaves_them_usable(manager, monkeypatch):
    register(manager, 5)
    noted = []

    def interrupt(mailbox):
        noted.append(mailbox)
        if len(noted) == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(manager, "_note_change", interrupt)
        with pytest.raises(KeyboardInterrupt):
            manager.step_agents(dict.fromkeys(range(5)))
    results = in_thread(lambda: manager.step_agents(dict.fromkeys(range(5))))
    assert results == dict.fromkeys(range(5), 1)


def test_a_topic_may_use_the_manager_when_it_is_compared(manager):
    class Topic:
        def __hash__(self):
            return 1

        def __eq__(self, other):
            manager.unsubscribe(0, "other")
            return True

    register(manager, 2)
    manager.subscribe(0, Topic())
    assert in_thread(lambda: manager.broadcast("hello", topic=Topic())) == 1


def test_a_checkpoint_that_raises_an_earlier_failure_keeps_its_own_states():
    sink = Sink(failures=1)
    with OptimizedAgentManager(sink=sink) as manager:
        (agent,) = register(manager, 1, Saved)

        def step_and_save():
            manager.step_agent(0, None)
            manager.checkpoint({"tick": 2})

        with pytest.raises(OSError, match="disk full"):
            until_it_raises(step_and_save)
        manager.checkpoint({"tick": 3})
    assert sink.states == {"0": {"steps": agent.steps}}
    assert sink.marker == {"tick": 3}


def test_a_failure_that_was_raised_is_still_made_good_by_flush():
    sink = Sink(failures=2)
    with OptimizedAgentManager(sink=sink) as manager:
        register(manager, 1, Saved)
        manager.step_agent(0, None)
        manager.checkpoint({"tick": 1})
        with pytest.raises(OSError, match="disk full"):
            manager.flush()
        manager.flush()
        assert sink.states == {"0": {"steps": 1}}


def test_a_state_that_cannot_be_had_leaves_all_for_the_next_checkpoint():
    sink = Sink()
    with OptimizedAgentManager(sink=sink) as manager:
        agents = register(manager, 3, Saved)
        manager.step_agents(dict.fromkeys(range(3)))
        agents[1].get_state = lambda: 1 // 0
        with pytest.raises(ZeroDivisionError):
            manager.checkpoint({})
        del agents[1].get_state
        assert manager.checkpoint({}) == 3
    assert sink.states == {str(i): {"steps": 1} for i in range(3)}


def test_agents_that_followed_each_other_under_one_id_are_saved_as_the_last():
    sink = Sink()
    with OptimizedAgentManager(sink=sink) as manager:
        for steps in (2, 1):
            manager.register_agent("id", Saved())
            for _ in range(steps):
                manager.step_agent("id", None)
            if steps == 2:
                manager.unregister_agent("id")
        assert in_thread(lambda: manager.checkpoint({})) == 1
    assert sink.states == {"id": {"steps": 1}}


def test_ids_that_are_the_same_as_text_are_refused_in_a_checkpoint():
    sink = Sink()
    manager = OptimizedAgentManager(sink=sink)
    for agent_id in (1, "1"):
        manager.register_agent(agent_id, Saved())
        manager.step_agent(agent_id, None)
    with pytest.raises(ValueError, match="same as text"):
        manager.checkpoint({})
    manager.shutdown()
    assert sink.marker is None


def test_agents_without_a_state_are_left_out_of_a_checkpoint():
    sink = Sink()
    with OptimizedAgentManager(sink=sink) as manager:
        manager.register_agent("stateless", Counter())
        manager.register_agent("saved", Saved())
        manager.step_agents({"stateless": None, "saved": None})
        assert manager.checkpoint({}) == 1
    assert sink.states == {"saved": {"steps": 1}}


def test_the_sink_is_called_by_one_thread_at_a_time():
    sink = Sink(failures=20)
    with OptimizedAgentManager(sink=sink) as manager:
        register(manager, 4, Saved)

        def work(agent_id):
            for n in range(50):
                manager.step_agent(agent_id, None)
                for action in (lambda: manager.checkpoint({"n": n}), manager.flush):  # noqa: B023
                    try:
                        action()
                    except OSError as error:
                        assert str(error) == "disk full"  # noqa: PT017
                manager.get_statistics()

        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        manager.checkpoint({"n": 50})
        manager.flush()
    assert sink.overlaps == 0
    assert sink.states == {str(i): {"steps": 50} for i in range(4)}
    assert sink.marker == {"n": 50}


def test_restore_sees_the_checkpoints_that_were_on_their_way():
    sink = Sink()
    with OptimizedAgentManager(sink=sink) as manager:
        (agent,) = register(manager, 1, Saved)
        for n in range(20):
            manager.step_agent(0, None)
            manager.checkpoint({"n": n})
            agent.steps = 1000
            assert manager.restore() == {"n": n}
            assert agent.steps == n + 1
    assert sink.overlaps == 0


def test_shutdown_twice_does_no_harm_and_the_figures_remain():
    sink = Sink()
    manager = OptimizedAgentManager(sink=sink)
    register(manager, 2, Saved)
    manager.step_agents({0: None, 1: None})
    manager.checkpoint({})
    manager.shutdown()
    manager.shutdown()
    assert manager.get_statistics()["states_saved"] == 2
    assert manager.get_statistics()["agents_processed"] == 2
    for action in (
        lambda: manager.step_agent(0, None),
        lambda: manager.send(0, "hello"),
        lambda: manager.broadcast("hello"),
        lambda: manager.checkpoint({}),
    ):
        with pytest.raises(RuntimeError, match="shut down"):
            action()


def test_a_shutdown_that_failed_can_be_tried_again():
    sink = Sink(failures=2)
    manager = OptimizedAgentManager(sink=sink)
    register(manager, 1, Saved)
    manager.step_agent(0, None)
    manager.checkpoint({"tick": 1})
    with pytest.raises(OSError, match="disk full"):
        manager.shutdown()
    assert sink.closed == 1
    manager.shutdown()
    assert sink.states == {"0": {"steps": 1}}


def test_what_was_asked_before_a_shutdown_without_waiting_is_still_done():
    manager = OptimizedAgentManager(OptimizationConfig(max_workers=1))
    began, release = threading.Event(), threading.Event()

    class Slow(Counter):
        def receive(self, message):
            began.set()
            release.wait(10)
            super().receive(message)

    (agent,) = register(manager, 1, Slow)
    for n in range(200):
        manager.send(0, n)
    assert began.wait(10)
    manager.shutdown(wait=False)
    release.set()
    manager.drain(10)
    assert agent.messages == list(range(200))


def run(script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_the_interpreter_exits_when_a_manager_was_forgotten_and_saves_its_checkpoints(tmp_path):
    script = """
        import sys
        from overdrive.agents import FileStateSink, OptimizedAgentManager

        class Agent:
            def step(self, observation):
                self.seen = observation

            def get_state(self):
                return {"seen": self.seen}

        manager = OptimizedAgentManager(sink=FileStateSink(sys.argv[1]))
        manager.register_agent("a", Agent())
        manager.step_agent("a", 42)
        manager.checkpoint({"tick": 1})
    """
    path = tmp_path / "states.json"
    finished = run(script, str(path))
    assert finished.returncode == 0, finished.stderr
    assert FileStateSink(path).load() == ({"a": {"seen": 42}}, {"tick": 1})


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="needs fork")
def test_a_forked_child_has_the_agents_but_not_what_was_asked_of_them(tmp_path):
    script = """
        import os, sys, threading, warnings
        from overdrive.agents import FileStateSink, OptimizationConfig, OptimizedAgentManager

        warnings.simplefilter("ignore")
        began, release = threading.Event(), threading.Event()

        class Agent:
            steps = 0

            def step(self, observation):
                self.steps += 1
                return self.steps

            def receive(self, message):
                began.set()
                release.wait()

            def get_state(self):
                return {"steps": self.steps}

        config = OptimizationConfig(max_workers=2)
        manager = OptimizedAgentManager(config, sink=FileStateSink(sys.argv[1]))
        for name in "ab":
            manager.register_agent(name, Agent())
        manager.send("a", "wait")
        began.wait()
        child = os.fork()
        if child == 0:
            manager.drain(5)
            assert manager.step_agents({"a": 0, "b": 0}) == {"a": 1, "b": 1}
            manager.send("b", "hello") and release.set()
            manager.checkpoint({"who": "child"})
            manager.shutdown()
            os._exit(0)
        _, status = os.waitpid(child, 0)
        release.set()
        assert manager.step_agents({"a": 0, "b": 0}) == {"a": 1, "b": 1}
        manager.shutdown()
        sys.exit(os.waitstatus_to_exitcode(status))
    """
    path = tmp_path / "states.json"
    finished = run(script, str(path))
    assert finished.returncode == 0, finished.stderr
    assert FileStateSink(path).load() == (
        {"a": {"steps": 1}, "b": {"steps": 1}},
        {"who": "child"},
    )
