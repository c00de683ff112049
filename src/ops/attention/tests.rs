use std::collections::BTreeMap;

use ndarray::{Array2, s as cut};
use proptest::prelude::*;

use super::*;
use crate::batch::Batch;
use crate::ops::dropout;
use crate::ops::oracle::{self, numbers};
use crate::simd::Isa;

struct Case<'a> {
    lengths: &'a [usize],
    asked: Option<Vec<Vec<usize>>>,
    heads: usize,
    dim: usize,
    relative: Option<bool>,
    dropout: Option<f32>,
    direction: Direction,
}

const DIRECTIONS: [Direction; 2] = [Direction::Bidirectional, Direction::Causal];

const FIRST_ROW: usize = 1000;

impl Case<'_> {
    fn hidden(&self) -> usize {
        self.heads * self.dim
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

    /// `[T, 3H]`
    fn projected(&self) -> Vec<f32> {
        numbers(self.batch().tokens() * 3 * self.hidden(), 1).iter().map(|v| v * 3.0).collect()
    }

    /// Two positions more than the longest sequence needs.
    fn table(&self) -> Vec<f32> {
        numbers((2 * self.lengths.iter().max().unwrap() + 3) * self.dim, 2)
    }

    fn dropout(&self) -> Option<AttentionDropout> {
        let dropout = |probability| Dropout { probability, seed: 0xDEAD_BEEF_0123, step: 3, site: 9 };
        self.dropout.map(|p| AttentionDropout { dropout: dropout(p), first_row: FIRST_ROW })
    }

    /// m of a token row and a key's place, from its definition.
    fn factor(&self, head: usize, row: usize, key: usize) -> f64 {
        let Some(AttentionDropout { dropout: d, .. }) = self.dropout() else { return 1.0 };
        let counter = [(key / 4) as u32, (FIRST_ROW + row) as u32, d.site | (head as u32) << 16, d.step];
        let lane = dropout::philox(counter, [d.seed as u32, (d.seed >> 32) as u32])[key % 4];
        let dropped = f64::from(lane) < f64::from(d.probability) * 4_294_967_296.0;
        if dropped { 0.0 } else { 1.0 / (1.0 - f64::from(d.probability)) }
    }
}

fn matrix(values: &[f64], columns: usize) -> Array2<f64> {
    Array2::from_shape_vec((values.len() / columns, columns), values.to_vec()).unwrap()
}

/// The definition for one head of the sequence that begins at row `start`, in f64.
fn attend(case: &Case<'_>, start: usize, head: usize, qkv: [&Array2<f64>; 3], table: &Array2<f64>) -> Array2<f64> {
    let [q, k, v] = qkv;
    let length = q.nrows();
    let mut scores = q.dot(&k.t());
    if let Some(with_keys) = case.relative {
        for l in 0..length {
            for r in 0..length {
                let e = table.row(l + table.nrows() / 2 - r);
                scores[[l, r]] += q.row(l).dot(&e);
                if with_keys {
                    scores[[l, r]] += k.row(r).dot(&e);
                }
            }
        }
    }
    scores /= (case.dim as f64).sqrt();
    if case.direction == Direction::Causal {
        scores.indexed_iter_mut().for_each(|((l, r), score)| *score = if r > l { f64::NEG_INFINITY } else { *score });
    }
    for (l, mut row) in scores.rows_mut().into_iter().enumerate() {
        row.mapv_inplace(f64::exp);
        let total = row.sum();
        row /= total;
        row.iter_mut().enumerate().for_each(|(r, weight)| *weight *= case.factor(head, start + l, r));
    }
    scores.dot(v)
}

/// Columns of one head in query, key or value (`part`) of `rows` of `[T, 3H]`.
fn part(
    case: &Case<'_>,
    projected: &Array2<f64>,
    rows: std::ops::Range<usize>,
    head: usize,
    part: usize,
) -> Array2<f64> {
    let first = part * case.hidden() + head * case.dim;
    projected.slice(cut![rows, first..first + case.dim]).to_owned()
}

