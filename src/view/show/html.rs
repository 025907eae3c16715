//! Tables and lines as HTML fragments that any notebook shows and no sanitiser spoils.

use std::fmt::Write as _;

use crate::view::report::cells::escaped;

/// Jupyter centres tables and aligns cells to the right; text wants the left.
const LEFT: &str = " style=\"text-align:left\"";

/// A table: words in the first column, figures in the others.
#[derive(Debug, Default)]
pub(super) struct Table {
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

/// A heading over a table.
pub(super) fn heading(text: &str) -> String {
    format!("<p><b>{}</b></p>", escaped(text))
}

/// A remark under a table.
pub(super) fn remark(text: &str) -> String {
    format!("<p><small>{}</small></p>", escaped(text))
}
