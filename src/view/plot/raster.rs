//! A bitmap backend: that of plotters with better text and line joints, and antialiasing by oversampling.

use std::convert::Infallible;

use plotters::backend::{BitMapBackend, DrawingBackend};
use plotters::style::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind, FontStyle,
};

use super::canvas::EM;
use super::font::{Face, Weight};

/// Drawn pixels per output pixel, in each direction.
const OVERSAMPLING: usize = 2;

type DrawResult = Result<(), DrawingErrorKind<Infallible>>;

/// Wraps the bitmap backend of plotters, whose text ignores side bearings and which fills a wide polyline as
/// one polygon, with holes where a curve turns back on itself.
pub(super) struct Raster<'a> {
    inner: BitMapBackend<'a>,
}

impl<'a> Raster<'a> {
    /// Draws into `pixels`, three bytes (RGB) each.
    pub fn new(pixels: &'a mut [u8], size: (u32, u32)) -> Self {
        Self { inner: BitMapBackend::with_buffer(pixels, size) }
    }
}

impl DrawingBackend for Raster<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.inner.get_size()
    }

    fn ensure_prepared(&mut self) -> DrawResult {
        Ok(())
    }

    fn present(&mut self) -> DrawResult {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> DrawResult {
        self.inner.draw_pixel(at, color).or(Ok(()))
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> DrawResult {
        self.inner.draw_rect(upper_left, bottom_right, style, fill).or(Ok(()))
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> DrawResult {
        let half = f64::from(style.stroke_width()) / 2.0;
        let mut previous: Option<BackendCoord> = None;
        for point in path {
            if let Some(from) = previous {
                self.fill_polygon(line_corners(from, point, half), &style.color())?;
                self.draw_circle(from, half.floor() as u32, &style.color(), true)?;
            }
            previous = Some(point);
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> DrawResult {
        let weight = match style.style() {
            FontStyle::Bold => Weight::Bold,
            _ => Weight::Regular,
        };
        let em = style.size() * EM;
        let face = Face::new(weight, em).map_err(|e| DrawingErrorKind::FontError(e.into()))?;
        let left = match style.anchor().h_pos {
            HPos::Left => 0.0,
            HPos::Center => -face.width(text) / 2.0,
            HPos::Right => -face.width(text),
        };
        // The same baselines as in the SVG files of plotters.
        let baseline = match style.anchor().v_pos {
            VPos::Top => 0.76 * em,
            VPos::Center => 0.5 * Face::X_HEIGHT * em,
            VPos::Bottom => -0.5 * Face::X_HEIGHT * em,
        };
        let (left, baseline) = (left.round() as i32, baseline.round() as i32);
        let (color, rotation) = (style.color(), style.transform());
        let mut result = Ok(());
        face.draw(text, |dx, dy, coverage| {
            let (dx, dy) = rotation.transform(left + dx, baseline + dy);
            let alpha = color.alpha * f64::from(coverage.clamp(0.0, 1.0));
            let pixel_result = self.draw_pixel((x + dx, y + dy), BackendColor { alpha, ..color });
            if pixel_result.is_err() {
                result = pixel_result;
            }
        });
        result
    }
}

/// Corners of a line of width 2 × `half`.
fn line_corners(from: BackendCoord, to: BackendCoord, half: f64) -> [BackendCoord; 4] {
    let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
    let length = dx.hypot(dy).max(1.0);
    let (nx, ny) = (-dy / length * half, dx / length * half);
    let corner = |(x, y): BackendCoord, sign: f64| {
        ((f64::from(x) + sign * nx).round() as i32, (f64::from(y) + sign * ny).round() as i32)
    };
    [corner(from, 1.0), corner(to, 1.0), corner(to, -1.0), corner(from, -1.0)]
}

/// Averages squares of [`OVERSAMPLING`] × [`OVERSAMPLING`] pixels and encodes the result as PNG.
pub(super) fn encode(
    pixels: &[u8],
    (width, height): (u32, u32),
) -> Result<Vec<u8>, png::EncodingError> {
    let (wide, high) = (width as usize / OVERSAMPLING, height as usize / OVERSAMPLING);
    let stride = width as usize * 3;
    let mut small = Vec::with_capacity(wide * high * 3);
    for y in 0..high {
        for x in 0..wide {
            for channel in 0..3 {
                let corner = y * OVERSAMPLING * stride + x * OVERSAMPLING * 3 + channel;
                let square = (0..OVERSAMPLING * OVERSAMPLING)
                    .map(|i| corner + i / OVERSAMPLING * stride + i % OVERSAMPLING * 3);
                let sum: usize = square.map(|at| usize::from(pixels[at])).sum();
                small.push((sum / (OVERSAMPLING * OVERSAMPLING)) as u8);
            }
        }
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, wide as u32, high as u32);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&small)?;
    writer.finish()?;
    Ok(bytes)
}
