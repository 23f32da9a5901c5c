"""Predictions of flights from what their three agents expect, and how good they are."""

import binascii
from dataclasses import dataclass
from typing import Any

import numpy as np

from overdrive.demo.agents import USUAL_DELAY
from overdrive.demo.flights import Floats, Ints
from overdrive.demo.timeline import Timeline

__all__ = ["Baselines", "Forecaster", "Score"]

Estimate = tuple[float, float, float]

FEATURES = 1 + 3 * 3
RIDGE = 200.0
"""How many flights the first weights count for."""
FIRST_WEIGHTS = (0.0, 0.3, 0.7, 0.0, 0.4, 0.7, 0.0, 0.6, 0.4, 0.0)
NOBODY: Estimate = (USUAL_DELAY, 0.0, 0.0)
"""What is expected of an aircraft without a tail number."""


class Forecaster:
    """Weighs the estimates of a flight's agents, and learns the weights from how flights end.

    The weights are those of a ridge regression over all flights that have landed, drawn towards
    `FIRST_WEIGHTS` and computed anew once a day.

    Args:
        flights: Number of flights.
    """

    def __init__(self, flights: int) -> None:
        self._features: Floats = np.zeros((flights, FEATURES))
        self.predictions: Floats = np.full(flights, np.nan)
        self._gram: Floats = RIDGE * np.eye(FEATURES)
        self._moment: Floats = RIDGE * np.array(FIRST_WEIGHTS)
        self.weights: Floats = np.array(FIRST_WEIGHTS)

    def predict(self, flights: Ints, estimates: Floats) -> None:
        """Predict flights from what aircraft, origin and destination expect, shape (n, 3, 3)."""
        features = np.ones((len(flights), FEATURES))
        features[:, 1:] = estimates.reshape(len(flights), FEATURES - 1)
        self._features[flights] = features
        self.predictions[flights] = features @ self.weights

    def learn(self, flights: Ints, delays: Floats) -> None:
        """Take note of how flights ended."""
        features = self._features[flights]
        self._gram += features.T @ features
        self._moment += features.T @ delays

    def renew(self) -> None:
        """Compute the weights anew."""
        self.weights = np.linalg.solve(self._gram, self._moment).astype(np.float64)

    def get_state(self, pending: Ints) -> dict[str, Any]:
        """Return a JSON object with all that later predictions, and the pending ones, need.

        Arrays are in base64: thousands of numbers, and to the last bit.
        """
        return {
            "weights": _to_text(self.weights),
            "gram": _to_text(self._gram),
            "moment": _to_text(self._moment),
            "pending": pending.tolist(),
            "features": _to_text(self._features[pending]),
            "predictions": _to_text(self.predictions[pending]),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_state` returned."""
        self.weights = _from_text(state["weights"])
        self._gram = _from_text(state["gram"]).reshape(FEATURES, FEATURES)
        self._moment = _from_text(state["moment"])
        pending = np.array(state["pending"], np.int64)
        self._features[pending] = _from_text(state["features"]).reshape(-1, FEATURES)
        self.predictions[pending] = _from_text(state["predictions"])


def _to_text(array: Floats) -> str:
    return binascii.b2a_base64(array.astype("<f8").tobytes(), newline=False).decode()


def _from_text(text: str) -> Floats:
    return np.frombuffer(binascii.a2b_base64(text), "<f8").astype(np.float64)


class Baselines:
    """What simple running means would have predicted, from the flights known at the time.

    Attributes:
        overall: The mean of all flights known, shape (flights,).
        aircraft: The mean of the aircraft's own flights known; where there are none, `overall`.
    """

    def __init__(self, timeline: Timeline) -> None:
        flights = timeline.flights
        self.overall: Floats = np.full(len(flights), USUAL_DELAY)
        self.aircraft: Floats = np.full(len(flights), USUAL_DELAY)
        total, count = 0.0, 0
        # The last place, -1, is for flights without a tail number; it stays empty.
        sums = np.zeros(len(flights.tails) + 1)
        counts = np.zeros(len(flights.tails) + 1)
        for hour in timeline.play():
            own = flights.aircraft[hour.landed]
            delays = flights.arrival_delay[hour.landed]
            total, count = total + float(delays.sum()), count + len(delays)
            known = own >= 0
            np.add.at(sums, own[known], delays[known])
            np.add.at(counts, own[known], 1)
            mean = total / count if count else USUAL_DELAY
            due = flights.aircraft[hour.scheduled]
            self.overall[hour.scheduled] = mean
            self.aircraft[hour.scheduled] = np.where(
                counts[due] > 0, sums[due] / np.maximum(counts[due], 1), mean
            )


@dataclass(slots=True)
class Score:
    """Sums of the errors of some predictions, in minutes."""

    flights: int = 0
    absolute: float = 0.0
    squared: float = 0.0

    def add(self, errors: Floats) -> None:
        """Count some errors."""
        self.flights += len(errors)
        self.absolute += float(np.abs(errors).sum())
        self.squared += float((errors * errors).sum())

    @property
    def mean_absolute(self) -> float:
        """Mean absolute error in minutes."""
        return self.absolute / self.flights if self.flights else 0.0

    @property
    def root_mean_square(self) -> float:
        """Root of the mean squared error in minutes."""
        return float((self.squared / self.flights) ** 0.5) if self.flights else 0.0
