//! What a trainer promises: the same bits on any number of threads and after any interruption, parameters that change
//! only where they may, files that hold what the model was, and errors instead of surprises.

#![allow(clippy::unwrap_used)] // a test may panic

mod cases;
mod files;
mod heads;
mod hostile;
mod interchange;
mod interrupted;
mod same;
mod steps;
