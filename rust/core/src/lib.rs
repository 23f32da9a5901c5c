//! The engines of Overdrive, without Python.
//!
//! Every structure here is generic over what it stores, takes equality as a closure and time as an
//! argument, and hands removed values back to its caller, who drops them after the lock is
//! released. Nothing in this crate runs a caller's code while it holds a lock, except the equality
//! closures, whose callers promise that they do not re-enter.

mod error;
pub mod executor;
pub mod histogram;
pub mod loads;
pub mod lru;
pub mod outbox;
pub mod pool;
pub mod queue;
pub mod registry;
pub mod shards;
pub mod slab_list;
pub mod stats;
pub mod sync;
pub mod tags;
pub mod ttl;

pub use error::Error;
