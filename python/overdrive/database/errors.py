"""What can go wrong in the pool, told apart by whose fault it is."""

from overdrive.errors import OverdriveError

__all__ = [
    "ConnectError",
    "DatabaseNotInitializedError",
    "PartialWriteError",
    "PoolClosedError",
    "PoolMisuseError",
    "PoolTimeoutError",
    "TooManyWaitersError",
    "UnknownStatementError",
]


class PoolMisuseError(OverdriveError, RuntimeError):
    """The caller did what a pool does not allow, such as using it on two event loops."""


class PoolClosedError(PoolMisuseError):
    """The pool is closed or closing."""


class DatabaseNotInitializedError(PoolMisuseError):
    """A module-level function was called before `initialize_optimized_db`."""


class PoolTimeoutError(OverdriveError, TimeoutError):
    """No connection was to be had before the deadline; the text says what stood in the way."""


class TooManyWaitersError(OverdriveError):
    """As many callers as allowed wait for a connection already."""


class ConnectError(OverdriveError, ConnectionError):
    """The server refuses connections with these parameters; trying again will not help."""


class UnknownStatementError(OverdriveError, KeyError):
    """A handle that no `prepare_statement` of this pool has returned."""

    def __str__(self) -> str:
        """Show the text, which `KeyError` would quote."""
        return str(self.args[0])


class PartialWriteError(OverdriveError):
    """Some batches of an `execute_many` are committed and the rest is not.

    Attributes:
        written: How many of the rows, counted from the first, are committed for certain.
        in_doubt: How many rows after those may be committed, because the answer was lost.
    """

    def __init__(self, text: str, *, written: int, in_doubt: int) -> None:
        super().__init__(text)
        self.written = written
        self.in_doubt = in_doubt
