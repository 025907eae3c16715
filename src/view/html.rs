//! Tables and lines as HTML fragments that any notebook shows and no sanitiser spoils.

use std::fmt::Write as _;

/// Jupyter centers tables and aligns cells to the right; text wants the left.
const LEFT: &str = " style=\"text-align:left\"";

/// A table: words in the first column, figures in the others.
#[derive(Debug, Default)]
pub struct Table {
    html: String,
}

impl Table {
    /// With these headings.
    pub fn new(headings: &[&str]) -> Self {
        let mut html = String::from("<table><thead><tr>");
        for (i, heading) in headings.iter().enumerate() {
            let left = if i == 0 { LEFT } else { "" };
            let _ = write!(html, "<th{left}>{}</th>", escaped(heading));
        }
        html.push_str("</tr></thead><tbody>");
        Self { html }
    }

    /// Names and values, without headings; the values to the left too.
    pub fn facts<'a>(facts: impl IntoIterator<Item = (&'a str, String)>) -> Self {
        let mut html = String::from("<table><tbody>");
        for (name, value) in facts {
            let _ = write!(
                html,
                "<tr><th{LEFT}>{}</th><td{LEFT}>{}</td></tr>",
                escaped(name),
                escaped(&value)
            );
        }
        Self { html }
    }

    pub fn row(&mut self, cells: &[String]) {
        self.styled_row(cells, false);
    }

    /// A row that matters more than the others: a sum, the best.
    pub fn strong_row(&mut self, cells: &[String]) {
        self.styled_row(cells, true);
    }

    fn styled_row(&mut self, cells: &[String], strong: bool) {
        self.html.push_str("<tr>");
        for (i, cell) in cells.iter().enumerate() {
            let left = if i == 0 { LEFT } else { "" };
            let (open, close) = if strong { ("<b>", "</b>") } else { ("", "") };
            let _ = write!(self.html, "<td{left}>{open}{}{close}</td>", escaped(cell));
        }
        self.html.push_str("</tr>");
    }

    pub fn html(mut self) -> String {
        self.html.push_str("</tbody></table>");
        self.html
    }
}

/// A text that HTML shows as it is.
pub fn escaped(text: &str) -> String {
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

/// A heading over a table.
pub fn heading(text: &str) -> String {
    format!("<p><b>{}</b></p>", escaped(text))
}

/// A remark under a table.
pub fn remark(text: &str) -> String {
    format!("<p><small>{}</small></p>", escaped(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_shown_not_obeyed() {
        assert_eq!(escaped("<b a='\"'>&"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;");
    }
}
