//! Presents results and progress in notebooks and terminals, as plots and as a report. The rest of the
//! library does not import this module.

mod html;
pub mod plot;
pub mod progress;
pub mod report;
pub mod show;
