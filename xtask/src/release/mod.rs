//! What is given away: the licenses of all that the programs link, and the files of each package.

pub mod licenses;
pub mod package;
