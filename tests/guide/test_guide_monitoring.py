"""The guide's monitoring: reports, thresholds, insights, and times of operations."""

from overdrive.observability.performance_monitor import (
    get_performance_monitor,
    start_performance_monitoring,
)


def test_the_monitor_of_the_process_reports(monitor):
    assert get_performance_monitor() is monitor
    monitor.start_monitoring()
    report = monitor.get_performance_report()
    assert {"current_metrics", "performance_insights"} <= set(report)
    assert "gil_contention" in report["current_metrics"]
    assert isinstance(report["performance_insights"], list)


def test_monitoring_starts_in_one_call(monitor):
    assert start_performance_monitoring() is monitor
    assert monitor.is_monitoring


def test_thresholds_of_the_guide_are_known(monitor):
    before = dict(monitor._alerts.thresholds)
    thresholds = {
        "cpu_usage": {"warning": 80.0, "critical": 95.0},
        "memory_usage": {"warning": 80.0, "critical": 95.0},
        "api_response_time_ms": {"warning": 500.0, "critical": 2000.0},
    }
    monitor.set_thresholds(thresholds)
    monitor.set_thresholds(before)


def test_operations_are_timed(monitor):
    def counts():
        latency = monitor.get_performance_report()["latency"]
        return latency["api"]["count"], latency["database"]["count"]

    api, database = counts()
    with monitor.time_api_request():
        pass
    with monitor.time_db_query():
        pass
    assert counts() == (api + 1, database + 1)
