pub mod items;
pub mod state;
pub mod type_dependencies;
pub mod type_erasure;
