"""The agents that benchmarks step."""

import hashlib
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Believer", "Notary", "Tracker", "believers"]

STATES = 64
"""Hidden states that a believer tells apart."""

SEEN = 16
"""Things a believer may observe."""

Array = npt.NDArray[np.float64]


class Tracker:
    """A Kalman filter of one dimension: pure Python, which holds the interpreter lock."""

    def __init__(self) -> None:
        self.mean, self.variance, self.steps = 0.0, 100.0, 0
        self.heard: deque[Any] = deque(maxlen=8)

    def step(self, observation: float) -> float:
        """Update the belief and return it."""
        predicted = self.variance + 0.1
        gain = predicted / (predicted + 4.0)
        self.mean += gain * (observation - self.mean)
        self.variance = (1.0 - gain) * predicted
        self.steps += 1
        return self.mean

    def receive(self, message: Any) -> None:
        """Keep the last messages."""
        self.heard.append(message)

    def get_state(self) -> dict[str, Any]:
        """Return the belief."""
        return {"mean": self.mean, "variance": self.variance, "steps": self.steps}

    def set_state(self, state: dict[str, Any]) -> None:
        """Take the belief back."""
        self.mean, self.variance, self.steps = state["mean"], state["variance"], state["steps"]


class Notary:
    """Chains hashes of documents: nearly all of its time is spent without the interpreter lock."""

    def __init__(self) -> None:
        self.chain = b""

    def step(self, observation: bytes) -> bytes:
        """Hash a document together with what came before."""
        self.chain = hashlib.sha256(observation + self.chain).digest()
        return self.chain


class Believer:
    """A discrete Bayesian filter over hidden states, as active inference uses it.

    Its belief is moved by the transitions of a hidden Markov model and weighed by how probable each
    state makes what is observed. `step_batch` does that for many in one product of matrices.
    """

    transition: Array
    likelihood: Array

    def __init__(self) -> None:
        self.belief = np.full(STATES, 1.0 / STATES)

    def step(self, observation: int) -> int:
        """Update the belief and return the most probable state."""
        weighed = self.likelihood[observation] * (self.transition @ self.belief)
        self.belief = weighed / weighed.sum()
        return int(self.belief.argmax())

    @staticmethod
    def step_batch(agents: Sequence["Believer"], observations: Sequence[int]) -> list[int]:
        """Update the beliefs of many at once."""
        beliefs = np.stack([agent.belief for agent in agents])
        weighed = Believer.likelihood[list(observations)] * (beliefs @ Believer.transition.T)
        weighed /= weighed.sum(axis=1, keepdims=True)
        for agent, belief in zip(agents, weighed, strict=True):
            agent.belief = belief
        best: list[int] = weighed.argmax(axis=1).tolist()
        return best


_draw = np.random.default_rng(7)
Believer.transition = _draw.dirichlet(np.ones(STATES), STATES).T
Believer.likelihood = _draw.dirichlet(np.ones(SEEN), STATES).T


def believers(count: int) -> tuple[dict[int, Believer], dict[int, int]]:
    """Make agents and an observation for each."""
    return {i: Believer() for i in range(count)}, {i: i * 7 % SEEN for i in range(count)}
