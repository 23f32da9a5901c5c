"""PostgreSQL for agents: an embedded server, and a place for their states."""

from overdrive.database.embedded import EmbeddedPostgres
from overdrive.database.state_sink import PostgresStateSink

__all__ = ["EmbeddedPostgres", "PostgresStateSink"]
