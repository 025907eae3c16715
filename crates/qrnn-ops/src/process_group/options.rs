//! Settings of a group.

use std::fmt;
use std::time::Duration;

/// How long a rank waits for the others by default. It must exceed the longest time between two operations of a run:
/// an evaluation, a checkpoint, or the time that the ranks need to start.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);

/// Settings of a group. All ranks must have the same `gloo`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupOptions {
    /// How long a rank waits for the others: to come, and in each operation.
    pub timeout: Duration,
    /// How gloo uses the network.
    pub gloo: GlooOptions,
    /// Whether ranks that are all on one machine read each other's memory to sum large tensors on the CPU, where the
    /// system permits it; otherwise, and if it is false on any rank, gloo sums them over loopback. While such a group
    /// lives, other processes of the same user may attach to this one as debuggers, also with the Yama module.
    pub peer_memory: bool,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self { timeout: DEFAULT_TIMEOUT, gloo: GlooOptions::default(), peer_memory: true }
    }
}

/// How gloo uses the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlooOptions {
    /// Connections to each other rank, each served by one thread. c10d has one by default, which does not fill a
    /// network.
    pub connections: usize,
    /// Pieces in which tensors above 8 MB are summed, so that all connections have work. c10d does not cut them.
    pub pieces: usize,
}

/// The fastest of those that `cargo xtask bench group` compares, on two processors over loopback.
impl Default for GlooOptions {
    fn default() -> Self {
        Self { connections: 4, pieces: 4 }
    }
}

impl fmt::Display for GlooOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} connections and {} pieces", self.connections, self.pieces)
    }
}
