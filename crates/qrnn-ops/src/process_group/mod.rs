//! Groups of processes that compute together: ranks that meet at a store, and sums, gathers and broadcasts of
//! tensors among them.
//!
//! The engine is c10d, which is part of libtorch: TCPStore, gloo for tensors on the CPU, and NCCL for tensors on
//! GPUs, found at run time in libtorch's CUDA library. Ranks that are all on one machine sum large tensors on the CPU by
//! reading each other's memory, where the system permits it. The classes are used directly, without c10d's dispatcher and
//! registry, so a process may hold several groups.
//!
//! A [`Rendezvous`] is what the launcher says (torchrun, srun, mpirun, or variables set by hand);
//! [`ProcessGroup::join`] meets the other ranks and connects them. A group of one opens no socket.
//!
//! c10d ends the process where the sizes of an operation differ between ranks. So ranks compare their settings by
//! [`ProcessGroup::exchange`], which is no operation of c10d's, before the first one.

mod backend;
mod connected;
mod diagnosis;
mod gradient_sums;
mod group;
mod meeting;
mod memory_sums;
mod messages;
mod monitor;
mod options;
mod peer_memory;
#[cfg(test)]
mod process_tests;
mod rendezvous;
mod signal;
mod slurm;
mod store;
#[cfg(test)]
mod tests;
mod waiting;

pub use gradient_sums::GradientSums;
pub use group::{ProcessGroup, share};
pub use options::{DEFAULT_TIMEOUT, GlooOptions, GroupOptions};
pub use rendezvous::Rendezvous;
