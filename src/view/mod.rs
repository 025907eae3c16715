//! What results look like: in notebooks, as plots, as a report.

pub mod plot;
pub mod report;
pub mod show;
