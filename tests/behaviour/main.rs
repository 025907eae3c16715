//! End-to-end tests of the built program.

mod adaptive;
mod command_line;
mod compression;
mod compression_report;
mod cuda;
mod fetch;
mod group;
mod library_path;
mod medium_scale;
mod neural_cache;
mod non_finite;
mod notebook;
mod numbers;
mod older_run;
mod packed_products;
mod parity;
mod paths;
mod plots;
mod program;
mod recipes;
mod resume;
mod run_folder;
mod table;
mod terminal;
mod trust;
mod workers;
