pub mod counter;
pub mod interrupter;
