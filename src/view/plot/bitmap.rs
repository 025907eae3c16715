//! Paints a page as PNG, two pixels per page pixel, with tiny-skia.

use tiny_skia::{FillRule, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, StrokeDash, Transform};

use super::canvas::{Anchor, Canvas, Color, DASHES, Shape, Xy};
use super::font;

/// Pixels per page pixel.
const SCALE: u32 = 2;

/// Encodes the page as PNG.
pub(super) fn png(canvas: &Canvas) -> Result<Vec<u8>, String> {
    let (width, height) = canvas.size;
    let mut pixmap = Pixmap::new(width * SCALE, height * SCALE).ok_or("the page is empty")?;
    for shape in &canvas.shapes {
        // A path without area, such as that of a text without letters, is not drawn.
        draw(&mut pixmap, shape);
    }
    pixmap.encode_png().map_err(|error| error.to_string())
}

fn draw(pixmap: &mut Pixmap, shape: &Shape) -> Option<()> {
    let page = Transform::from_scale(SCALE as f32, SCALE as f32);
    let (path, transform, color) = match shape {
        Shape::Line { points, width, dashed, color } => {
            let lengths = DASHES.map(|length| length as f32).to_vec();
            let dash = dashed.then(|| StrokeDash::new(lengths, 0.0)).flatten();
            let stroke = Stroke { width: *width as f32, dash, ..Stroke::default() };
            pixmap.stroke_path(&polyline(points)?.finish()?, &paint(*color), &stroke, page, None);
            return None;
        }
        Shape::Rectangle { from, to, color } => {
            let rectangle =
                Rect::from_ltrb(from.0 as f32, from.1 as f32, to.0 as f32, to.1 as f32)?;
            let paint = Paint { anti_alias: false, ..paint(*color) };
            pixmap.fill_rect(rectangle, &paint, page, None);
            return None;
        }
        Shape::Polygon { corners, color } => (closed(polyline(corners)?)?, page, color),
        Shape::Circle { center: (x, y), radius, color } => {
            (PathBuilder::from_circle(*x as f32, *y as f32, *radius as f32)?, page, color)
        }
        Shape::Text { text, at: (x, y), format } => {
            let (outline, width) = font::outline(text, format.bold)?;
            let start = match format.anchor {
                Anchor::Left => 0.0,
                Anchor::Center => -width / 2.0,
                Anchor::Right => -width,
            };
            let em = format.em as f32;
            let transform = page
                .pre_translate(*x as f32, *y as f32)
                .pre_concat(Transform::from_rotate(if format.rotated { -90.0 } else { 0.0 }))
                .pre_translate(start * em, format.baseline() as f32)
                .pre_scale(em, em);
            (outline, transform, &format.color)
        }
    };
    pixmap.fill_path(&path, &paint(*color), FillRule::Winding, transform, None);
    None
}

fn paint(color: Color) -> Paint<'static> {
    let [_, red, green, blue] = color.0.to_be_bytes();
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, 255);
    paint
}

fn polyline(points: &[Xy]) -> Option<PathBuilder> {
    let (&(x, y), rest) = points.split_first()?;
    let mut path = PathBuilder::new();
    path.move_to(x as f32, y as f32);
    for &(x, y) in rest {
        path.line_to(x as f32, y as f32);
    }
    Some(path)
}

fn closed(mut path: PathBuilder) -> Option<Path> {
    path.close();
    path.finish()
}
