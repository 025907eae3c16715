//! Marks that stand among the names in [`crate::notebook::items::Item::mentions`]. A mark has a
//! character that no name has.

/// It may hold a value of any type, as `Box<dyn Any>` does.
pub const ANY_TYPE: &str = "any value";

/// It reads files or environment variables while it is compiled.
pub const FILES: &str = "any file";

/// It depends on every crate.
pub const EVERY_CRATE: &str = "*";

/// Before a name: whatever has this name may hold a value of any type, unless the notebook defines
/// it, because then its definition shows what it holds.
pub const ERASES: &str = "dyn ";

/// Before a macro's name: it may read files, unless the notebook defines it.
pub const EXPANDS: &str = "macro ";
