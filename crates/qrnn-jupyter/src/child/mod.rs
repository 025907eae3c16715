//! The child process that loads and runs the compiled cells, and the kernel's side of it: output,
//! standard input, interrupts, the working folder, and the processes that cells start.

pub mod cell_output;
pub mod demultiplexer;
pub mod interrupt;
pub mod launch;
pub mod library_path;
pub mod markers;
pub mod output_limit;
pub mod processes;
pub mod reader;
pub mod runtime;
pub mod stdin;
pub mod streams;
pub mod workdir;
