"""What to do with an agent that failed: a pure function of the policy and the times of failures.

Nothing here reads a clock, draws a number or touches an agent; the caller does, and does what is
decided. The strategies and the limit on restarts within an interval are those of Erlang's
supervisors (Armstrong, Making reliable distributed systems in the presence of software errors,
2003, section 5).
"""

import enum
import math
from dataclasses import dataclass, field, replace

from overdrive.agents.backoff import Backoff

__all__ = ["Decision", "FailureHistory", "RestartPolicy", "Strategy", "decide"]


class Strategy(enum.Enum):
    """What to do with an agent that failed."""

    RESTART = "restart"
    """Put a new agent in its place, with the last state that is known."""
    RESUME = "resume"
    """Go on with the agent as it is."""
    STOP = "stop"
    """Do nothing more with it; what is sent to it becomes a dead letter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """When an agent that failed is restarted, and when it is given up.

    Attributes:
        strategy: What is done with an agent that failed.
        max_restarts: So many restarts within `interval` are granted; the agent is stopped at the
            next failure. `None` grants any number.
        interval: Seconds.
        backoff: How long a restart is put off, by the restarts within the interval.
        fatal: Exceptions after which an agent is stopped whatever the strategy.

    Raises:
        ValueError: If an option is out of its range.
    """

    strategy: Strategy = Strategy.RESTART
    max_restarts: int | None = 3
    interval: float = 60.0
    backoff: Backoff = field(default_factory=Backoff)
    fatal: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        """Check the ranges."""
        if not isinstance(self.strategy, Strategy):
            raise ValueError(f"strategy must be a Strategy, got {self.strategy!r}")  # noqa: TRY004 - as for all options
        if self.max_restarts is not None and self.max_restarts < 0:
            raise ValueError(f"max_restarts must be at least 0, got {self.max_restarts!r}")
        if not 0 < self.interval < math.inf:
            raise ValueError(f"interval must be finite and positive, got {self.interval!r}")


@dataclass(frozen=True, slots=True)
class FailureHistory:
    """What is remembered of one agent.

    Attributes:
        failures: How often it failed.
        restarts: When it was restarted, of the last interval only.
    """

    failures: int = 0
    restarts: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """What is done with an agent that failed.

    Attributes:
        strategy: Restart it, go on with it, or stop it.
        delay: Seconds until then.
        reason: Why, for the log.
    """

    strategy: Strategy
    delay: float
    reason: str


def decide(
    policy: RestartPolicy,
    history: FailureHistory,
    error: BaseException,
    *,
    now: float,
    chance: float = 0.0,
) -> tuple[Decision, FailureHistory]:
    """Say what is done with an agent that failed, and what to remember.

    Args:
        policy: What applies to the agent.
        history: What is remembered of it.
        error: What it raised.
        now: The time in seconds, of a clock that does not go back.
        chance: A number from 0 to 1 that shortens the delay, see `Backoff`.
    """
    recent = tuple(then for then in history.restarts if now - then < policy.interval)
    history = replace(history, failures=history.failures + 1, restarts=recent)
    if isinstance(error, policy.fatal):
        return _stop(f"{type(error).__name__} is fatal"), history
    match policy.strategy:
        case Strategy.STOP:
            return _stop("the policy stops what fails"), history
        case Strategy.RESUME:
            return Decision(Strategy.RESUME, 0.0, "the policy goes on with what fails"), history
        case Strategy.RESTART:
            return _restart(policy, history, now, chance)


def _restart(
    policy: RestartPolicy, history: FailureHistory, now: float, chance: float
) -> tuple[Decision, FailureHistory]:
    restarts = len(history.restarts)
    if policy.max_restarts is not None and restarts >= policy.max_restarts:
        return _stop(f"{restarts} restarts within {policy.interval:g} seconds"), history
    delay = policy.backoff.delay(restarts + 1, chance)
    allowed = "any number" if policy.max_restarts is None else str(policy.max_restarts)
    reason = f"restart {restarts + 1} of {allowed} within {policy.interval:g} seconds"
    # The restart happens at the end of the delay, and that is where its interval begins.
    restarted = (*history.restarts, now + delay)
    return Decision(Strategy.RESTART, delay, reason), replace(history, restarts=restarted)


def _stop(reason: str) -> Decision:
    return Decision(Strategy.STOP, 0.0, reason)
