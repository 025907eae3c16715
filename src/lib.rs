pub mod autograd;
pub mod error;
pub mod libtorch;
pub mod pool;
pub use error::{Error, Result};
