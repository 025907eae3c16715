//! One result in several MIME types.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::terminal;

/// One thing in several forms, the richest first; a notebook picks what it can show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MimeBundle {
    parts: Vec<(&'static str, String)>,
}

impl MimeBundle {
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
        self.parts.insert(1, ("image/png", STANDARD.encode(png)));
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
