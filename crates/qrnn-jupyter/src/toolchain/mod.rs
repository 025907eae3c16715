pub mod environment;
pub mod preload;
pub mod rustc_info;
