//! Metrics, of sections 14 and 16

use std::ffi::c_char;

use super::dataset::examples;
use super::guard::{cut, guard};
use super::inputs::model as opened;
use super::options::choice;
use super::outputs::Array;
use super::train::OBJECTIVES;
use super::{cloze_call_options, cloze_dataset, cloze_error, cloze_model, cloze_status};
use crate::engine::Metrics;

pub const CLOZE_MAX_METRICS: usize = 32;

#[repr(C)]
#[derive(Clone, Copy)]
pub struct cloze_metric {
    pub name: [c_char; 56],
    pub value: f64,
}

impl cloze_metric {
    /// In the order of reporting.
    pub(super) fn all(metrics: &Metrics) -> Vec<Self> {
        metrics.iter().map(|(name, value)| Self { name: cut(name), value }).collect()
    }
}

#[unsafe(no_mangle)]
pub unsafe extern "C" fn cloze_model_evaluate(
    model: *const cloze_model,
    objective: u32,
    data: *const cloze_dataset,
    options: *const cloze_call_options,
    metrics: *mut cloze_metric,
    capacity: usize,
    count: *mut usize,
    error: *mut cloze_error,
) -> cloze_status {
    // SAFETY: the header's promise.
    unsafe {
        guard(error, || {
            let model = opened(model)?;
            let objective = choice("objective", objective, &OBJECTIVES)?;
            let data = examples("data", data)?;
            let (max_tokens, watch) = cloze_call_options::take_for_examples(options)?;
            let out = Array::new("metrics", metrics, capacity, count)?;
            out.reserve(CLOZE_MAX_METRICS)?;
            let objective = objective.map_or_else(|| model.objective(), Ok)?;
            let found = watch.run(|run| model.evaluate(objective, &data, max_tokens, run))?;
            out.write(&[cloze_metric::all(&found.metrics)])
        })
    }
}
