//! `y[t] = word[id t] + type[type t] + position[position of t in its sequence]`, and back: every row of a table collects the
//! gradients of the tokens that used it. Answers take the norm that follows in the same go.

#[cfg(feature = "cuda")]
mod cuda;

use super::gemm::Source;
use super::layer_norm::{Affine, Parameters};
use super::linear::Weight;
use super::scaled::with_scaled;
use super::shared::SharedRows;
use super::{Accumulate, Fused, scatter};
use crate::batch::Batch;
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::{Error, Result};
use crate::simd::{Kernel, Simd};

/// Embedding tables with rows of one length.
pub struct Tables<'a, D: Device> {
    /// `[V, E]`
    pub word: &'a Weight<D>,
    /// `[segments, E]`
    pub token_type: &'a Weight<D>,
    /// `[places, E]`; absent where positions enter in attention instead.
    pub position: Option<&'a Weight<D>>,
}

/// Gradients of the tables, each of its table's shape; `None` where the table is frozen.
pub struct Gradients<'a, D: Device> {
    /// `[V, E]`
    pub word: Option<Accumulate<'a, D>>,
    /// `[segments, E]`
    pub token_type: Option<Accumulate<'a, D>>,
    /// `[places, E]`
    pub position: Option<Accumulate<'a, D>>,
}

/// What a device provides. Shapes and ids are already checked.
pub trait Op: Device {
    /// Writes all of `y`.
    fn embedding_forward(&self, batch: &Batch, tables: &Tables<'_, Self>, y: &mut Hidden<Self>) -> Result<()>;
    /// Writes all of `y`, if the device does so.
    fn embedding_normalised(
        &self,
        _batch: &Batch,
        _tables: &Tables<'_, Self>,
        _norm: &Affine<'_, Self>,
        _y: &mut Hidden<Self>,
    ) -> Result<Fused> {
        Ok(Fused::No)
    }
    /// Adds to the rows that the batch names; the order of the sums depends on the batch only.
    fn embedding_backward(
        &self,
        batch: &Batch,
        dy: &Hidden<Self>,
        pad: Option<u32>,
        gradients: Gradients<'_, Self>,
    ) -> Result<()>;
}

/// y `[T, E]` = sum of the rows that the batch names. `y` takes that shape.
///
/// Fails when an id, a type or a place has no row: the caller's text or ids are at fault.
pub fn forward<D: Op>(device: &D, batch: &Batch, tables: &Tables<'_, D>, y: &mut Hidden<D>) -> Result<()> {
    check(batch, tables)?;
    y.reshape(device, batch.tokens(), tables.word.shape().1)?;
    device.embedding_forward(batch, tables, y)
}

/// y `[T, E]` = LN of what [`forward`] gives, to the bit, if the device does so. `y` takes that shape.
///
/// Fails as [`forward`] does.
pub fn normalised<D: Op>(
    device: &D,
    batch: &Batch,
    tables: &Tables<'_, D>,
    norm: &Affine<'_, D>,
    y: &mut Hidden<D>,
) -> Result<Fused> {
    check(batch, tables)?;
    let width = tables.word.shape().1;
    if norm.gamma.shape() != (1, width) || norm.beta.shape() != (1, width) {
        let (gamma, beta) = (norm.gamma.shape(), norm.beta.shape());
        return Err(Error::internal(format!("embedding: gamma {gamma:?} and beta {beta:?} of {width}")));
    }
    y.reshape(device, batch.tokens(), width)?;
    device.embedding_normalised(batch, tables, norm, y)
}

fn check<D: Device>(batch: &Batch, tables: &Tables<'_, D>) -> Result<()> {
    let (words, width) = tables.word.shape();
    let segments = tables.token_type.shape().0;
    if let Some(id) = batch.ids().iter().find(|&&id| id as usize >= words) {
        return Err(Error::input(format!("token id {id} in a vocabulary of {words}")));
    }
    if let Some(segment) = batch.types().iter().find(|&&t| t as usize >= segments) {
        return Err(Error::input(format!("token type {segment}: the model has {segments}")));
    }
    let longest = batch.longest();
    if let Some(places) = tables.position.map(|p| p.shape().0)
        && longest > places
    {
        return Err(Error::input(format!("sequence of {longest} tokens: the model has {places} positions")));
    }
    if tables.token_type.shape().1 != width || tables.position.is_some_and(|p| p.shape().1 != width) {
        return Err(Error::internal("embedding: tables of different width"));
    }
    Ok(())
}

/// `dtable[row of t] += dy[t]`, for dy `[T, E]` and every table that is given.
///
/// `pad`: the row of the word table that gets no gradient (HuggingFace's `padding_idx`).
pub fn backward<D: Op>(
    device: &D,
    batch: &Batch,
    dy: &Hidden<D>,
    pad: Option<u32>,
    gradients: Gradients<'_, D>,
) -> Result<()> {
    let longest = batch.longest();
    let needed = |ids: &[u32]| ids.iter().max().map_or(0, |&id| id as usize + 1);
    for (name, table, rows) in [
        ("word", &gradients.word, needed(batch.ids())),
        ("token type", &gradients.token_type, needed(batch.types())),
        ("position", &gradients.position, longest),
    ] {
        if let Some(Accumulate(table)) = table
            && (table.rows() < rows || table.cols() != dy.cols())
        {
            return Err(Error::internal(format!(
                "embedding backward: {name} gradient {:?}, expected {rows} rows or more of {}",
                table.shape(),
                dy.cols()
            )));
        }
    }
    if dy.rows() != batch.tokens() {
        return Err(Error::internal(format!("embedding backward: {} rows of {} tokens", dy.rows(), batch.tokens())));
    }
    device.embedding_backward(batch, dy, pad, gradients)
}

impl Op for Cpu {
    fn embedding_forward(&self, batch: &Batch, tables: &Tables<'_, Cpu>, y: &mut Tensor<Cpu>) -> Result<()> {
        sum_rows(self, batch, tables, None, y)
    }

