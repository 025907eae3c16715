//! A bitmap to draw on: plotters' own, with better text and joints, averaged down at the end.

use std::convert::Infallible;

use plotters::backend::{BitMapBackend, DrawingBackend};
use plotters::style::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingErrorKind, FontStyle,
};

use super::canvas::EM;
use super::font::{Face, Weight};

/// Pixels drawn for each pixel kept, in each direction.
const OVERSAMPLING: usize = 2;

type Drawn = Result<(), DrawingErrorKind<Infallible>>;

/// Plotters' bitmap. Its own text ignores side bearings, and it fills a wide polyline as a single
/// polygon, which leaves holes where a curve turns back on itself.
pub(super) struct Raster<'a> {
    inner: BitMapBackend<'a>,
}

impl<'a> Raster<'a> {
    /// A bitmap over `pixels`, three bytes each.
    pub fn new(pixels: &'a mut [u8], size: (u32, u32)) -> Self {
        Self { inner: BitMapBackend::with_buffer(pixels, size) }
    }
}

impl DrawingBackend for Raster<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        self.inner.get_size()
    }

    fn ensure_prepared(&mut self) -> Drawn {
        Ok(())
    }

    fn present(&mut self) -> Drawn {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Drawn {
        self.inner.draw_pixel(at, color).or(Ok(()))
    }

    fn draw_rect<S: BackendStyle>(
        &mut self,
        upper_left: BackendCoord,
        bottom_right: BackendCoord,
        style: &S,
        fill: bool,
    ) -> Drawn {
        self.inner.draw_rect(upper_left, bottom_right, style, fill).or(Ok(()))
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(
        &mut self,
        path: I,
        style: &S,
    ) -> Drawn {
        let half = f64::from(style.stroke_width()) / 2.0;
        let mut last: Option<BackendCoord> = None;
        for point in path {
            if let Some(from) = last {
                self.fill_polygon(thick(from, point, half), &style.color())?;
                self.draw_circle(from, half.floor() as u32, &style.color(), true)?;
            }
            last = Some(point);
        }
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Drawn {
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
        // The same baselines as in plotters' SVG.
        let baseline = match style.anchor().v_pos {
            VPos::Top => 0.76 * em,
            VPos::Center => 0.5 * Face::X_HEIGHT * em,
            VPos::Bottom => -0.5 * Face::X_HEIGHT * em,
        };
        let (left, baseline) = (left.round() as i32, baseline.round() as i32);
        let (color, turn) = (style.color(), style.transform());
        let mut result = Ok(());
        face.draw(text, |dx, dy, covered| {
            let (dx, dy) = turn.transform(left + dx, baseline + dy);
            let alpha = color.alpha * f64::from(covered.clamp(0.0, 1.0));
            let drawn = self.draw_pixel((x + dx, y + dy), BackendColor { alpha, ..color });
            if drawn.is_err() {
                result = drawn;
            }
        });
        result
    }
}

/// The corners of a line as wide as twice `half`.
fn thick(from: BackendCoord, to: BackendCoord, half: f64) -> [BackendCoord; 4] {
    let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
    let length = dx.hypot(dy).max(1.0);
    let (nx, ny) = (-dy / length * half, dx / length * half);
    let corner = |(x, y): BackendCoord, sign: f64| {
        ((f64::from(x) + sign * nx).round() as i32, (f64::from(y) + sign * ny).round() as i32)
    };
    [corner(from, 1.0), corner(to, 1.0), corner(to, -1.0), corner(from, -1.0)]
}

/// Averages squares of [`OVERSAMPLING`] pixels and encodes the rest as PNG.
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
