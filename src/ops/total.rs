//! A sum over work items that is the same on any number of threads.

use std::iter::Sum;
use std::sync::OnceLock;

use crate::device::Cpu;
use crate::error::Result;

/// Σ `part(item)` over `0..items`. The parts are computed on the worker threads and added in the order of the items.
pub fn total<T: Sum + Send + Sync>(cpu: &Cpu, items: usize, part: impl Fn(usize) -> T + Sync) -> Result<T> {
    let parts: Vec<OnceLock<T>> = (0..items).map(|_| OnceLock::new()).collect();
    // `for_each` runs every item once or fails: a place is filled exactly once.
    cpu.for_each(items, |item| _ = parts[item].set(part(item)))?;
    Ok(parts.into_iter().filter_map(OnceLock::into_inner).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::oracle;

    #[test]
    fn parts_are_added_in_order() {
        // Large values that cancel: another order has another sum.
        let part = |item: usize| (item as f64).exp() * if item.is_multiple_of(2) { 1.0 } else { -1.0 };
        let expected: f64 = (0..60).map(part).sum();
        assert_ne!(expected, (0..60).rev().map(part).sum::<f64>());
        for cpu in oracle::cpus() {
            assert_eq!(total(&cpu, 60, part).unwrap(), expected);
        }
    }
}
