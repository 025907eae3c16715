//! Plots as SVG and PNG: perplexity against parameters and sequence length, training curves, forget gates.
//!
//! Published numbers were measured on WikiText-103 at full size. Numbers measured here may be from another
//! corpus or smaller models, so the two are plotted in separate panels with separate axes.

mod axis;
mod bitmap;
mod canvas;
mod chart;
mod figures;
mod font;
mod header;
mod heat;
mod labels;
mod picture;
mod render;
#[cfg(test)]
mod tests;
mod training;

pub use figures::{
    Curve, forget_gates, perplexity_vs_bptt, perplexity_vs_parameters, training_curve,
};
pub use picture::Plot;
pub(crate) use training::training_progress;
