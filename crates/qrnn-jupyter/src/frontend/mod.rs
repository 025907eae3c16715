pub mod history;
pub mod kernel;
pub mod shell;
