import zipfile

import numpy as np
import pytest
from made_flights import first_flights, line, made

from overdrive.demo.flights import COLUMNS, load, parse


@pytest.fixture(scope="module")
def year():
    return load()


def test_the_year_is_read_as_it_is(year):
    assert len(year) == 336_776
    assert len(year.tails) == 4_043
    assert len(year.airports) == 107
    assert year.cancelled.sum() == 8_255
    assert year.diverted.sum() == 1_175
    assert year.missing == {
        "dep_delay": 8_255,
        "arr_delay": 9_430,
        "air_time": 9_430,
        "tailnum": 2_512,
    }
    assert (year.arrived | year.cancelled | year.diverted).all()
    assert (np.diff(year.scheduled) >= 0).all()


def test_a_limit_keeps_the_first_in_time(year):
    few = first_flights(1500)
    assert len(few) == 1500
    assert few.scheduled.tolist() == year.scheduled[:1500].tolist()
    names = [[flights.tails[i] for i in flights.aircraft[:1500]] for flights in (few, year)]
    assert names[0] == names[1]
    assert set(names[0]) == set(few.tails)


def test_missing_values_stay_missing():
    flights = made(
        line(0, tail="NA"),
        line(1, dep="NA", arr="NA", air="NA"),
        line(2, arr="", air="", tail=""),
    )
    assert flights.aircraft.tolist() == [-1, 0, -1]
    assert flights.cancelled.tolist() == [False, True, False]
    assert flights.diverted.tolist() == [False, False, True]
    assert flights.missing == {"dep_delay": 1, "arr_delay": 2, "air_time": 2, "tailnum": 2}


def test_a_flight_that_never_left_did_not_arrive_whatever_the_file_says():
    flights = made(line(dep="NA", arr="7"))
    assert flights.cancelled.all()
    assert not flights.arrived.any()


def test_flights_are_put_in_the_order_of_their_schedule():
    flights = made(line(90, dest="LAX"), line(30, dest="SFO"))
    assert [flights.airports[i] for i in flights.destination] == ["SFO", "LAX"]
    assert np.diff(flights.scheduled).tolist() == [60]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["hour,minute"], "no column time_hour, dep_delay"),
        ([], "no column"),
        ([",".join(COLUMNS)], "holds no flights"),
        ([",".join(COLUMNS), line(), line(dep="soon")], "line 3 of the flights cannot be read"),
        ([",".join(COLUMNS), "2013-01-01T10:00:00Z,5"], "line 2 of the flights cannot be read"),
    ],
)
def test_a_file_that_is_not_as_expected_is_a_clear_error(lines, message):
    with pytest.raises(ValueError, match=message):
        parse(lines)


def test_an_archive_must_hold_one_file(tmp_path):
    path = tmp_path / "flights.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "")
        archive.writestr("b.csv", "")
    with pytest.raises(ValueError, match=r"should hold one CSV file, found \['a.csv', 'b.csv'\]"):
        load(path)
