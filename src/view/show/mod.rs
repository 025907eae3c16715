//! Rich output of results in notebooks.
//!
//! Every public result shows itself where it ends a cell, in the stock evcxr kernel as well as in ours: evcxr
//! calls its `evcxr_display`, which prints a [`MimeBundle`] in evcxr's form. Tables are HTML without colors
//! or style sheets, so that they follow the notebook's theme and show on code-hosting sites; plots are SVG
//! and PNG.

mod results;
#[cfg(test)]
mod tests;

use crate::notebook::MimeBundle;

/// Width of a picture, in pixels: JupyterLab does not shrink what is wider than a notebook beside its
/// file list on a small screen.
pub(crate) const WIDTH: u32 = 750;

/// What a notebook shows of a value.
pub trait Show {
    /// Its forms.
    fn bundle(&self) -> MimeBundle;
}
