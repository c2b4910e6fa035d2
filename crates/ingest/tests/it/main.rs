//! Loads of files into a lake in memory.

mod loads;
mod setup;
