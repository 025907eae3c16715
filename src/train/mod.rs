//! Training: recipe, schedule, optimizer, training loop, checkpoints and logs.

mod checkpoint;
mod checkpoint_schedule;
mod checkpoint_writer;
mod identity;
mod memory;
mod metrics;
mod optimizer;
mod pending;
mod position;
mod recipe;
mod record;
mod run_dir;
mod run_files;
mod run_log;
mod run_start;
mod schedule;
mod step_inputs;
mod tensorboard;
mod trainer;
mod training_loop;
mod training_run;
mod training_step;

pub use crate::progress::{EpochReport, StepReport};
pub use memory::Memory;
pub(crate) use metrics::LOG_EVERY;
pub use metrics::MetricsLog;
pub use optimizer::Optimizer;
pub use recipe::{OptimizerKind, Recipe};
pub use record::Record;
pub(crate) use run_dir::{Claimed, in_use};
pub use run_dir::{RunConfig, RunDir};
pub use run_log::RunLog;
pub use trainer::Trainer;
pub use training_run::TrainingRun;
