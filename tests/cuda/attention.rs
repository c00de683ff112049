//! Attention and its gradients, by every kernel: on tensor cores, in f32, and with relative positions.

use cloze::batch::{Batch, Selection};
use cloze::device::{Cuda, Device, Hidden, Tensor};
use cloze::dtype::DType;
use cloze::ops::Accumulate;
use cloze::ops::attention::{self, AttentionDropout, Columns, Direction, Gradients, Inputs, Relative};
use cloze::ops::dropout::Dropout;

use crate::harness::*;

#[derive(Clone)]
struct Case {
    lengths: Vec<usize>,
    asked: Option<Vec<Vec<usize>>>,
    heads: usize,
    dim: usize,
    direction: Direction,
    relative: Option<bool>,
    dropout: f32,
    /// Columns before those of query, key and value.
    margin: usize,
}

impl Case {
    fn new(lengths: &[usize], heads: usize, dim: usize) -> Self {
        let direction = Direction::Bidirectional;
        let lengths = lengths.to_vec();
        Self { lengths, asked: None, heads, dim, direction, relative: None, dropout: 0.0, margin: 0 }
    }

    fn causal(self) -> Self {
        Self { direction: Direction::Causal, ..self }
    }

    fn relative(self, with_keys: bool) -> Self {
        Self { relative: Some(with_keys), ..self }
    }

    fn dropout(self, dropout: f32) -> Self {
        Self { dropout, ..self }
    }

    fn margin(self, margin: usize) -> Self {
        Self { margin, ..self }
    }

    fn asked(self, positions: &[&[usize]]) -> Self {
        Self { asked: Some(positions.iter().map(|list| list.to_vec()).collect()), ..self }
    }

    fn batch(&self) -> Batch {
        let mut batch = Batch::new();
        self.lengths.iter().for_each(|&n| batch.push(&vec![0; n], &vec![0; n]).unwrap());
        batch
    }

    fn rows(&self) -> Selection {
        match &self.asked {
            Some(positions) => Selection::positions(&self.batch(), positions).unwrap(),
            None => Selection::all(&self.batch()),
        }
    }

    fn hidden(&self) -> usize {
        self.heads * self.dim
    }

    fn width(&self) -> usize {
        self.margin + 3 * self.hidden()
    }

    /// Columns of no use, query, key and value of every row.
    fn projected(&self, working: DType) -> Vec<f32> {
        rounded(working, &values(1, self.lengths.iter().sum::<usize>() * self.width()))
    }

    fn cotangent(&self, working: DType) -> Vec<f32> {
        rounded(working, &values(2, self.rows().len() * self.hidden()))
    }

    /// Rows of the table: of some positions more than the longest sequence has.
    fn places(&self) -> usize {
        2 * (self.lengths.iter().max().unwrap() + 3) - 1
    }
}

/// What a case is on a device.
struct Setting<'a, D: Device> {
    case: &'a Case,
    batch: Batch,
    rows: Selection,
    query: Option<Hidden<D>>,
    projected: Hidden<D>,
    table: Tensor<D>,
}

impl<'a, D: attention::Op> Setting<'a, D> {
    fn new(d: &D, case: &'a Case, projected: &[f32]) -> Self {
        let (batch, rows, width) = (case.batch(), case.rows(), case.width());
        let query = case.asked.as_ref().map(|_| {
            let asked = rows.rows().iter().flat_map(|&row| &projected[row * width..][..width]).copied();
            hidden(d, &asked.collect::<Vec<_>>(), rows.len(), width)
        });
        let table = values(3, case.places() * case.dim).iter().map(|value| 0.5 * value).collect::<Vec<_>>();
        Self {
            case,
            query,
            projected: hidden(d, projected, batch.tokens(), width),
            table: matrix(d, &table, case.places(), case.dim),
            batch,
            rows,
        }
    }

