//! A result in several MIME types.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::terminal;

/// One result in several MIME types, the richest first. A notebook shows the first one that it supports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MimeBundle {
    parts: Vec<(&'static str, String)>,
}

impl MimeBundle {
    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { parts: vec![("text/plain", text.into())] }
    }

    /// An HTML fragment with a plain-text alternative.
    pub fn html(html: impl Into<String>, text: impl Into<String>) -> Self {
        Self { parts: vec![("text/html", html.into()), ("text/plain", text.into())] }
    }

    /// An SVG image with a plain-text alternative.
    pub fn svg(svg: impl Into<String>, text: impl Into<String>) -> Self {
        Self { parts: vec![("image/svg+xml", svg.into()), ("text/plain", text.into())] }
    }

    /// Adds the image as PNG, for viewers without SVG support.
    pub fn with_png(mut self, png: &[u8]) -> Self {
        self.parts.insert(1, ("image/png", STANDARD.encode(png)));
        self
    }

    /// MIME types and contents; binary types are in base64.
    pub fn parts(&self) -> &[(&'static str, String)] {
        &self.parts
    }

    /// Prints all representations in the format of evcxr.
    pub fn print(&self) {
        // A single write: a kernel may interpret a pause as the end of the value.
        let mut all = String::new();
        for (mime, body) in &self.parts {
            // Text that contains the markers must not end the block.
            let body = body.replace("EVCXR_", "EVCXR\u{200b}_");
            all += &format!("EVCXR_BEGIN_CONTENT {mime}\n{body}\nEVCXR_END_CONTENT\n");
        }
        terminal::show(all.trim_end());
    }
}
