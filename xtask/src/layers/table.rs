//! The order of the rooms of each crate: `table.json`, the one place to edit when a room comes, goes or
//! moves.
//!
//! Lowest first. A room imports only from lines below its own, and from itself; rooms on one line
//! do not import each other. A room is a module at the top of a crate with all that is in it, named
//! as in paths, or a deeper module where the table names it (`paper::experiment`). The file of the
//! crate's root (lib.rs, main.rs) has the name `crate`.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// By the name of the library or program, as `cargo metadata` has it: rooms beside each other, and why they
/// are there. Crates that have only a root file need no order.
pub type Orders = HashMap<String, Vec<(Vec<String>, String)>>;

pub fn read() -> Result<Orders> {
    serde_json::from_str(include_str!("table.json")).map_err(|error| {
        Error::machine(format!("xtask/src/layers/table.json: {error}"), "correct it")
    })
}

/// How to write a line for a room that is not in the table.
pub const REMEDY: &str =
    "give it a line in xtask/src/layers/table.json: above all rooms that it imports from";

/// What to do about a room of the table that is not there.
pub const GONE: &str = "delete it from xtask/src/layers/table.json, or give it its new name";
