//! The font of bitmaps, and text widths. Noto Sans is built in, since a machine may have no fonts. SVG files
//! name `sans-serif` instead, which the viewer resolves.

use ab_glyph::{Font as _, FontRef, GlyphId, PxScale, ScaleFont as _};

/// Regular or bold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    Regular,
    Bold,
}

/// A font at a size.
pub(super) struct Face {
    font: FontRef<'static>,
    scale: PxScale,
}

impl Face {
    /// The built-in font with an em of `em` pixels.
    pub fn new(weight: Weight, em: f64) -> Result<Self, ab_glyph::InvalidFont> {
        let bytes = match weight {
            Weight::Regular => ttf_noto_sans::REGULAR,
            Weight::Bold => ttf_noto_sans::BOLD,
        };
        let font = FontRef::try_from_slice(bytes)?;
        // ab_glyph scales by the line height instead of the em.
        let line = font.height_unscaled() / font.units_per_em().unwrap_or(1000.0);
        Ok(Self { font, scale: PxScale::from(em as f32 * line) })
    }

    /// Glyphs with their x offsets, and the width of the text, in pixels.
    fn layout(&self, text: &str) -> (Vec<(GlyphId, f32)>, f32) {
        let font = self.font.as_scaled(self.scale);
        let mut x = 0.0;
        let mut glyphs: Vec<(GlyphId, f32)> = Vec::with_capacity(text.len());
        for character in text.chars() {
            let glyph = font.glyph_id(character);
            if let Some(&(previous, _)) = glyphs.last() {
                x += font.kern(previous, glyph);
            }
            glyphs.push((glyph, x));
            x += font.h_advance(glyph);
        }
        (glyphs, x)
    }

    /// Width of a text in pixels.
    pub fn width(&self, text: &str) -> f64 {
        f64::from(self.layout(text).1)
    }

    /// Whether the font has a glyph for the character.
    fn has_glyph(&self, character: char) -> bool {
        character.is_control() || self.font.glyph_id(character) != GlyphId(0)
    }

    /// Height of a lower-case x divided by the em.
    pub const X_HEIGHT: f64 = 0.536;

    /// Calls `pixel(x, y, coverage)` for each covered pixel, relative to the start of the baseline.
    pub fn draw(&self, text: &str, mut pixel: impl FnMut(i32, i32, f32)) {
        for (glyph, x) in self.layout(text).0 {
            let glyph = glyph.with_scale_and_position(self.scale, ab_glyph::point(x, 0.0));
            if let Some(outline) = self.font.outline_glyph(glyph) {
                let corner = outline.px_bounds().min;
                let (left, top) = (corner.x as i32, corner.y as i32);
                outline.draw(|x, y, coverage| pixel(left + x as i32, top + y as i32, coverage));
            }
        }
    }
}

/// Width of a text in pixels, for page layout.
pub(super) fn width(text: &str, weight: Weight, em: f64) -> f64 {
    Face::new(weight, em).map_or(0.55 * em * text.chars().count() as f64, |face| face.width(text))
}

/// The distinct characters without a glyph, in order of appearance.
pub(super) fn missing_glyphs<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<char> {
    let Ok(face) = Face::new(Weight::Regular, 12.0) else { return vec![] };
    let mut missing = vec![];
    for character in texts.flat_map(str::chars) {
        if !face.has_glyph(character) && !missing.contains(&character) {
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
        let regular = width("perplexity 300/1800", Weight::Regular, 12.0);
        let bold = width("perplexity 300/1800", Weight::Bold, 12.0);
        assert!((90.0..130.0).contains(&regular) && bold > regular, "{regular} {bold}");
        let mut covered = 0;
        let face = Face::new(Weight::Regular, 12.0).unwrap();
        face.draw("x", |_, _, alpha| covered += usize::from(alpha > 0.5));
        assert!(covered > 5);
    }

    #[test]
    fn lists_characters_without_a_glyph() {
        let texts = ["perplexité, ppl ≤ 35 ± 0.1 ÷ 10 …", "Ελλάδα Москва", "跑 1", "跑🙂"];
        assert_eq!(missing_glyphs(texts.into_iter()), ['跑', '🙂']);
    }
}
