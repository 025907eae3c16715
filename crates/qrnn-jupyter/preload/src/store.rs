//! Variables between cells: evcxr's interface, compiled once instead of in every cell.

use std::any::Any;
use std::collections::HashMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// What a cell prints where `?` ended it; evcxr listens for it.
pub const USER_ERROR_OCCURRED: &str = "EVCXR_ERROR_OCCURRED";

/// The variables that are in no cell's hands at the moment, by name. Only what depends on a
/// variable's type is compiled in a cell.
#[derive(Default)]
pub struct VariableStore {
    variables: HashMap<String, Box<dyn Any>>,
}

/// A store that lives as long as the process.
pub fn create_variable_store() -> *mut VariableStore {
    Box::into_raw(Box::default())
}

impl VariableStore {
    #[inline]
    pub fn put_variable<T: 'static>(&mut self, name: &str, value: T) {
        self.put(name, Box::new(value));
    }

    /// Whether the variable is there and still has this type; says so where that is not so.
    #[inline]
    pub fn check_variable<T: 'static>(&mut self, name: &str) -> bool {
        self.get(name).map_or_else(|| missing(name), |value| value.is::<T>() || changed(name))
    }

    /// # Panics
    /// Where the variable is missing, or has another type, which the check comes before. It stays
    /// in the store then.
    #[inline]
    pub fn take_variable<T: 'static>(&mut self, name: &str) -> T {
        match self.take(name).downcast::<T>() {
            Ok(value) => *value,
            Err(value) => self.wrong_type(name, value),
        }
    }

    /// Drops the variable by the code that made it, whatever its type is called by now.
    pub fn discard(&mut self, name: &str) {
        let value = self.variables.remove(name);
        // The code around this unwinds no further; the panic hook has told of the panic.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(value)));
        if let Err(payload) = dropped {
            crate::caught(&*payload);
        }
    }

    /// What all cells share of one make, the runtime of `async` cells say. Where the crate that it
    /// comes from was built anew, the cells from then on share another.
    pub fn lazy_arc<T: 'static, F: FnOnce() -> T>(&mut self, name: &str, create: F) -> Arc<T> {
        let kept = self.get(name).and_then(|shared| shared.downcast_ref::<Arc<T>>()).cloned();
        kept.unwrap_or_else(|| {
            let made = Arc::new(create());
            // Tasks of the earlier one may still run.
            std::mem::forget(self.variables.insert(name.to_owned(), Box::new(made.clone())));
            made
        })
    }

    fn put(&mut self, name: &str, value: Box<dyn Any>) {
        self.variables.insert(name.to_owned(), value);
    }

    fn get(&self, name: &str) -> Option<&dyn Any> {
        self.variables.get(name).map(|value| &**value)
    }

    fn take(&mut self, name: &str) -> Box<dyn Any> {
        match self.variables.remove(name) {
            Some(value) => value,
            None => panic!("the variable `{name}` was lost in an earlier cell"),
        }
    }

    #[inline(never)]
    fn wrong_type(&mut self, name: &str, value: Box<dyn Any>) -> ! {
        self.put(name, value);
        panic!("the variable `{name}` has another type than before")
    }
}

/// A `return` may have ended the cell before its value was stored: evcxr forgets the variable and
/// compiles the cell again.
#[inline(never)]
fn missing(name: &str) -> bool {
    // Not by println!, which panics where nobody reads any more.
    let _ = writeln!(std::io::stdout(), "EVCXR_VARIABLE_CHANGED_TYPE:{name}");
    false
}

/// The kernel refuses the cell, which has not taken any variable yet.
#[inline(never)]
fn changed(name: &str) -> bool {
    crate::tell(&serde_json::json!({ "msg_type": "changed", "name": name }));
    false
}
