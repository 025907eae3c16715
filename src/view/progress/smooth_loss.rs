//! Moving average of the losses of steps, for display.

#[derive(Debug, Default)]
pub struct SmoothLoss(Option<f64>);

impl SmoothLoss {
    pub fn add(&mut self, loss: f64) -> f64 {
        *self.0.insert(self.0.map_or(loss, |smooth| 0.95 * smooth + 0.05 * loss))
    }
}
