//! The built program, as its users meet it.

mod bench;
mod command_line;
mod cuda;
mod fetch;
mod library_path;
mod memory;
mod notebook;
mod older_run;
mod parity;
mod program;
mod recipes;
mod resume;
