//! The split softmax: a head over the frequent words and one column a tail cluster, and a softmax
//! within each tail (SplitCrossEntropyLoss of awd-lstm-lm; Grave et al. 2017).
//!
//! Words are sorted by cluster on the host, each cluster's logits are made in pieces, and a
//! piece's gradient is taken before the next piece is made: all logits are never held.

mod clusters;
mod cpu;
mod cross_entropy;
mod cuda;
mod loss;
mod targets;
mod weights;

pub use clusters::Clusters;
pub(crate) use cuda::self_test;
pub use loss::{UpstreamGrad, log_probabilities, loss_sum, mean_loss};
pub use targets::{DeviceTargets, Targets};
pub use weights::{Computation, SoftmaxWeights, operand};
