//! Rich output in notebooks.
//!
//! Every public result shows itself where it ends a cell, in the stock evcxr kernel as well as in
//! ours: evcxr calls `evcxr_display`, which each of them has, and which prints a [`Bundle`] in
//! evcxr's form. Tables are HTML without colours or style sheets of their own, so that they follow
//! the notebook's theme, and read on a code-hosting site; plots are SVG and PNG.
//!
//! - what each result shows (`results`), and how tables are written (`html`)
//! - training while it goes ([`Training`]), a download ([`Download`]), other long
//!   work (`task`)
//! - the channels to our kernel (`kernel`)

mod download;
mod html;
mod results;
mod task;
#[cfg(test)]
mod tests;
mod training;

pub use crate::notebook::channel::Live;
pub use download::Download;
pub(crate) use task::Task;
pub use training::Training;

use crate::terminal;

/// Width of a picture, in pixels: JupyterLab does not shrink what is wider than a notebook beside its
/// file list on a small screen.
const WIDTH: u32 = 750;

/// One thing in several forms, the richest first; a notebook picks what it can show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    parts: Vec<(&'static str, String)>,
}

impl Bundle {
    /// Text alone.
    pub fn text(text: impl Into<String>) -> Self {
        Self { parts: vec![("text/plain", text.into())] }
    }

    /// An HTML fragment, and the text for where there is no HTML.
    pub fn html(html: impl Into<String>, text: impl Into<String>) -> Self {
        Self { parts: vec![("text/html", html.into()), ("text/plain", text.into())] }
    }

    /// A picture, and the text for where there are no pictures.
    pub fn svg(svg: impl Into<String>, text: impl Into<String>) -> Self {
        Self { parts: vec![("image/svg+xml", svg.into()), ("text/plain", text.into())] }
    }

    /// The same picture as PNG too, for readers that leave SVG out.
    pub fn with_png(mut self, png: &[u8]) -> Self {
        self.parts.insert(1, ("image/png", base64(png)));
        self
    }

    /// MIME types and bodies; those of binary types in base64.
    pub fn parts(&self) -> &[(&'static str, String)] {
        &self.parts
    }

    /// Prints the forms as evcxr reads them.
    pub fn print(&self) {
        // In one piece: a kernel may take a pause between two forms for the end of the value.
        let mut all = String::new();
        for (mime, body) in &self.parts {
            // A text that quotes the marks must not end the block.
            let body = body.replace("EVCXR_", "EVCXR\u{200b}_");
            all += &format!("EVCXR_BEGIN_CONTENT {mime}\n{body}\nEVCXR_END_CONTENT\n");
        }
        terminal::show(all.trim_end());
    }
}

/// What a notebook shows of a value.
pub trait Show {
    /// Its forms.
    fn bundle(&self) -> Bundle;
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let at = |i: usize| u32::from(three.get(i).copied().unwrap_or_default());
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}
