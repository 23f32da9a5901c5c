"""The tuner changes thresholds for a workload, measures, and puts everything back."""

import gc

import pytest

from overdrive.observability.gc_tuning import (
    WORKLOADS,
    GarbageCollectionTuner,
    collector_of,
    thresholds_for,
)

pytestmark = pytest.mark.usefixtures("untouched")


@pytest.fixture
def untouched():
    """Check that the collector is as it was."""
    before = (gc.get_threshold(), gc.get_freeze_count(), gc.isenabled(), list(gc.callbacks))
    yield
    assert (gc.get_threshold(), gc.get_freeze_count(), gc.isenabled(), gc.callbacks) == before


@pytest.fixture
def tuner():
    tuner = GarbageCollectionTuner()
    yield tuner
    tuner.disable_tuning()


@pytest.mark.parametrize("workload", WORKLOADS)
def test_it_sets_thresholds_and_puts_them_back(tuner, workload):
    before = gc.get_threshold()
    wanted = tuner.enable_tuning(workload)
    assert tuner.is_enabled
    assert gc.get_threshold()[:2] == wanted[:2]
    assert gc.isenabled()
    tuner.disable_tuning()
    tuner.disable_tuning()
    assert gc.get_threshold() == before
    assert not tuner.is_enabled


def test_one_workload_after_another_puts_back_the_first(tuner):
    before = gc.get_threshold()
    for workload in WORKLOADS:
        tuner.enable_tuning(workload)
    tuner.disable_tuning()
    assert gc.get_threshold() == before


def test_it_is_a_context_and_contexts_nest():
    before = gc.get_threshold()
    with GarbageCollectionTuner("long_running"):
        outer = gc.get_threshold()
        with GarbageCollectionTuner("memory_constrained"):
            assert gc.get_threshold() != outer
        assert gc.get_threshold() == outer
    assert gc.get_threshold() == before


def test_a_context_that_raises_puts_back_too():
    with pytest.raises(LookupError), GarbageCollectionTuner("long_running"):
        raise LookupError


def test_what_somebody_else_set_meanwhile_stays(tuner):
    before = gc.get_threshold()
    tuner.enable_tuning("long_running")
    try:
        gc.set_threshold(1234)
        tuner.disable_tuning()
        assert gc.get_threshold()[0] == 1234
    finally:
        gc.set_threshold(*before)


def test_a_freeze_is_undone_and_makes_collections_rarer(tuner):
    first = tuner.enable_tuning("mixed")[0]
    assert tuner.freeze() > 0
    assert gc.get_threshold()[0] > first
    rare = gc.get_threshold()
    tuner.freeze()
    assert gc.get_threshold() == rare
    tuner.disable_tuning()
    assert gc.get_freeze_count() == 0


def test_a_freeze_alone_is_undone_too(tuner):
    tuner.freeze()
    tuner.disable_tuning()


@pytest.mark.parametrize(
    "make", [GarbageCollectionTuner, lambda w: thresholds_for(w, "generations")]
)
def test_an_unknown_workload_is_refused(make):
    with pytest.raises(ValueError, match="workload must be one of high_allocation"):
        make("fast")


def test_an_unknown_workload_changes_nothing(tuner):
    with pytest.raises(ValueError, match="workload must be one of"):
        tuner.enable_tuning("fast")
    assert not tuner.is_enabled


@pytest.mark.parametrize(
    ("version", "gil", "collector"),
    [
        ((3, 11, 7), True, "generations"),
        ((3, 13, 0), True, "generations"),
        ((3, 14, 0), True, "incremental"),
        ((3, 14, 4), True, "incremental"),
        ((3, 14, 5), True, "generations"),
        ((3, 15, 0), True, "generations"),
        ((3, 13, 5), False, "free-threaded"),
        ((3, 14, 0), False, "free-threaded"),
    ],
)
def test_it_knows_the_collectors_of_the_versions(version, gil, collector):
    assert collector_of(version, gil=gil) == collector
    for workload in WORKLOADS:
        assert all(threshold > 0 for threshold in thresholds_for(workload, collector))


def collections_of(work, tuner, workload):
    if workload is None:
        tuner.start_measuring()
    else:
        tuner.enable_tuning(workload)
    work()
    return tuner.get_evidence()["after"]


@pytest.mark.skipif(
    GarbageCollectionTuner().collector != "generations", reason="needs a collector of generations"
)
def test_an_allocation_heavy_run_has_fewer_full_collections():
    def work():
        kept = [[] for _ in range(2000)]
        for number in range(60_000):
            kept[number % 2000] = [{"number": number}, [number]]

    constrained, heavy = GarbageCollectionTuner(), GarbageCollectionTuner()
    often = collections_of(work, constrained, "memory_constrained")
    constrained.disable_tuning()
    rarely = collections_of(work, heavy, "high_allocation")
    heavy.disable_tuning()
    assert sum(rarely.collections[1:]) < sum(often.collections[1:])
    assert rarely.tracked > 0


def test_evidence_tells_before_from_after(tuner):
    tuner.start_measuring()
    gc.collect()
    tuner.enable_tuning("long_running")
    evidence = tuner.get_evidence()
    assert evidence["before"].collections[2] >= 1
    assert evidence["before"].pause_seconds > 0
    assert evidence["after"].collections[2] == 0


def test_without_measuring_there_is_no_before(tuner):
    tuner.enable_tuning("long_running")
    assert tuner.get_evidence()["before"] is None
