//! Where the time of a step goes: timers around the pieces of the work, off unless asked for.
//!
//! They are the process's own, for `reproduce bench`; a notebook's cell sees those of its own copy.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::matmul::Product;

static WATCHING: AtomicBool = AtomicBool::new(false);
static SEEN: Mutex<Profile> = Mutex::new(Profile { stages: BTreeMap::new(), products: vec![] });

/// What was seen since [`start`].
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// Time in each piece of the work; they do not overlap.
    pub stages: BTreeMap<&'static str, Duration>,
    /// The matrix products, in their order.
    pub products: Vec<Product>,
}

/// Forgets what was seen, and begins to watch.
pub fn start() {
    *lock() = Profile::default();
    WATCHING.store(true, Ordering::Relaxed);
}

/// Stops watching, and returns what was seen.
pub fn stop() -> Profile {
    WATCHING.store(false, Ordering::Relaxed);
    std::mem::take(&mut *lock())
}

/// Times a piece of the work until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct Stage(Option<(&'static str, Instant)>);

/// Begins a piece of the work; pieces must not contain one another.
pub(crate) fn stage(name: &'static str) -> Stage {
    Stage(WATCHING.load(Ordering::Relaxed).then(|| (name, Instant::now())))
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some((name, started)) = self.0 {
            *lock().stages.entry(name).or_default() += started.elapsed();
        }
    }
}

/// Notes a matrix product where somebody watches.
pub(crate) fn product(product: impl FnOnce() -> Product) {
    if WATCHING.load(Ordering::Relaxed) {
        lock().products.push(product());
    }
}

fn lock() -> std::sync::MutexGuard<'static, Profile> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner)
}
