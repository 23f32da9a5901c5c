import json

import numpy as np
import pytest
from hypothesis import given
from made_flights import some_flights

from overdrive.demo.agents import USUAL_DELAY
from overdrive.demo.forecast import FIRST_WEIGHTS, RIDGE, Baselines, Forecaster, Score
from overdrive.demo.timeline import Timeline


@pytest.fixture
def estimates():
    return np.random.default_rng(1).normal(5.0, 20.0, (300, 3, 3))


def test_the_first_predictions_use_the_first_weights(estimates):
    forecaster = Forecaster(300)
    assert np.isnan(forecaster.predictions).all()
    forecaster.predict(np.arange(10), estimates[:10])
    expected = np.array(FIRST_WEIGHTS[1:]) @ estimates[:10].reshape(10, 9).T
    assert forecaster.predictions[:10] == pytest.approx(expected)
    assert np.isnan(forecaster.predictions[10:]).all()


def test_the_weights_are_those_of_a_ridge_regression(estimates):
    forecaster = Forecaster(300)
    delays = estimates[:, 2, 0] * 0.5 + estimates[:, 0, 1] + 3.0
    for begin in (0, 100, 200):
        flights = np.arange(begin, begin + 100)
        forecaster.predict(flights, estimates[flights])
        forecaster.learn(flights, delays[flights])
    forecaster.renew()
    features = np.column_stack([np.ones(300), estimates.reshape(300, 9)])
    rows = np.vstack([features, np.sqrt(RIDGE) * np.eye(10)])
    targets = np.append(delays, np.sqrt(RIDGE) * np.array(FIRST_WEIGHTS))
    expected = np.linalg.lstsq(rows, targets, rcond=None)[0]
    assert forecaster.weights == pytest.approx(expected)


def test_a_forecaster_goes_on_from_json_to_the_last_bit(estimates):
    first, second = Forecaster(300), Forecaster(300)
    flights = np.arange(200)
    first.predict(flights, estimates[flights])
    first.learn(flights[:150], estimates[:150, 0, 0])
    first.renew()
    text = json.dumps(first.get_state(flights[150:]), allow_nan=False)
    second.set_state(json.loads(text))
    for forecaster in (first, second):
        forecaster.learn(flights[150:], estimates[150:200, 1, 1])
        forecaster.renew()
        forecaster.predict(np.arange(200, 300), estimates[200:])
    assert second.weights.tobytes() == first.weights.tobytes()
    assert second.predictions[150:].tobytes() == first.predictions[150:].tobytes()


@given(some_flights())
def test_the_baselines_are_means_of_what_had_landed_before(flights):
    timeline = Timeline(flights)
    baselines = Baselines(timeline)
    landed = []
    for hour in timeline.play():
        landed += hour.landed.tolist()
        delays = flights.arrival_delay[landed]
        overall = delays.mean() if landed else USUAL_DELAY
        for flight in hour.scheduled.tolist():
            aircraft = flights.aircraft[flight]
            own = delays[flights.aircraft[landed] == aircraft] if aircraft >= 0 else []
            assert baselines.overall[flight] == pytest.approx(overall)
            assert baselines.aircraft[flight] == pytest.approx(
                np.mean(own) if len(own) else overall
            )


def test_scores_are_means_of_errors():
    score = Score()
    assert (score.mean_absolute, score.root_mean_square) == (0.0, 0.0)
    score.add(np.array([3.0]))
    score.add(np.array([-4.0, 0.0]))
    assert score.flights == 3
    assert score.mean_absolute == pytest.approx(7 / 3)
    assert score.root_mean_square == pytest.approx((25 / 3) ** 0.5)
