"""Recorded loads, replayed through the function that decides on the size."""

import itertools

from overdrive.database.sizing import Sample, Sizing


class Server:
    """A server with so many cores; each query takes one of them for a while."""

    def __init__(self, cores, seconds):
        self.cores = cores
        self.seconds = seconds
        self.finished = 0.0

    def rate(self, connections):
        return min(connections, self.cores) / self.seconds


def replay(sizing, server, demand, seconds, *, step=0.01, start=0.0, size=None):
    """Offer `demand(t)` queries in parallel for some time; returns the sizes over time."""
    sizes, size, waited, time = [], size or sizing.target, 0.0, start
    while time < start + seconds:
        wanted = demand(time)
        used = min(wanted, size)
        waiting = max(wanted - size, 0)
        server.finished += server.rate(used) * step
        waited = waited + step if waiting else 0.0
        target = sizing.decide(Sample(time, size, used, waiting, waited, int(server.finished)))
        size = target if target > size else max(target, used if not waiting else 0)
        sizes.append(size)
        time += step
    return sizes


def test_it_stays_where_it_is_while_nobody_waits():
    assert set(replay(Sizing(4, 50), Server(8, 0.001), lambda t: 4, 60)) == {4}


def test_it_grows_to_what_is_asked_for_when_the_server_has_room():
    sizes = replay(Sizing(2, 50), Server(100, 0.002), lambda t: 30, 5)
    assert sizes[-1] == 30
    assert sizes[60] >= 16


def test_it_never_exceeds_the_maximum():
    assert max(replay(Sizing(2, 10), Server(100, 0.002), lambda t: 500, 20)) == 10


def test_it_brakes_when_the_server_is_the_bottleneck():
    sizing = Sizing(4, 200)
    sizes = replay(sizing, Server(4, 0.002), lambda t: 500, 10)
    assert sizing.braking
    free = replay(Sizing(4, 200), Server(500, 0.002), lambda t: 500, 10)
    assert max(sizes) < max(free) == 200


def test_a_second_try_comes_later_than_the_first():
    sizing = Sizing(4, 10_000)
    sizes = replay(sizing, Server(4, 0.002), lambda t: 20_000, 60)
    grew = [i for i, (a, b) in enumerate(itertools.pairwise(sizes)) if b > a]
    pauses = [b - a for a, b in itertools.pairwise(grew) if b - a > 100]
    assert len(pauses) >= 2
    assert pauses[1] > pauses[0]


def test_it_shrinks_slowly_and_to_the_minimum():
    sizing, server = Sizing(2, 50), Server(100, 0.002)
    peak = replay(sizing, server, lambda t: 30, 5)[-1]
    sizes = replay(sizing, server, lambda t: 1, 200, start=5.0, size=peak, step=0.5)
    assert sizes[-1] == 2
    assert all(a - b <= 1 for a, b in itertools.pairwise(sizes))
    assert sizes[20] == peak


def test_it_keeps_what_a_recurring_load_needs():
    sizing, server = Sizing(2, 50), Server(100, 0.002)
    replay(sizing, server, lambda t: 20 if int(t) % 10 == 0 else 1, 100)
    sizes = replay(
        sizing, server, lambda t: 20 if int(t) % 10 == 0 else 1, 50, start=100.0, size=sizing.target
    )
    assert sizing.target >= 20
    assert max(sizes) == 20
