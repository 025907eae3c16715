//! Communication between a notebook cell and its kernel.

pub(crate) mod channel;
mod live_display;
mod mime_bundle;

pub use live_display::LiveDisplay;
pub use mime_bundle::MimeBundle;
