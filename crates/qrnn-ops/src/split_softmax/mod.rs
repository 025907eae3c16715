//! The split softmax: a head over the frequent tokens and one class per tail cluster, and a softmax within
//! each tail (SplitCrossEntropyLoss of awd-lstm-lm; Grave et al. 2017, arXiv 1609.04309).
//!
//! Targets are sorted by cluster on the host. Each cluster's logits are computed in chunks, and a chunk's
//! gradient is computed before the next chunk, so that all logits are never stored at once.
//!
//! The clusters share one weight (V, E), or have one each, of different widths: the adaptive softmax of Grave et al.
//! The logits of a cluster of width w are then products with a projection of the hidden states to w features
//! ([`crate::matmul::project`]); those of the tombstones are products with the hidden states.

mod clusters;
mod cpu;
mod cross_entropy;
mod cuda;
mod host;
mod loss;
mod packed;
mod probabilities;
mod targets;
mod token_losses;
mod weights;

pub use clusters::{Clusters, OperandRows};
pub(crate) use cuda::self_test;
pub use loss::{LossShare, UpstreamGrad, loss_share, loss_sum, mean_loss};
pub use packed::PackedSoftmax;
pub use probabilities::{head_log_probabilities, log_probabilities, tail_log_probabilities};
pub use targets::{DeviceTargets, Targets};
pub use token_losses::token_losses;
pub use weights::{Computation, SoftmaxWeights, operands, write_operands};