/// y of every row.
fn reference(case: &Case<'_>, projected: &Array2<f64>, table: &Array2<f64>) -> Array2<f64> {
    let batch = case.batch();
    let mut y = Array2::zeros((batch.tokens(), case.hidden()));
    for sequence in 0..batch.sequences() {
        let rows = batch.rows(sequence);
        for head in 0..case.heads {
            let [q, k, v] = [0, 1, 2].map(|which| part(case, projected, rows.clone(), head, which));
            let columns = head * case.dim..(head + 1) * case.dim;
            y.slice_mut(cut![rows.clone(), columns]).assign(&attend(case, rows.start, head, [&q, &k, &v], table));
        }
    }
    y
}

/// What `case` is on a device.
struct Tensors {
    batch: Batch,
    rows: Selection,
    query: Tensor<Cpu>,
    projected: Tensor<Cpu>,
    table: Tensor<Cpu>,
}

impl Tensors {
    fn new(cpu: &Cpu, case: &Case<'_>) -> Self {
        let (batch, rows, table) = (case.batch(), case.rows(), case.table());
        let projected = Tensor::from_host(cpu, &case.projected(), batch.tokens(), 3 * case.hidden()).unwrap();
        let mut query = Tensor::new(cpu, 0, 0).unwrap();
        crate::ops::gather::forward(cpu, &projected, rows.rows(), &mut query).unwrap();
        let table = Tensor::from_host(cpu, &table, table.len() / case.dim, case.dim).unwrap();
        Self { batch, rows, query, projected, table }
    }

    fn inputs<'a>(&'a self, case: &Case<'_>) -> Inputs<'a, Cpu> {
        Inputs {
            query: Columns { tensor: &self.query, first: 0 },
            key: Columns { tensor: &self.projected, first: case.hidden() },
            value: Columns { tensor: &self.projected, first: 2 * case.hidden() },
            heads: case.heads,
            hidden: case.hidden(),
            offsets: self.batch.offsets(),
            rows: &self.rows,
            direction: case.direction,
            relative: case.relative.map(|with_keys| Relative { table: &self.table, with_keys }),
            dropout: case.dropout(),
        }
    }
}

fn agrees(cpu: &Cpu, case: &Case<'_>) {
    let expected = reference(
        case,
        &matrix(&oracle::wide(&case.projected()), 3 * case.hidden()),
        &matrix(&oracle::wide(&case.table()), case.dim),
    );
    let (tensors, hidden) = (Tensors::new(cpu, case), case.hidden());
    let rows = case.rows();
    let mut y = Tensor::from_host(cpu, &vec![f32::NAN; rows.len() * hidden], rows.len(), hidden).unwrap();
    forward(cpu, &tensors.inputs(case), &mut y).unwrap();
    let y = y.to_host(cpu).unwrap();
    let mut again = Tensor::new(cpu, 0, 0).unwrap();
    forward_saving(cpu, &tensors.inputs(case), &mut again).unwrap();
    assert_eq!(again.to_host(cpu).unwrap(), y);
    for (index, &row) in rows.rows().iter().enumerate() {
        // Scores reach 9·√D and are good to 2⁻²⁴ of that, so are the weights' exponents; values are below 3, and what
        // dropout leaves of the weights sums to less than 1/(1 − p).
        let tolerance = 2e-6 * (4.0 + (case.dim as f64).sqrt()) / (1.0 - f64::from(case.dropout.unwrap_or(0.0)));
        oracle::close(&y[index * hidden..][..hidden], &expected.row(row).to_vec(), tolerance);
    }
}

/// dy and what the table's gradient starts from.
fn cotangent(case: &Case<'_>) -> Vec<f32> {
    numbers(case.rows().len() * case.hidden(), 5)
}

