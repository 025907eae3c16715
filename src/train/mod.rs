//! Training: recipe, schedule, optimiser, the loop, its log and what a user sees of it.

mod beginning;
mod cadence;
mod checkpoint;
mod checkpoint_writer;
mod identity;
mod memory;
mod metrics;
mod optimizer;
mod pending;
mod progress;
mod recipe;
mod run_dir;
mod run_log;
mod saving;
mod schedule;
mod session;
mod step;
mod tensorboard;
mod trainer;

pub(crate) use checkpoint::{NOTE as CHECKPOINT, list as checkpoints};
pub use memory::Memory;
pub use metrics::{EpochReport, MetricsLog, Record};
pub use optimizer::Optimiser;
pub use progress::{Observer, Quiet, StepReport, Terminal};
pub use recipe::{Optimizer, Recipe};
pub use run_dir::{RunConfig, RunDir};
pub use run_log::RunLog;
pub use trainer::{Trainer, TrainingRun};
