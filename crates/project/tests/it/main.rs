//! Whole projects: loading, selecting, rendering, and what is said about mistakes.

mod dbt;
mod example;
mod harness;
mod mistakes;
mod properties;
mod rendering;
mod selecting;
mod speed;
