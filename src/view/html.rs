//! HTML fragments for notebooks. They use inline styles only, which sanitizers keep.

use std::fmt::Write as _;

/// Aligns text to the left; Jupyter aligns cells to the right.
const LEFT: &str = " style=\"text-align:left\"";

/// An HTML table with text in the first column and numbers in the others.
#[derive(Debug, Default)]
pub struct Table {
    html: String,
}

impl Table {
    /// Starts a table with column headings.
    pub fn new(headings: &[&str]) -> Self {
        let mut html = String::from("<table><thead><tr>");
        for (i, heading) in headings.iter().enumerate() {
            let left = if i == 0 { LEFT } else { "" };
            let _ = write!(html, "<th{left}>{}</th>", escape(heading));
        }
        html.push_str("</tr></thead><tbody>");
        Self { html }
    }

    /// A table of names and values without headings, aligned to the left.
    pub fn name_value<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let mut html = String::from("<table><tbody>");
        for (name, value) in pairs {
            let _ = write!(
                html,
                "<tr><th{LEFT}>{}</th><td{LEFT}>{}</td></tr>",
                escape(name),
                escape(&value)
            );
        }
        Self { html }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: &[String]) {
        self.styled_row(cells, false);
    }

    /// Adds a row in bold, for example a sum.
    pub fn strong_row(&mut self, cells: &[String]) {
        self.styled_row(cells, true);
    }

    fn styled_row(&mut self, cells: &[String], strong: bool) {
        self.html.push_str("<tr>");
        for (i, cell) in cells.iter().enumerate() {
            let left = if i == 0 { LEFT } else { "" };
            let (open, close) = if strong { ("<b>", "</b>") } else { ("", "") };
            let _ = write!(self.html, "<td{left}>{open}{}{close}</td>", escape(cell));
        }
        self.html.push_str("</tr>");
    }

    /// The finished HTML.
    pub fn html(mut self) -> String {
        self.html.push_str("</tbody></table>");
        self.html
    }
}

/// Escapes a text for HTML.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// A heading above a table.
pub fn heading(text: &str) -> String {
    format!("<p><b>{}</b></p>", escape(text))
}

/// A remark below a table.
pub fn remark(text: &str) -> String {
    format!("<p><small>{}</small></p>", escape(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escape("<b a='\"'>&"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
    }
}
