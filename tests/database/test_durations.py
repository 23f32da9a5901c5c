import pytest

from overdrive.database._histogram import Histogram


def test_percentiles_are_right_to_one_part_in_eleven():
    histogram = Histogram()
    for number in range(1, 10_001):
        histogram.add(number * 1e-5)
    for percent in (1, 50, 95, 99, 99.9):
        assert histogram.percentile(percent) == pytest.approx(percent * 1e-3, rel=1 / 11)
    assert histogram.percentile(100) <= histogram.largest == pytest.approx(0.1)
    assert histogram.mean == pytest.approx(0.050005)


def test_nothing_and_no_time_are_counted_too():
    histogram = Histogram()
    assert (histogram.mean, histogram.percentile(99)) == (0.0, 0.0)
    histogram.add(0.0)
    assert histogram.summary()["count"] == 1
    assert histogram.percentile(50) == 0.0