/// Gradients of query `[R, H]`, of key and value `[T, 2H]`, and of the table, added to what it held.
fn gradients(cpu: &Cpu, case: &Case<'_>) -> [Vec<f32>; 3] {
    let (tensors, hidden) = (Tensors::new(cpu, case), case.hidden());
    let (asked, tokens) = (tensors.rows.len(), tensors.batch.tokens());
    let inputs = tensors.inputs(case);
    let mut y = Tensor::new(cpu, 0, 0).unwrap();
    let saved = forward_saving(cpu, &inputs, &mut y).unwrap();
    let dy = Tensor::from_host(cpu, &cotangent(case), asked, hidden).unwrap();
    let blank = |rows, cols| Tensor::from_host(cpu, &vec![f32::NAN; rows * cols], rows, cols).unwrap();
    let (mut query, mut key_value) = (blank(asked, hidden), blank(tokens, 2 * hidden));
    let (places, dim) = tensors.table.shape();
    let mut table = Tensor::from_host(cpu, &numbers(places * dim, 6), places, dim).unwrap();
    let apart = Gradients::Apart { query: &mut query, key_value: &mut key_value };
    let onto = case.relative.map(|_| Accumulate(&mut table));
    backward(cpu, &inputs, &saved, &y, &dy, apart, onto).unwrap();
    let [query, key_value, table] = [&query, &key_value, &table].map(|t| t.to_host(cpu).unwrap());
    if asked == tokens {
        let mut joined = blank(tokens, 3 * hidden);
        backward(cpu, &inputs, &saved, &y, &dy, Gradients::Joined(&mut joined), None).unwrap();
        let side_by_side = query.chunks(hidden).zip(key_value.chunks(2 * hidden)).flat_map(|(q, kv)| [q, kv].concat());
        assert_eq!(joined.to_host(cpu).unwrap(), side_by_side.collect::<Vec<f32>>());
    }
    [query, key_value, table]
}

/// The same by finite differences of the definition: some elements by their index, at most `most` for each head of each
/// sequence, and of the table.
fn expected_gradients(case: &Case<'_>, most: usize) -> [BTreeMap<usize, f64>; 3] {
    let (batch, rows, hidden, dim) = (case.batch(), case.rows(), case.hidden(), case.dim);
    let projected = matrix(&oracle::wide(&case.projected()), 3 * hidden);
    let table = matrix(&oracle::wide(&case.table()), dim);
    let mut dy = Array2::zeros((batch.tokens(), hidden));
    for (&row, values) in rows.rows().iter().zip(cotangent(case).chunks(hidden)) {
        dy.row_mut(row).iter_mut().zip(values).for_each(|(dy, &v)| *dy = f64::from(v));
    }
    let loss = |sequence: usize, head: usize, projected: [&Array2<f64>; 3], table: &Array2<f64>| -> f64 {
        let (rows, columns) = (batch.rows(sequence), head * dim..(head + 1) * dim);
        (attend(case, rows.start, head, projected, table) * dy.slice(cut![rows, columns])).sum()
    };
    // A stride that is no multiple of anything walks over rows and columns alike.
    let some = |count: usize| (0..count).step_by((count / most).max(1) | 1);
    let [mut query, mut key_value, mut tables] = [const { BTreeMap::new() }; 3];
    for sequence in 0..batch.sequences() {
        let span = batch.rows(sequence);
        for head in 0..case.heads {
            let parts = [0, 1, 2].map(|which| part(case, &projected, span.clone(), head, which));
            for which in [0, 1, 2] {
                for index in some(span.len() * dim) {
                    let (row, column) = (span.start + index / dim, head * dim + index % dim);
                    let at = [index / dim, index % dim];
                    let slope = oracle::gradient(&[parts[which][at]], |x| {
                        let mut parts = parts.clone();
                        parts[which][at] = x[0];
                        loss(sequence, head, [&parts[0], &parts[1], &parts[2]], &table)
                    })[0];
                    match which {
                        0 => {
                            // Rows that are not asked for have no place in the queries' gradient.
                            if let Ok(place) = rows.rows().binary_search(&row) {
                                query.insert(place * hidden + column, slope);
                            }
                        }
                        _ => _ = key_value.insert(row * 2 * hidden + (which - 1) * hidden + column, slope),
                    }
                }
            }
        }
    }
    if case.relative.is_some() {
        let held = numbers(table.len(), 6);
        for index in some(table.len()) {
            let slope = oracle::gradient(&[table[[index / dim, index % dim]]], |x| {
                let mut table = table.clone();
                table[[index / dim, index % dim]] = x[0];
                let each =
                    (0..batch.sequences()).flat_map(|sequence| (0..case.heads).map(move |head| (sequence, head)));
                each.map(|(sequence, head)| {
                    let parts = [0, 1, 2].map(|which| part(case, &projected, batch.rows(sequence), head, which));
                    loss(sequence, head, [&parts[0], &parts[1], &parts[2]], &table)
                })
                .sum()
            })[0];
            tables.insert(index, f64::from(held[index]) + slope);
        }
    }
    [query, key_value, tables]
}

