"""The options of the manager are checked, and are those of its threads as well."""

import math

import pytest

from overdrive.agents import OptimizationConfig, OptimizedAgentManager
from overdrive.executor import AdaptiveConfig, AdaptiveThreadPool


def test_the_options_have_the_defaults_that_the_documentation_names():
    config = OptimizationConfig()
    assert (config.batch_size, config.batch_timeout_ms) == (20, 50.0)
    assert config.cpu_aware_sizing
    assert config.work_stealing_enabled
    assert config.gil_aware_scheduling
    assert config.async_io_enabled


@pytest.mark.parametrize(
    ("preset", "batch_size", "batch_timeout_ms", "pooling"),
    [
        (OptimizationConfig.high_throughput, 100, 10.0, False),
        (OptimizationConfig.low_latency, 1, 1.0, False),
        (OptimizationConfig.memory_constrained, 10, 50.0, True),
    ],
)
def test_a_preset_differs_from_the_defaults_in_what_it_is_for(
    preset, batch_size, batch_timeout_ms, pooling
):
    config = preset()
    assert config == OptimizationConfig(
        batch_size=batch_size, batch_timeout_ms=batch_timeout_ms, memory_pooling_enabled=pooling
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("min_workers", 0),
        ("max_workers", 0),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("batch_size", "20"),
        ("batch_timeout_ms", -1),
        ("batch_timeout_ms", math.nan),
        ("batch_timeout_ms", math.inf),
        ("batch_timeout_ms", None),
        ("num_shards", 0),
        ("event_loop_workers", 0),
    ],
)
def test_an_option_out_of_its_range_is_refused_with_its_value(option, value):
    with pytest.raises(ValueError, match=rf"{option} must be .*, got {value!r}"):
        OptimizationConfig(**{option: value})


def test_a_largest_number_of_threads_below_the_least_is_refused():
    with pytest.raises(ValueError, match="max_workers must be at least 3, got 2"):
        OptimizationConfig(min_workers=3, max_workers=2)


def test_a_config_can_be_changed_until_a_manager_is_made_with_it():
    config = OptimizationConfig.low_latency()
    config.batch_size = 7
    with OptimizedAgentManager(config) as manager:
        config.batch_size = 0
        assert manager.config.batch_size == 7


@pytest.mark.parametrize("make", [OptimizedAgentManager, AdaptiveThreadPool])
def test_what_a_config_was_changed_to_is_checked(make):
    config = OptimizationConfig()
    config.max_workers = 0
    with pytest.raises(ValueError, match="got 0"):
        make(config)


def test_a_class_method_of_a_derived_config_makes_one_of_its_class():
    class Mine(OptimizationConfig):
        pass

    assert type(Mine.high_throughput()) is Mine


def test_the_config_of_a_manager_is_one_of_an_adaptive_pool():
    config = OptimizationConfig(max_workers=2, min_workers=2)
    assert isinstance(config, AdaptiveConfig)
    with AdaptiveThreadPool(config) as pool:
        assert pool.submit(int, "7").result(60) == 7
        assert pool.get_stats()["size"] == 2
    with OptimizedAgentManager(config) as manager:
        assert manager.config == config
