//! The built-in font, Noto Sans, for PNG files and text widths, since a machine may have no fonts. SVG files
//! name `sans-serif` instead, which the viewer resolves.

use tiny_skia::{Path, PathBuilder};
use ttf_parser::{Face, GlyphId, OutlineBuilder};

/// Em of ticks, labels and legends, in page pixels.
pub(super) const SMALL: f64 = 11.5;

/// Height of a lower-case x divided by the em.
pub(super) const X_HEIGHT: f64 = 0.536;

fn face(bold: bool) -> Option<Face<'static>> {
    let bytes = if bold { ttf_noto_sans::BOLD } else { ttf_noto_sans::REGULAR };
    Face::parse(bytes, 0).ok()
}

/// Glyphs of a text with their x offsets, and the width of the text, in ems.
fn layout(face: &Face<'_>, text: &str) -> (Vec<(GlyphId, f32)>, f32) {
    let em = f32::from(face.units_per_em());
    let mut x = 0.0;
    let printed = text.chars().filter(|character| !character.is_control());
    let glyphs = printed.map(|character| {
        let glyph = face.glyph_index(character).unwrap_or_default();
        let start = x;
        x += f32::from(face.glyph_hor_advance(glyph).unwrap_or(0)) / em;
        (glyph, start)
    });
    (glyphs.collect(), x)
}

/// Width of a text in the regular font at the size [`SMALL`], in page pixels.
pub(super) fn width(text: &str) -> f64 {
    face(false).map_or(0.55 * text.chars().count() as f64, |face| layout(&face, text).1.into())
        * SMALL
}

/// The text, shortened to `max_width` with an ellipsis. `cut` adds an ellipsis in any case.
pub(super) fn shortened(text: &str, max_width: f64, cut: bool) -> String {
    if !cut && width(text) <= max_width {
        return text.into();
    }
    let mut text = text.to_owned();
    while width(&text) + width("…") > max_width && text.pop().is_some() {}
    text + "…"
}

/// The outline of a text and its width, in ems; y points down from the baseline.
pub(super) fn outline(text: &str, bold: bool) -> Option<(Path, f32)> {
    let face = face(bold)?;
    let (glyphs, width) = layout(&face, text);
    let scale = 1.0 / f32::from(face.units_per_em());
    let mut outline = Outline { path: PathBuilder::new(), x: 0.0, scale };
    for (glyph, x) in glyphs {
        outline.x = x;
        face.outline_glyph(glyph, &mut outline);
    }
    Some((outline.path.finish()?, width))
}

/// Scales the outlines of glyphs to an em of 1 and moves them to `x`.
struct Outline {
    path: PathBuilder,
    x: f32,
    scale: f32,
}

impl Outline {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, -y * self.scale)
    }
}

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

/// The distinct characters without a glyph, in order of appearance.
pub(super) fn missing_glyphs<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<char> {
    let Some(face) = face(false) else { return vec![] };
    let mut missing = vec![];
    for character in texts.flat_map(str::chars).filter(|character| !character.is_control()) {
        if face.glyph_index(character).is_none() && !missing.contains(&character) {
            missing.push(character);
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_weights_have_letters_and_widths() {
        let text = "perplexity 300/1800";
        let [regular, bold] = [false, true].map(|bold| outline(text, bold).unwrap());
        assert!((7.5..10.8).contains(&regular.1) && bold.1 > regular.1);
        assert!((width(text) - f64::from(regular.1) * SMALL).abs() < 1e-4);
        // From the descender of p to the ascender of l.
        let bounds = regular.0.bounds();
        assert!((-0.85..-0.6).contains(&bounds.top()) && (0.1..0.3).contains(&bounds.bottom()));
        assert!(bounds.left() >= 0.0 && bounds.right() <= regular.1);
    }

    #[test]
    fn a_long_text_is_shortened() {
        assert_eq!(shortened("short", 100.0, false), "short");
        for (text, cut) in [("a_word_that_is_wider_than_the_page", false), ("some words", true)] {
            let shortened = shortened(text, 100.0, cut);
            assert!(shortened.ends_with('…') && width(&shortened) <= 100.0, "{shortened}");
        }
    }

    #[test]
    fn lists_characters_without_a_glyph() {
        let texts = ["perplexité, ppl ≤ 35 ± 0.1 ÷ 10 …", "Ελλάδα Москва", "跑 1", "跑🙂"];
        assert_eq!(missing_glyphs(texts.into_iter()), ['跑', '🙂']);
    }
}
