//! A sum over work items that is the same on any number of threads.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::Cpu;
use crate::error::Result;

/// Σ `part(item)` over `0..items`. The parts are computed on the worker threads and added in the order of the items.
pub fn total(cpu: &Cpu, items: usize, part: impl Fn(usize) -> f64 + Sync) -> Result<f64> {
    let parts: Vec<AtomicU64> = (0..items).map(|_| AtomicU64::new(0)).collect();
    // `for_each` ends after its items, on threads that have joined: relaxed is enough.
    cpu.for_each(items, |item| parts[item].store(part(item).to_bits(), Ordering::Relaxed))?;
    Ok(parts.into_iter().map(|part| f64::from_bits(part.into_inner())).sum())
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
