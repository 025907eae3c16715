//! What results and progress look like: in notebooks, in a terminal, as plots, as a report. The rest of the
//! library imports nothing from here.

mod html;
pub mod plot;
pub mod progress;
pub mod report;
pub mod show;