    fn embedding_normalised(
        &self,
        batch: &Batch,
        tables: &Tables<'_, Cpu>,
        norm: &Affine<'_, Cpu>,
        y: &mut Tensor<Cpu>,
    ) -> Result<Fused> {
        sum_rows(self, batch, tables, Some(Parameters::of(norm)), y)?;
        Ok(Fused::Yes)
    }

    fn embedding_backward(
        &self,
        batch: &Batch,
        dy: &Tensor<Cpu>,
        pad: Option<u32>,
        gradients: Gradients<'_, Cpu>,
    ) -> Result<()> {
        if let Some(word) = gradients.word {
            let used = batch.ids().iter().enumerate().filter(|(_, id)| Some(**id) != pad);
            scatter::add(self, used.map(|(row, &id)| (id as usize, row)).collect(), dy, word)?;
        }
        if let Some(token_type) = gradients.token_type {
            let used = batch.types().iter().enumerate();
            scatter::add(self, used.map(|(row, &segment)| (segment as usize, row)).collect(), dy, token_type)?;
        }
        if let Some(position) = gradients.position {
            let used = (0..batch.sequences()).flat_map(|sequence| batch.positions(sequence).zip(batch.rows(sequence)));
            scatter::add(self, used.collect(), dy, position)?;
        }
        Ok(())
    }
}

/// Rows that one work item sums.
const ROWS: usize = 16;

fn sum_rows(
    cpu: &Cpu,
    batch: &Batch,
    tables: &Tables<'_, Cpu>,
    norm: Option<Parameters<'_>>,
    y: &mut Tensor<Cpu>,
) -> Result<()> {
    let (rows, width) = y.shape();
    if rows == 0 || width == 0 {
        return Ok(());
    }
    let places: Vec<usize> = (0..batch.sequences()).flat_map(|sequence| batch.positions(sequence)).collect();
    let y = SharedRows::new(&mut y.buffer_mut().as_mut_slice()?[..rows * width], width);
    cpu.for_each(rows.div_ceil(ROWS), |item| {
        for (row, &place) in places.iter().enumerate().skip(item * ROWS).take(ROWS) {
            let (id, segment) = (batch.ids()[row] as usize, batch.types()[row] as usize);
            // SAFETY: every item has its own rows.
            let y = unsafe { y.row(row, 0, width) };
            cpu.isa().dispatch(Row { tables, id, segment, place, norm, y });
        }
    })
}

/// The sum of a row of each table, and perhaps its norm.
struct Row<'a> {
    tables: &'a Tables<'a, Cpu>,
    id: usize,
    segment: usize,
    place: usize,
    norm: Option<Parameters<'a>>,
    y: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.y.fill(0.0);
        add_row(s, self.tables.word, self.id, self.y);
        add_row(s, self.tables.token_type, self.segment, self.y);
        if let Some(position) = self.tables.position {
            add_row(s, position, self.place, self.y);
        }
        if let Some(norm) = self.norm {
            norm.normalise(s, self.y);
        }
    }
}

