//! Building blocks of the CPU's vector kernels: number formats, exponentials, stores that bypass the caches.

mod element;
mod math;
mod nontemporal;

pub use element::{Accum, Bf16, Element};
pub use nontemporal::{Output, StorePolicy};
