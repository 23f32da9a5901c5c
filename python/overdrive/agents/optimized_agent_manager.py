"""The agent manager under another name of its module."""

from overdrive.agents import (
    OptimizationConfig,
    OptimizedAgentManager,
    create_optimized_agent_manager,
)

__all__ = ["OptimizationConfig", "OptimizedAgentManager", "create_optimized_agent_manager"]
