//! fo-pooling and forget-mult on CUDA.

mod forget_mult;
mod pool;
mod shape;

#[cfg(test)]
pub(crate) use forget_mult::FORGET_MULT;
pub(super) use forget_mult::forget_mult;
#[cfg(test)]
pub(crate) use pool::FO_POOL;
pub(super) use pool::fo_pool;

#[cfg(test)]
mod access_tests;
#[cfg(test)]
mod padded;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod touched;