fn backward_agrees(case: &Case<'_>, most: usize) {
    let expected = expected_gradients(case, most);
    let mut before: Option<(Isa, [Vec<f32>; 3])> = None;
    for cpu in oracle::cpus() {
        let got = gradients(&cpu, case);
        for (values, expected) in got.iter().zip(&expected) {
            assert!(values.iter().all(|v| v.is_finite()));
            let largest = expected.values().fold(1.0, |most: f64, v| most.max(v.abs()));
            for (&index, &expected) in expected {
                let error = (f64::from(values[index]) - expected).abs();
                // As in the forward pass: exponents, good to 2⁻²⁴ of scores of up to 9·√D, bound what the weights are
                // good to; sums of products with them are good to as much of the largest.
                let tolerance = 2e-6 * (4.0 + (case.dim as f64).sqrt()) * largest;
                let value = values[index];
                assert!(
                    error <= tolerance,
                    "gradient {index} is {value}, expected {expected}: {error:e} > {tolerance:e}"
                );
            }
        }
        if let Some((isa, before)) = &before
            && *isa == cpu.isa()
        {
            assert!(&got == before, "{isa:?}: on one thread and on three");
        }
        before = Some((cpu.isa(), got));
    }
}

fn every<T: Clone>(cases: impl IntoIterator<Item = T>) -> impl Iterator<Item = (T, Direction)> {
    cases.into_iter().flat_map(|case| DIRECTIONS.map(|direction| (case.clone(), direction)))
}

#[test]
fn forward_agrees_with_the_definition() {
    for cpu in oracle::cpus() {
        for (heads, dim) in [(1, 1), (2, 5), (3, 8), (1, 17), (2, 64), (1, 300)] {
            for (relative, direction) in every([None, Some(false), Some(true)]) {
                agrees(
                    &cpu,
                    &Case { lengths: &[1, 7, 16, 33], asked: None, heads, dim, relative, dropout: None, direction },
                );
            }
        }
    }
}

#[test]
fn long_sequences_cross_blocks_of_keys_and_queries() {
    for cpu in oracle::cpus() {
        for (relative, direction) in every([None, Some(true)]) {
            agrees(
                &cpu,
                &Case { lengths: &[129, 3, 300], asked: None, heads: 2, dim: 12, relative, dropout: None, direction },
            );
        }
    }
}

