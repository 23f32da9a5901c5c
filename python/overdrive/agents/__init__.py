"""Run many agents: each one step at a time, different ones concurrently."""

from overdrive.agents.backoff import Backoff
from overdrive.agents.config import OptimizationConfig
from overdrive.agents.manager import OptimizedAgentManager, create_optimized_agent_manager
from overdrive.agents.persistence import FileStateSink, StateSink
from overdrive.agents.supervision import RestartPolicy, Strategy

__all__ = [
    "Backoff",
    "FileStateSink",
    "OptimizationConfig",
    "OptimizedAgentManager",
    "RestartPolicy",
    "StateSink",
    "Strategy",
    "create_optimized_agent_manager",
]
