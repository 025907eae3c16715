//! Building blocks of vectorized CPU kernels: element types, exponentials, nontemporal stores.

mod element;
mod math;
mod nontemporal;

pub use element::{Accum, Bf16, Element};
pub use nontemporal::{Output, StorePolicy};