    fn inputs(&self) -> Inputs<'_, D> {
        let (case, hidden) = (self.case, self.case.hidden());
        let part = |which: usize| Columns { tensor: &self.projected, first: case.margin + which * hidden };
        let dropout = Dropout { probability: case.dropout, seed: 0xDEAD_BEEF_0123, step: 3, site: 9 };
        Inputs {
            query: Columns { tensor: self.query.as_ref().unwrap_or(&self.projected), first: case.margin },
            key: part(1),
            value: part(2),
            heads: case.heads,
            hidden,
            offsets: self.batch.offsets(),
            rows: &self.rows,
            direction: case.direction,
            relative: case.relative.map(|with_keys| Relative { table: &self.table, with_keys }),
            dropout: (case.dropout > 0.0).then_some(AttentionDropout { dropout, first_row: 1000 }),
        }
    }

    /// y.
    fn forward(&self, d: &D) -> Vec<f32> {
        let mut y = blank_hidden(d, self.rows.len(), self.case.hidden());
        attention::forward(d, &self.inputs(), &mut y).unwrap();
        y.to_values(d).unwrap()
    }

    /// y, which is that of the forward pass alone, and the gradients: of queries, of keys and values, and of the table.
    /// Where every row is asked for, the gradients in one matrix are the same.
    fn backward(&self, d: &D, cotangent: &[f32]) -> Vec<Vec<f32>> {
        let (case, inputs) = (self.case, self.inputs());
        let (asked, tokens, width) = (self.rows.len(), self.batch.tokens(), case.hidden());
        let mut y = blank_hidden(d, asked, width);
        let saved = attention::forward_saving(d, &inputs, &mut y).unwrap();
        assert_eq!(y.to_values(d).unwrap(), self.forward(d));
        let dy = hidden(d, cotangent, asked, width);
        let (mut query, mut key_value) = (blank_hidden(d, asked, width), blank_hidden(d, tokens, 2 * width));
        let mut table = matrix(d, &values(4, case.places() * case.dim), case.places(), case.dim);
        let onto = case.relative.map(|_| Accumulate(&mut table));
        let into = Gradients::Apart { query: &mut query, key_value: &mut key_value };
        attention::backward(d, &inputs, &saved, &y, &dy, into, onto).unwrap();
        let mut parts = vec![y.to_values(d).unwrap(), query.to_values(d).unwrap(), key_value.to_values(d).unwrap()];
        if case.relative.is_some() {
            parts.push(table.to_host(d).unwrap());
        }
        if case.asked.is_none() {
            let mut joined = blank_hidden(d, tokens, 3 * width);
            attention::backward(d, &inputs, &saved, &y, &dy, Gradients::Joined(&mut joined), None).unwrap();
            let apart = parts[1].chunks(width).zip(parts[2].chunks(2 * width)).flat_map(|(q, kv)| [q, kv].concat());
            assert_eq!(joined.to_values(d).unwrap(), apart.collect::<Vec<_>>());
        }
        parts
    }

    fn log_sum_exp(&self, d: &D) -> Vec<f32> {
        let mut y = blank_hidden(d, self.rows.len(), self.case.hidden());
        attention::forward_saving(d, &self.inputs(), &mut y).unwrap().log_sum_exp.to_host(d).unwrap()
    }
}

/// What differs at most, in units of the largest number.
fn tolerance(working: DType, case: &Case) -> f32 {
    // Exponents are scores, good to 2⁻²⁴ of sums of D products of size 1, and weights are no better.
    let exact = 2e-6 * (4.0 + (case.dim as f32).sqrt());
    match working {
        DType::F32 => exact,
        // Results are rounded, and before that y, and on tensor cores weights and slopes, each within half a step.
        _ => exact + 2.0 * step(working),
    }
}

fn agrees(gpu: &Cuda, case: &Case) {
    let working = gpu.working();
    let (projected, cotangent) = (case.projected(working), case.cotangent(working));
    parity!(gpu, tolerance(working, case), |d| Setting::new(d, case, &projected).backward(d, &cotangent));
    // ln Σ e^score is f32 on every device and comes from products that are exact in 16 bits.
    let (expected, got) = (
        Setting::new(&cpu(), case, &projected).log_sum_exp(&cpu()),
        Setting::new(gpu, case, &projected).log_sum_exp(gpu),
    );
    close(&[expected], &[got], tolerance(DType::F32, case));
}

const SOME: [&[usize]; 4] = [&[4], &[0, 1, 63], &[], &[5, 20, 21, 22, 23, 24, 30, 40, 64, 65, 76]];
/// So few that they have a kernel of their own in f32.
const FEW: [&[usize]; 4] = [&[4], &[0, 1, 63], &[], &[5, 64, 76]];

