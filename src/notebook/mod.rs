//! What a notebook cell and its kernel say to each other.

pub(crate) mod channel;
mod live_display;
mod mime_bundle;

pub use live_display::LiveDisplay;
pub use mime_bundle::MimeBundle;
