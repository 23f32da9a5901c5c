"""Flights to test with: made up, or the first of the year."""

import io
import itertools
import json
import zipfile
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from overdrive.demo.flights import COLUMNS, archive_path, parse

BEGIN = datetime(2013, 1, 1, 5, tzinfo=UTC)
TAILS = ["NA", "", "N1", "N2", "N3"]
ORIGINS = ["EWR", "JFK", "LGA"]
DESTINATIONS = ["BOS", "JFK", "LAX", "SFO"]


def line(minute=0, *, dep="0", arr="0", air="60", tail="N1", origin="JFK", dest="BOS"):
    """One line of the file, for a flight scheduled so many minutes after the beginning."""
    moment = BEGIN + timedelta(minutes=minute)
    hour = (moment - timedelta(hours=5)).hour
    stamp = moment.strftime("%Y-%m-%dT%H:00:00Z")
    return f"{stamp},{hour},{moment.minute},{dep},{arr},{air},{tail},{origin},{dest}"


def made(*lines):
    return parse([",".join(COLUMNS), *lines])


@st.composite
def records(draw, days=3):
    """A line of a flight that was cancelled, diverted, or arrived."""
    fate = draw(st.sampled_from(["arrived", "arrived", "arrived", "cancelled", "diverted"]))
    return line(
        draw(st.integers(0, days * 1440)),
        dep="NA" if fate == "cancelled" else str(draw(st.integers(-30, 600))),
        arr=str(draw(st.integers(-70, 700))) if fate == "arrived" else "NA",
        air=str(draw(st.integers(20, 600))) if fate == "arrived" else "NA",
        tail=draw(st.sampled_from(TAILS)),
        origin=draw(st.sampled_from(ORIGINS)),
        dest=draw(st.sampled_from(DESTINATIONS)),
    )


def some_flights(days=3, most=40):
    return st.lists(records(days), min_size=1, max_size=most).map(lambda lines: made(*lines))


def first_flights(count):
    """The first flights of the year, without reading the rest of it."""
    with (
        zipfile.ZipFile(archive_path()) as archive,
        io.TextIOWrapper(archive.open("flights.csv"), "utf-8", newline="") as file,
    ):
        # The file is in order by day; two days more are enough to have the first in time.
        return parse(itertools.islice(file, 1 + count + 2000), limit=count)


class MemorySink:
    """Keeps states as JSON, as a database does."""

    def __init__(self):
        self.states = {}
        self.marker = None
        self.checkpoints = []

    def save(self, states, marker):
        self.states |= {agent_id: json.dumps(state) for agent_id, state in states.items()}
        self.marker = json.dumps(marker)
        self.checkpoints.append((dict(self.states), self.marker))

    def load(self):
        if self.marker is None:
            return None
        states = {agent_id: json.loads(state) for agent_id, state in self.states.items()}
        return states, json.loads(self.marker)

    def clear(self):
        self.states, self.marker = {}, None

    def close(self):
        pass

    def at(self, checkpoint):
        """A sink as this one was after a checkpoint."""
        sink = MemorySink()
        states, sink.marker = self.checkpoints[checkpoint]
        sink.states = dict(states)
        return sink
