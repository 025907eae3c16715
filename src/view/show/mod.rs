//! Rich output of results in notebooks.
//!
//! A result is displayed if it is the last expression of a cell, in the qrnn kernel and in the stock evcxr
//! kernel: evcxr calls `evcxr_display`, which prints a [`MimeBundle`] in evcxr's format. Tables are HTML
//! without colors or style sheets, so that they follow the theme and render on code-hosting sites. Plots are
//! SVG and PNG.

pub(crate) mod compression;
mod results;
#[cfg(test)]
mod tests;

use crate::notebook::MimeBundle;

/// Width of plots in pixels. It fits into JupyterLab on a small screen, which does not shrink outputs.
pub(crate) const WIDTH: u32 = 750;

/// A value with rich output in notebooks.
pub trait Show {
    /// The value in several MIME types; the last is plain text.
    fn bundle(&self) -> MimeBundle;
}
