"""Run many agents: each one step at a time, different ones concurrently."""

from overdrive.agents.config import OptimizationConfig
from overdrive.agents.manager import OptimizedAgentManager, create_optimized_agent_manager
from overdrive.agents.persistence import FileStateSink, StateSink

__all__ = [
    "FileStateSink",
    "OptimizationConfig",
    "OptimizedAgentManager",
    "StateSink",
    "create_optimized_agent_manager",
]
