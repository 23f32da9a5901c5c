use std::fmt;

/// Everything that can go wrong in this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A registry or pool was asked for with no shard or no worker at all.
    ZeroSize {
        /// The name of the argument that was zero.
        argument: &'static str,
    },
    /// More was asked for than could be of use.
    TooLarge {
        /// The name of the argument.
        argument: &'static str,
        /// The largest value it may have.
        limit: usize,
        /// The value that was given.
        value: usize,
    },
    /// Work was submitted to an executor that was shut down.
    Shutdown,
    /// Work was submitted to an executor whose worker initializer failed.
    Broken,
    /// Work was submitted to an executor whose queue is full.
    Full,
    /// Work was submitted to a lane that takes no more.
    Closed,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ZeroSize { argument } => write!(f, "{argument} must be at least 1, got 0"),
            Self::TooLarge {
                argument,
                limit,
                value,
            } => write!(f, "{argument} must be at most {limit}, got {value}"),
            Self::Shutdown => f.write_str("cannot schedule new tasks after shutdown"),
            Self::Broken => f.write_str("a worker initializer failed, the executor is not usable"),
            Self::Full => f.write_str("the queue is full"),
            Self::Closed => f.write_str("the lane is closed"),
        }
    }
}

impl std::error::Error for Error {}
