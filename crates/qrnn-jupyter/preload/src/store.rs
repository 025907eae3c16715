//! The variables between cells: evcxr's interface, compiled once instead of in every cell.

use std::any::Any;
use std::collections::HashMap;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// A cell prints this when `?` ends it; evcxr listens for it.
pub const USER_ERROR_OCCURRED: &str = "EVCXR_ERROR_OCCURRED";

/// The variables that no cell has taken, by name. Only code that depends on a variable's type is
/// compiled in a cell.
#[derive(Default)]
pub struct VariableStore {
    variables: HashMap<String, Box<dyn Any>>,
}

/// A store that is never freed.
pub fn create_variable_store() -> *mut VariableStore {
    Box::into_raw(Box::default())
}

impl VariableStore {
    #[inline]
    pub fn put_variable<T: 'static>(&mut self, name: &str, value: T) {
        self.put(name, Box::new(value));
    }

    /// Whether the variable is stored with this type. If not, reports it.
    #[inline]
    pub fn check_variable<T: 'static>(&mut self, name: &str) -> bool {
        self.get(name)
            .map_or_else(|| report_missing(name), |value| value.is::<T>() || report_changed(name))
    }

    /// # Panics
    /// If the variable is missing or has another type; the cell has checked both before.
    #[inline]
    pub fn take_variable<T: 'static>(&mut self, name: &str) -> T {
        match self.take(name).downcast::<T>() {
            Ok(value) => *value,
            Err(value) => self.wrong_type(name, value),
        }
    }

    /// Drops the variable with the code that made it, without naming its type.
    pub fn discard(&mut self, name: &str) {
        let value = self.variables.remove(name);
        // The generated code around this call does not catch panics.
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(value)));
        if let Err(payload) = dropped {
            crate::caught(&*payload);
        }
    }

    /// A value that all cells share, such as the runtime of `async` cells. If its crate is rebuilt,
    /// later cells share another one.
    pub fn lazy_arc<T: 'static, F: FnOnce() -> T>(&mut self, name: &str, create: F) -> Arc<T> {
        let shared = self.get(name).and_then(|shared| shared.downcast_ref::<Arc<T>>()).cloned();
        shared.unwrap_or_else(|| {
            let created = Arc::new(create());
            // Tasks of the earlier one may still run, so it is not dropped.
            std::mem::forget(self.variables.insert(name.to_owned(), Box::new(created.clone())));
            created
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
        panic!("the type of the variable `{name}` has changed")
    }
}

/// A `return` may have ended an earlier cell before its value was stored. evcxr forgets the variable
/// and compiles the cell again.
#[inline(never)]
fn report_missing(name: &str) -> bool {
    // `println!` panics if nobody reads.
    let _ = writeln!(std::io::stdout(), "EVCXR_VARIABLE_CHANGED_TYPE:{name}");
    false
}

/// The kernel refuses the cell, which has not taken any variable yet.
#[inline(never)]
fn report_changed(name: &str) -> bool {
    crate::send(&serde_json::json!({ "msg_type": "changed", "name": name }));
    false
}
