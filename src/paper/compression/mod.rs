//! Compresses a model, and measures what each stage costs in perplexity and saves in score.

mod dense;
mod results;
mod stage;
mod study;

pub use dense::train_dense;
pub use results::CompressionResults;
pub use stage::Stage;
pub use study::CompressionStudy;
