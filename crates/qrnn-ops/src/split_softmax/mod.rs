//! The split softmax: a head over the frequent tokens and one class per tail cluster, and a softmax within
//! each tail (SplitCrossEntropyLoss of awd-lstm-lm; Grave et al. 2017).
//!
//! Targets are sorted by cluster on the host. Each cluster's logits are computed in chunks, and a chunk's
//! gradient is computed before the next chunk, so that all logits are never stored at once.

mod clusters;
mod cpu;
mod cross_entropy;
mod cuda;
mod loss;
mod targets;
mod token_losses;
mod weights;

pub use clusters::Clusters;
pub(crate) use cuda::self_test;
pub use loss::{UpstreamGrad, log_probabilities, loss_sum, mean_loss};
pub use targets::{DeviceTargets, Targets};
pub use token_losses::token_losses;
pub use weights::{Computation, SoftmaxWeights, operand, write_operand};