/// With factors that are bf16 already, what is rounded are the weights: by 2⁻⁹ of each at most, against values below 3.
#[test]
fn weights_are_all_that_is_rounded_of_bf16() {
    let narrow = |values: Vec<f32>| values.into_iter().map(|v| crate::dtype::bf16::from_f32(v).to_f32()).collect();
    for (heads, dim) in [(1, 1), (2, 5), (3, 16), (2, 64), (1, 300)] {
        let asked = Some(vec![vec![0, 6], vec![], (3..130).collect(), vec![2, 255, 299]]);
        for ((relative, asked), direction) in every([(None, None), (Some(true), None), (None, asked)]) {
            let case = Case { lengths: &[7, 1, 130, 300], asked, heads, dim, relative, dropout: None, direction };
            let projected: Vec<f32> = narrow(case.projected());
            let (wide, table) = (oracle::wide(&projected), oracle::wide(&case.table()));
            let expected = reference(&case, &matrix(&wide, 3 * case.hidden()), &matrix(&table, dim));
            let rows = case.rows();
            let mut before: Option<(Isa, Vec<f32>)> = None;
            for cpu in oracle::cpus() {
                let mut tensors = Tensors::new(&cpu, &case);
                tensors.projected.set(&cpu, &projected).unwrap();
                let projected = &tensors.projected;
                crate::ops::gather::forward(&cpu, projected, rows.rows(), &mut tensors.query).unwrap();
                let mut y =
                    Tensor::from_host(&cpu, &vec![f32::NAN; rows.len() * case.hidden()], rows.len(), case.hidden());
                let y = y.as_mut().unwrap();
                super::forward::compute(&cpu, &tensors.inputs(&case), y, None, true).unwrap();
                let y = y.to_host(&cpu).unwrap();
                for (index, &row) in rows.rows().iter().enumerate() {
                    let tolerance = 3.0 / 512.0 + 2e-6 * (4.0 + (dim as f64).sqrt());
                    oracle::close(&y[index * case.hidden()..][..case.hidden()], &expected.row(row).to_vec(), tolerance);
                }
                if let Some((isa, before)) = &before
                    && *isa == cpu.isa()
                {
                    assert_eq!(&y, before, "{isa:?}: on one thread and on three");
                }
                before = Some((cpu.isa(), y));
            }
        }
    }
}

#[test]
fn only_the_rows_asked_for_are_answered() {
    for cpu in oracle::cpus() {
        for direction in DIRECTIONS {
            let asked = Some(vec![vec![0, 4], vec![], vec![2], vec![0, 199]]);
            let relative = Some(true);
            agrees(
                &cpu,
                &Case { lengths: &[5, 9, 3, 200], asked, heads: 2, dim: 16, relative, dropout: None, direction },
            );
        }
    }
}

#[test]
fn dropped_weights_are_those_of_their_counters() {
    for cpu in oracle::cpus() {
        for (heads, dim) in [(2, 5), (3, 16)] {
            let asked = Some(vec![vec![0, 4], vec![], vec![2], (0..150).collect()]);
            for (asked, direction) in every([None, asked]) {
                let case = Case {
                    lengths: &[5, 9, 3, 150],
                    asked,
                    heads,
                    dim,
                    relative: None,
                    dropout: Some(0.25),
                    direction,
                };
                agrees(&cpu, &case);
            }
        }
    }
}

#[test]
fn backward_agrees_with_the_derivative() {
    for (heads, dim) in [(1, 1), (2, 5), (2, 16), (1, 33)] {
        for (relative, direction) in every([None, Some(false), Some(true)]) {
            for dropout in [None, Some(0.25)] {
                backward_agrees(
                    &Case { lengths: &[1, 7, 16, 33], asked: None, heads, dim, relative, dropout, direction },
                    40,
                );
            }
        }
    }
}

#[test]
fn gradients_of_long_sequences_cross_blocks() {
    for (relative, direction) in every([None, Some(true)]) {
        let case =
            Case { lengths: &[129, 3, 260], asked: None, heads: 2, dim: 12, relative, dropout: Some(0.1), direction };
        backward_agrees(&case, 5);
    }
}

