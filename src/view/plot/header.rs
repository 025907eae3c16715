//! The header of a panel: title, subtitle and legend.

use super::canvas::{Canvas, GREY, MARKER, TextFormat, color};
use super::chart::{Panel, Series};
use super::font::{SMALL, shortened, width};
use super::labels::Area;

const LINE_HEIGHT: f64 = 16.0;
const TITLE: f64 = 13.5;

/// Width of the marker or line in front of a legend entry.
const SWATCH: f64 = 23.0;

/// Height of the header above a plot of a given width.
pub(super) fn height(panel: &Panel, max_width: f64) -> f64 {
    let subtitle = below_title(panel, max_width).len();
    let legend = legend_rows(panel, max_width).len();
    title_height(panel) + (subtitle + legend) as f64 * LINE_HEIGHT + 10.0
}

fn title_height(panel: &Panel) -> f64 {
    if panel.title.is_empty() { 0.0 } else { 19.0 }
}

/// Draws the header of a panel with its upper edge at `top`.
pub(super) fn draw(canvas: &mut Canvas, panel: &Panel, top: f64, plot: &Area) {
    if !panel.title.is_empty() {
        canvas.text(&panel.title, (plot.left, top + 8.0), TextFormat::new(TITLE).bold());
    }
    let mut y = top + title_height(panel) + 8.0;
    for line in below_title(panel, plot.right - plot.left) {
        canvas.text(line, (plot.left, y), TextFormat::new(SMALL).color(GREY));
        y += LINE_HEIGHT;
    }
    for row in legend_rows(panel, plot.right - plot.left) {
        let mut x = plot.left;
        for item in row {
            let mut text_x = x;
            if let Some((i, series)) = item.series {
                if series.line {
                    canvas.line([(x + 2.0, y), (x + 18.0, y)], 2.0, color(i));
                }
                if series.markers {
                    canvas.marker(i, (x + 10.0, y), MARKER);
                }
                text_x += SWATCH;
            }
            canvas.text(item.text, (text_x, y), TextFormat::new(SMALL));
            x += item.width;
        }
        y += LINE_HEIGHT;
    }
}

struct LegendItem<'a> {
    text: &'a str,
    width: f64,
    /// `None` for the heading.
    series: Option<(usize, &'a Series)>,
}

/// Arranges the legend in rows of at most `max_width`. Series without a label or without a drawn point have
/// no entry.
fn legend_rows(panel: &Panel, max_width: f64) -> Vec<Vec<LegendItem<'_>>> {
    let is_shown = |series: &Series| !series.label.is_empty() && series.drawn().next().is_some();
    let series = panel.series.iter().enumerate().filter(|(_, series)| is_shown(series));
    let heading = (!panel.legend_title.is_empty() && panel.drawn().next().is_some())
        .then_some((panel.legend_title.as_str(), None));
    let entries = series.map(|(i, series)| (series.label.as_str(), Some((i, series))));
    let mut rows: Vec<Vec<LegendItem<'_>>> = vec![];
    for (text, series) in heading.into_iter().chain(entries) {
        let width = width(text) + 12.0 + series.map_or(0.0, |_| SWATCH);
        let item = LegendItem { text, width, series };
        let fits = |row: &&mut Vec<LegendItem<'_>>| {
            row.iter().map(|item| item.width).sum::<f64>() + width <= max_width + 12.0
        };
        match rows.last_mut().filter(fits) {
            Some(row) => row.push(item),
            None => rows.push(vec![item]),
        }
    }
    rows
}

/// Subtitle and note.
fn below_title(panel: &Panel, max_width: f64) -> Vec<String> {
    [&panel.subtitle, &panel.note].into_iter().flat_map(|text| wrapped(text, max_width)).collect()
}

/// Wraps a text into at most two lines of at most `max_width`; an ellipsis replaces what does not fit.
fn wrapped(text: &str, max_width: f64) -> Vec<String> {
    let max_width = max_width * 0.97;
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(&format!("{line} {word}")) <= max_width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    let cut = lines.len() > 2;
    lines.truncate(2);
    // A single word, such as a folder name, may be wider than the panel.
    let shorten = |(i, line): (usize, &String)| shortened(line, max_width, cut && i == 1);
    lines.iter().enumerate().map(shorten).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_the_panel() {
        let long = "a_folder_whose_name_is_one_word_and_wider_than_any_panel_of_any_figure";
        for text in [long.to_owned(), format!("{long} {long} {long}"), "a b ".repeat(90)] {
            let lines = wrapped(&text, 200.0);
            assert!(lines.len() <= 2 && lines.iter().any(|line| line.ends_with('…')));
            assert!(lines.iter().all(|line| width(line) <= 200.0));
        }
        assert_eq!(wrapped("short enough", 200.0), ["short enough"]);
    }
}
