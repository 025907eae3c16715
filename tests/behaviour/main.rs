//! The built program, as its users meet it.

mod command_line;
mod notebook;
mod fetch;
mod parity;
mod program;
mod recipes;
mod resume;
