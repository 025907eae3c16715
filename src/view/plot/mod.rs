//! Plots as SVG and PNG: perplexity against parameters, sequence length and MicroNet score, training curves, forget
//! gates.
//!
//! Published numbers were measured on WikiText-103 at full size. Numbers measured here may be from another
//! corpus or smaller models, so the two are plotted in separate panels with separate axes.

mod axis;
mod bitmap;
mod canvas;
mod chart;
mod compression;
mod figures;
mod font;
mod header;
mod heat;
mod labels;
mod picture;
mod render;
mod strip;
#[cfg(test)]
mod tests;
mod training;
mod x_axis;

pub use chart::Plot;
pub use compression::perplexity_vs_score;
pub use figures::{
    Curve, forget_gates, perplexity_vs_bptt, perplexity_vs_parameters, training_curve,
};
pub(crate) use training::training_progress;