#[test]
fn keys_of_sequences_without_queries_have_no_gradient() {
    let asked = Some(vec![vec![0, 4], vec![], vec![2], vec![0, 199]]);
    for ((relative, dropout), direction) in every([(None, None), (Some(true), Some(0.5))]) {
        let case =
            Case { lengths: &[5, 9, 3, 200], asked: asked.clone(), heads: 2, dim: 16, relative, dropout, direction };
        backward_agrees(&case, 20);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let (cpu, direction) = (Cpu::new(1).unwrap(), Direction::Bidirectional);
    let case = Case {
        lengths: &[3],
        asked: Some(vec![vec![1]]),
        heads: 2,
        dim: 4,
        relative: Some(false),
        dropout: Some(0.1),
        direction,
    };
    let tensors = Tensors::new(&cpu, &case);
    let zeros = |rows, cols| Tensor::<Cpu>::zeros(&cpu, rows, cols).unwrap();
    let (mut y, dy, mut all, mut table) = (zeros(0, 0), zeros(1, 8), zeros(0, 0), zeros(3, 4));
    let (mut query, mut key_value) = (zeros(0, 0), zeros(0, 0));
    let inputs = tensors.inputs(&case);
    let saved = forward_saving(&cpu, &inputs, &mut y).unwrap();
    // one row of three asked for
    assert!(backward(&cpu, &inputs, &saved, &y, &dy, Gradients::Joined(&mut all), None).is_err());
    let mut run = |y: &Tensor<Cpu>, dy: &Tensor<Cpu>, table: Option<&mut Tensor<Cpu>>| {
        let apart = Gradients::Apart { query: &mut query, key_value: &mut key_value };
        backward(&cpu, &inputs, &saved, y, dy, apart, table.map(Accumulate))
    };
    assert!(run(&y, &dy, None).is_ok());
    assert!(run(&y, &dy, Some(&mut table)).is_err());
    assert!(run(&y, &zeros(2, 8), None).is_err());
    let with = |dropout: AttentionDropout| Inputs { dropout: Some(dropout), ..tensors.inputs(&case) };
    let good = case.dropout().unwrap();
    let mut refused = |dropout| assert!(forward(&cpu, &with(dropout), &mut y).is_err());
    refused(AttentionDropout { dropout: Dropout { probability: 1.0, ..good.dropout }, ..good });
    refused(AttentionDropout { dropout: Dropout { site: 1 << 16, ..good.dropout }, ..good });
    refused(AttentionDropout { first_row: u32::MAX as usize, ..good });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// What comes later changes no bit, and is not even read after the last query: rows alone at the end of a shorter
    /// sequence give what they give among all.
    #[test]
    fn causal_rows_are_those_of_the_text_so_far(length in 1usize..300, at in 0.0f64..1.0, dim in 1usize..20) {
        let last = (at * length as f64) as usize;
        for relative in [None, Some(true)] {
            for cpu in oracle::cpus() {
                let case = |asked| Case {
                    lengths: &[],
                    asked,
                    heads: 2,
                    dim,
                    relative,
                    dropout: Some(0.25),
                    direction: Direction::Causal,
                };
                let y = |case: &Case<'_>, spoilt: usize| {
                    let mut tensors = Tensors::new(&cpu, case);
                    let values = &mut tensors.projected.buffer_mut().as_mut_slice().unwrap()[..];
                    values[spoilt * 3 * case.hidden()..].fill(f32::NAN);
                    let mut y = Tensor::new(&cpu, 0, 0).unwrap();
                    forward(&cpu, &tensors.inputs(case), &mut y).unwrap();
                    y.to_host(&cpu).unwrap()
                };
                let whole = y(&Case { lengths: &[length], ..case(None) }, length);
                let alone = y(&Case { lengths: &[length], ..case(Some(vec![vec![last]])) }, last + 1);
                prop_assert_eq!(&whole[last * 2 * dim..][..2 * dim], alone);
            }
        }
    }
}