#[inline(always)]
fn add_row<S: Simd>(s: S, table: &Weight<Cpu>, row: usize, y: &mut [f32]) {
    with_scaled!(table, matrix => {
        let (values, scale) = matrix.row(row);
        add_scaled(s, values, scale, y);
    });
}

/// y += `scale` · `values`, as many.
#[inline(always)]
fn add_scaled<S: Simd, E: Source>(s: S, values: &[E], scale: f32, y: &mut [f32]) {
    let (factor, whole) = (s.splat(scale), y.len() - y.len() % S::LANES);
    let (body, tail) = y.split_at_mut(whole);
    for (y, values) in body.chunks_exact_mut(S::LANES).zip(values.chunks_exact(S::LANES)) {
        // SAFETY: the chunk has LANES values.
        let values = unsafe { E::load(s, values.as_ptr()) };
        s.store(y, s.add(s.load(y), s.mul(values, factor)));
    }
    for (y, value) in tail.iter_mut().zip(&values[whole..]) {
        *y += value.to_f32() * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dtype::{bf16, f16};
    use crate::error::Status;
    use crate::ops::layer_norm;
    use crate::ops::oracle::{self, numbers};

    #[test]
    fn forward_agrees_with_the_definition_and_refuses_what_has_no_row() {
        for cpu in oracle::cpus() {
            let (words, places, width) = (11, 4, 13);
            let (w, t, p) = (numbers(words * width, 1), numbers(2 * width, 2), numbers(places * width, 3));
            let halves: Vec<f16> = w.iter().map(|&v| f16::from_f32(v)).collect();
            let word = Weight::F16(Tensor::from_host(&cpu, &halves, words, width).unwrap());
            let token_type = Weight::F32(Tensor::from_host(&cpu, &t, 2, width).unwrap());
            let position = Weight::F32(Tensor::from_host(&cpu, &p, places, width).unwrap());
            let tables = Tables { word: &word, token_type: &token_type, position: Some(&position) };
            let mut batch = Batch::new();
            batch.push(&[10, 0, 3], &[0, 1, 1]).unwrap();
            batch.push_from(2, &[5], &[0]).unwrap();
            let mut y = Tensor::from_host(&cpu, &vec![f32::NAN; 4 * width], 4, width).unwrap();
            forward(&cpu, &batch, &tables, &mut y).unwrap();
            let y = y.to_host(&cpu).unwrap();
            for (row, (id, segment, place)) in [(10, 0, 0), (0, 1, 1), (3, 1, 2), (5, 0, 2)].into_iter().enumerate() {
                let expected: Vec<f64> = (0..width)
                    .map(|i| {
                        f64::from(halves[id * width + i].to_f32())
                            + f64::from(t[segment * width + i])
                            + f64::from(p[place * width + i])
                    })
                    .collect();
                oracle::close(&y[row * width..][..width], &expected, 5e-7); // two roundings of values below 3
            }

            let mut y = Tensor::new(&cpu, 0, 0).unwrap();
            for (ids, types) in [(vec![11], vec![0]), (vec![1], vec![2]), (vec![1; 5], vec![0; 5])] {
                let mut batch = Batch::new();
                batch.push(&ids, &types).unwrap();
                let error = forward(&cpu, &batch, &tables, &mut y).unwrap_err();
                assert_eq!(error.status(), Status::InvalidInput, "{error}");
            }
            let mut late = Batch::new();
            late.push_from(places, &[1], &[0]).unwrap();
            assert_eq!(forward(&cpu, &late, &tables, &mut y).unwrap_err().status(), Status::InvalidInput);
        }
    }

    /// Tables of every floating-point type.
    #[test]
    fn the_norm_in_the_same_go_changes_no_bit() {
        let (batch, sizes) = (repeating(), [8, 2, 7]);
        for cpu in oracle::cpus() {
            for width in [1, 7, 8, 13, 16, 33, 100] {
                let values = |table: usize| numbers(sizes[table] * width, table as u64);
                let halves: Vec<f16> = values(0).into_iter().map(f16::from_f32).collect();
                let brains: Vec<bf16> = values(1).into_iter().map(bf16::from_f32).collect();
                let word = Weight::F16(Tensor::from_host(&cpu, &halves, sizes[0], width).unwrap());
                let token_type = Weight::Bf16(Tensor::from_host(&cpu, &brains, sizes[1], width).unwrap());
                let position = Weight::F32(Tensor::from_host(&cpu, &values(2), sizes[2], width).unwrap());
                let affine = [3, 4].map(|seed| Tensor::from_host(&cpu, &numbers(width, seed), 1, width).unwrap());
                let norm = Affine { gamma: &affine[0], beta: &affine[1], epsilon: 1e-12 };
                for position in [Some(&position), None] {
                    let tables = Tables { word: &word, token_type: &token_type, position };
                    let [mut sum, mut expected] = [(); 2].map(|()| Tensor::new(&cpu, 0, 0).unwrap());
                    forward(&cpu, &batch, &tables, &mut sum).unwrap();
                    layer_norm::forward(&cpu, &sum, None, &norm, &mut expected).unwrap();
                    let mut y = Tensor::new(&cpu, 0, 0).unwrap();
                    assert_eq!(normalised(&cpu, &batch, &tables, &norm, &mut y).unwrap(), Fused::Yes);
                    let bits = |tensor: &Tensor<Cpu>| -> Vec<u32> {
                        tensor.to_host(&cpu).unwrap().into_iter().map(f32::to_bits).collect()
                    };
                    assert_eq!(bits(&y), bits(&expected), "{:?}: width {width}", cpu.isa());
                }
                let narrow = Tensor::from_host(&cpu, &vec![1.0; width + 1], 1, width + 1).unwrap();
                let norm = Affine { gamma: &narrow, ..norm };
                let tables = Tables { word: &word, token_type: &token_type, position: None };
                assert!(normalised(&cpu, &batch, &tables, &norm, &mut Tensor::new(&cpu, 0, 0).unwrap()).is_err());
            }
        }
    }

    /// Three sequences that repeat ids, among them the pad id 0.
    fn repeating() -> Batch {
        let mut batch = Batch::new();
        batch.push(&[3, 1, 3, 0, 6, 3], &[0, 0, 0, 1, 1, 1]).unwrap();
        batch.push(&[6], &[0]).unwrap();
        batch.push_from(2, &[0, 3, 2], &[1, 1, 0]).unwrap();
        batch
    }

    #[test]
    fn backward_agrees_with_the_derivative() {
        let (batch, sizes) = (repeating(), [8, 2, 7]);
        for width in [1, 7, 8, 9, 16, 17] {
            let dy = numbers(10 * width, 9);
            let tables = sizes.map(|rows| oracle::wide(&numbers(rows * width, rows as u64)));
            let weighted = |tables: [&[f64]; 3], pad: Option<u32>| -> f64 {
                let mut sum = 0.0;
                for sequence in 0..batch.sequences() {
                    for (place, row) in batch.positions(sequence).zip(batch.rows(sequence)) {
                        let (id, segment) = (batch.ids()[row], batch.types()[row] as usize);
                        for i in 0..width {
                            // a frozen row is a constant, whatever its value
                            let word = if pad == Some(id) { 1.0 } else { tables[0][id as usize * width + i] };
                            let y = word + tables[1][segment * width + i] + tables[2][place * width + i];
                            sum += y * f64::from(dy[row * width + i]);
                        }
                    }
                }
                sum
            };
            for pad in [None, Some(0)] {
                let [w, t, p] = &tables;
                let slopes = [
                    oracle::gradient(w, |w| weighted([w, t, p], pad)),
                    oracle::gradient(t, |t| weighted([w, t, p], pad)),
                    oracle::gradient(p, |p| weighted([w, t, p], pad)),
                ];
                for cpu in oracle::cpus() {
                    let mut sums = sizes.map(|rows| {
                        Tensor::from_host(&cpu, &numbers(rows * width, 20 + rows as u64), rows, width).unwrap()
                    });
                    let dy = Tensor::from_host(&cpu, &dy, 10, width).unwrap();
                    let [w, t, p] = &mut sums;
                    let gradients = Gradients {
                        word: Some(Accumulate(w)),
                        token_type: Some(Accumulate(t)),
                        position: Some(Accumulate(p)),
                    };
                    backward(&cpu, &batch, &dy, pad, gradients).unwrap();
                    for ((sum, slope), rows) in sums.iter().zip(&slopes).zip(sizes) {
                        let held = numbers(rows * width, 20 + rows as u64);
                        let expected: Vec<f64> = slope.iter().zip(held).map(|(d, h)| d + f64::from(h)).collect();
                        oracle::close(&sum.to_host(&cpu).unwrap(), &expected, 1e-6); // at most six values below 1
                    }
                }
            }
        }
    }

    #[test]
    fn tables_too_small_for_the_batch_are_refused() {
        let (cpu, batch) = (Cpu::new(1).unwrap(), repeating());
        let zeros = |r, c| Tensor::<Cpu>::zeros(&cpu, r, c).unwrap();
        let go = |dy: Tensor<Cpu>, [word, token_type, position]: [(usize, usize); 3]| {
            let (mut w, mut t) = (zeros(word.0, word.1), zeros(token_type.0, token_type.1));
            let mut p = zeros(position.0, position.1);
            let gradients = Gradients {
                word: Some(Accumulate(&mut w)),
                token_type: Some(Accumulate(&mut t)),
                position: Some(Accumulate(&mut p)),
            };
            backward(&cpu, &batch, &dy, None, gradients)
        };
        assert!(go(zeros(10, 4), [(7, 4), (2, 4), (6, 4)]).is_ok());
        assert!(go(zeros(9, 4), [(7, 4), (2, 4), (6, 4)]).is_err());
        assert!(go(zeros(10, 4), [(6, 4), (2, 4), (6, 4)]).is_err());
        assert!(go(zeros(10, 4), [(7, 4), (1, 4), (6, 4)]).is_err());
        assert!(go(zeros(10, 4), [(7, 4), (2, 4), (5, 4)]).is_err());
        assert!(go(zeros(10, 4), [(7, 4), (2, 3), (6, 4)]).is_err());
        let none = Gradients { word: None, token_type: None, position: None };
        assert!(backward(&cpu, &batch, &zeros(10, 4), None, none).is_ok());
    }
}
