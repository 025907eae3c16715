//! Plots as SVG and PNG: perplexity against parameters and against sequence length, training
//! curves.
//!
//! What was published was measured on WikiText-103 at full size. What is measured here may be of
//! another text or a smaller size, so the two stand side by side on axes of their own.

mod axis;
mod canvas;
mod chart;
mod figures;
mod font;
mod header;
mod heat;
mod labels;
mod paper_panels;
mod picture;
mod points;
mod raster;
mod render;
mod style;
#[cfg(test)]
mod tests;
mod training;

pub use figures::{forget_gates, perplexity_vs_bptt, perplexity_vs_parameters, training_curve};
pub use picture::Plot;
pub use points::{Curve, Point};
pub(crate) use training::training_progress;
