//! HTML fragments for notebooks and the report. They use inline styles only, which sanitizers keep.

use maud::{Markup, Render, html};

use crate::paper::operation_counts::FIGURES;
use crate::paper::results::OpTables;

/// Aligns text to the left; Jupyter aligns cells to the right.
const LEFT: &str = "text-align:left";

/// A table with text in the first column and numbers in the others. Rows that begin with `true` are bold.
pub fn table<T: Render>(
    headings: &[&str],
    rows: impl IntoIterator<Item = (bool, impl IntoIterator<Item = T>)>,
) -> Markup {
    let left = |column| (column == 0).then_some(LEFT);
    html! {
        table {
            thead { tr {
                @for (i, heading) in headings.iter().enumerate() {
                    th style=[left(i)] { (heading) }
                }
            } }
            tbody {
                @for (strong, cells) in rows {
                    tr {
                        @for (i, cell) in cells.into_iter().enumerate() {
                            td style=[left(i)] { @if strong { b { (cell) } } @else { (cell) } }
                        }
                    }
                }
            }
        }
    }
}

/// A table of names and values without headings, aligned to the left.
pub fn name_value(pairs: &[(&str, String)]) -> Markup {
    html! {
        table { tbody {
            @for (name, value) in pairs {
                tr { th style=(LEFT) { (name) } td style=(LEFT) { (value) } }
            }
        } }
    }
}

/// Counted and published operations side by side.
pub fn operations(tables: &OpTables) -> Markup {
    html! {
        table class="ops" {
            thead {
                tr {
                    th rowspan="2" scope="col" { "op" }
                    @for heading in FIGURES {
                        th colspan="2" class="group" scope="colgroup" { (heading) }
                    }
                }
                tr {
                    @for _ in FIGURES {
                        th class="first" scope="col" { "counted" }
                        th class="published" scope="col" { "published" }
                    }
                }
            }
            tbody {
                @for (row, figures) in tables.compared() {
                    tr class=[(row.op == "total").then_some("total")] {
                        td { (row.op) }
                        @for [counted, published] in figures {
                            td class="first" { (format_args!("{counted:.3}")) }
                            td class="published" { (format_args!("{published:.3}")) }
                        }
                    }
                }
            }
        }
    }
}

/// A progress bar; `None` if the end is unknown.
pub fn progress(fraction: Option<f64>) -> Markup {
    let value = fraction.map(|fraction| format!("{fraction:.3}"));
    html! { progress value=[value] max=[fraction.map(|_| 1)] {} }
}

/// A heading above a table.
pub fn heading(text: &str) -> Markup {
    html! { p { b { (text) } } }
}

/// A remark below a table.
pub fn remark(text: &str) -> Markup {
    html! { p { small { (text) } } }
}