#[test]
fn of_all_rows() {
    each(|gpu| {
        agrees(gpu, &Case::new(&[5, 64, 1, 77], 2, 64));
        agrees(gpu, &Case::new(&[130, 3], 1, 32));
    });
}

#[test]
fn of_rows_asked_for() {
    each(|gpu| {
        agrees(gpu, &Case::new(&[5, 64, 3, 77], 1, 64).asked(&SOME));
        agrees(gpu, &Case::new(&[5, 64, 3, 77], 2, 32).asked(&SOME).causal());
    });
}

#[test]
fn causal_with_dropout() {
    each(|gpu| {
        agrees(gpu, &Case::new(&[1, 77, 64], 2, 64).causal().dropout(0.25));
        agrees(gpu, &Case::new(&[5, 64, 3, 77], 1, 32).asked(&FEW).dropout(0.1));
    });
}

/// Where tensor cores do not take the shape.
#[test]
fn of_any_shape() {
    each(|gpu| {
        agrees(gpu, &Case::new(&[5, 70], 4, 8).dropout(0.25));
        agrees(gpu, &Case::new(&[70, 2], 2, 5).causal());
        agrees(gpu, &Case::new(&[66], 1, 40));
        agrees(gpu, &Case::new(&[66, 3], 1, 100).causal().dropout(0.25));
        agrees(gpu, &Case::new(&[65], 1, 64).margin(3));
        agrees(gpu, &Case::new(&[5, 64, 3, 77], 1, 16).asked(&FEW).margin(4));
    });
}

#[test]
fn with_relative_positions() {
    each(|gpu| {
        for with_keys in [false, true] {
            agrees(gpu, &Case::new(&[5, 1, 77], 2, 8).relative(with_keys));
            agrees(gpu, &Case::new(&[66], 1, 64).relative(with_keys).causal().dropout(0.25));
            agrees(gpu, &Case::new(&[5, 64, 3, 77], 1, 7).relative(with_keys).asked(&SOME));
        }
        agrees(gpu, &Case::new(&[5, 64, 3, 77], 1, 8).relative(true).asked(&SOME).causal());
        agrees(gpu, &Case::new(&[9], 1, 100).relative(true).dropout(0.1));
    });
}

#[test]
fn of_nothing() {
    each(|gpu| {
        for relative in [None, Some(true)] {
            agrees(gpu, &Case { relative, ..Case::new(&[3, 70], 1, 32).asked(&[&[], &[]]) });
        }
    });
}

/// A sequence has the same bits alone and in company, and where attention is causal what comes later changes none:
/// after the last query it is not even read.
#[test]
fn the_same_bits_in_any_company() {
    each(|gpu| {
        for case in [
            Case::new(&[5, 130, 64], 2, 64).dropout(0.25),
            Case::new(&[70, 20], 2, 32).causal(),
            Case::new(&[70, 9], 1, 12),
            Case::new(&[66, 9], 1, 12).causal().relative(true),
        ] {
            let (width, hidden) = (case.width(), case.hidden());
            let projected = case.projected(gpu.working());
            let whole = Setting::new(gpu, &case, &projected).forward(gpu);
            let mut start = 0;
            for &length in &case.lengths {
                // Masks follow the number of a row: only without them a sequence can be moved.
                if case.dropout == 0.0 || start == 0 {
                    let alone = Case { lengths: vec![length], ..case.clone() };
                    let y = Setting {
                        table: Setting::new(gpu, &case, &projected).table,
                        ..Setting::new(gpu, &alone, &projected[start * width..][..length * width])
                    };
                    let y = y.forward(gpu);
                    identical(&[y], &[whole[start * hidden..][..length * hidden].to_vec()]);
                }
                start += length;
            }
            if case.direction == Direction::Causal {
                for last in [0, 5, 63, 64] {
                    let mut spoilt = projected.clone();
                    spoilt[(last + 1) * width..].fill(f32::NAN);
                    let mut asked = vec![vec![]; case.lengths.len()];
                    asked[0] = vec![last];
                    let one = Case { asked: Some(asked), ..case.clone() };
                    let y = Setting::new(gpu, &one, &spoilt).forward(gpu);
                    identical(&[y], &[whole[last * hidden..][..hidden].to_vec()]);
                }
            }
        }
    });
}
