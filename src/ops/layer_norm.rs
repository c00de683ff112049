//! Layer normalisation of the sum of two rows of length H, as it follows every sub-layer of BERT.
//!
//!   z = x + r,  μ = ⟨z⟩,  σ² = ⟨(z − μ)²⟩        n = (z − μ)/√(σ² + ε),  y = n·γ + β
//!
//! Backward, with g = dy·γ:  dz = (g − ⟨g⟩ − n·⟨g·n⟩)/√(σ² + ε),  dγ = Σ dy·n,  dβ = Σ dy over the rows.

#[cfg(feature = "cuda")]
mod cuda;

use std::ops::Range;

use super::Accumulate;
use super::shared::SharedRows;
use crate::device::{Cpu, Device, Hidden, Tensor};
use crate::error::{Error, Result};
use crate::simd::{Kernel, Simd};

/// γ and β, each `[1, H]`, and ε.
pub struct Affine<'a, D: Device> {
    /// Scale.
    pub gamma: &'a Tensor<D>,
    /// Shift.
    pub beta: &'a Tensor<D>,
    /// Added to the variance.
    pub epsilon: f32,
}

/// What the gradient needs of the forward pass.
pub struct Saved<D: Device> {
    /// n, `[T, H]`
    pub normal: Hidden<D>,
    /// 1/√(σ² + ε), `[T, 1]`
    pub scale: Tensor<D>,
}

/// Where the gradients of γ and β are added; `None` where they are frozen.
pub struct Gradients<'a, D: Device> {
    /// `[1, H]`
    pub gamma: Option<Accumulate<'a, D>>,
    /// `[1, H]`
    pub beta: Option<Accumulate<'a, D>>,
}

/// What a device provides. Shapes are already checked.
pub trait Op: Device {
    /// Writes all of `y`, and of `saved` where it is given.
    fn layer_norm_forward(
        &self,
        x: &Hidden<Self>,
        residual: Option<&Hidden<Self>>,
        affine: &Affine<'_, Self>,
        y: &mut Hidden<Self>,
        saved: Option<&mut Saved<Self>>,
    ) -> Result<()>;

    /// Writes all of `dx` and adds to `gradients`.
    fn layer_norm_backward(
        &self,
        saved: &Saved<Self>,
        affine: &Affine<'_, Self>,
        dy: &Hidden<Self>,
        gradients: Gradients<'_, Self>,
        dx: &mut Hidden<Self>,
    ) -> Result<()>;
}

/// y `[T, H]` = LN(x + residual). `y` takes that shape.
pub fn forward<D: Op>(
    device: &D,
    x: &Hidden<D>,
    residual: Option<&Hidden<D>>,
    affine: &Affine<'_, D>,
    y: &mut Hidden<D>,
) -> Result<()> {
    check(x, residual, affine)?;
    y.reshape(device, x.rows(), x.cols())?;
    device.layer_norm_forward(x, residual, affine, y, None)
}

/// [`forward`], to the bit, and what [`backward`] needs of it.
pub fn forward_saving<D: Op>(
    device: &D,
    x: &Hidden<D>,
    residual: Option<&Hidden<D>>,
    affine: &Affine<'_, D>,
    y: &mut Hidden<D>,
) -> Result<Saved<D>> {
    check(x, residual, affine)?;
    y.reshape(device, x.rows(), x.cols())?;
    let (normal, scale) = (Tensor::new(device, x.rows(), x.cols())?, Tensor::new(device, x.rows(), 1)?);
    let mut saved = Saved { normal, scale };
    device.layer_norm_forward(x, residual, affine, y, Some(&mut saved))?;
    Ok(saved)
}

/// dx `[T, H]`, the gradient of z = x + residual and hence of both, overwritten; those of γ and β added up.
pub fn backward<D: Op>(
    device: &D,
    saved: &Saved<D>,
    affine: &Affine<'_, D>,
    dy: &Hidden<D>,
    gradients: Gradients<'_, D>,
    dx: &mut Hidden<D>,
) -> Result<()> {
    check(dy, Some(&saved.normal), affine)?;
    let width = (1, dy.cols());
    let misfit = |g: &Option<Accumulate<'_, D>>| g.as_ref().is_some_and(|g| g.0.shape() != width);
    if saved.scale.shape() != (dy.rows(), 1) || misfit(&gradients.gamma) || misfit(&gradients.beta) {
        return Err(Error::internal(format!(
            "layer norm backward of {:?}: scale {:?}, gradients of gamma {:?}, of beta {:?}",
            dy.shape(),
            saved.scale.shape(),
            gradients.gamma.map(|g| g.0.shape()),
            gradients.beta.map(|g| g.0.shape())
        )));
    }
    dx.reshape(device, dy.rows(), dy.cols())?;
    device.layer_norm_backward(saved, affine, dy, gradients, dx)
}

fn check<D: Device>(x: &Hidden<D>, other: Option<&Hidden<D>>, affine: &Affine<'_, D>) -> Result<()> {
    let width = (1, x.cols());
    if other.is_some_and(|o| o.shape() != x.shape()) || affine.gamma.shape() != width || affine.beta.shape() != width {
        return Err(Error::internal(format!(
            "layer norm of {:?}: beside it {:?}, gamma {:?}, beta {:?}",
            x.shape(),
            other.map(Tensor::shape),
            affine.gamma.shape(),
            affine.beta.shape()
        )));
    }
    Ok(())
}

/// Rows that one work item normalises.
const ROWS: usize = 16;
/// Rows whose contributions to dγ and dβ are added up before they meet those of other rows.
const BLOCK: usize = 64;

impl Op for Cpu {
    fn layer_norm_forward(
        &self,
        x: &Tensor<Cpu>,
        residual: Option<&Tensor<Cpu>>,
        affine: &Affine<'_, Cpu>,
        y: &mut Tensor<Cpu>,
        saved: Option<&mut Saved<Cpu>>,
    ) -> Result<()> {
        let (rows, width) = x.shape();
        if rows == 0 || width == 0 {
            return Ok(());
        }
        let (x, residual) =
            (x.buffer().as_slice(), residual.map(|residual| &residual.buffer().as_slice()[..rows * width]));
        let y = &mut y.buffer_mut().as_mut_slice()?[..rows * width];
        let mut work = Forward::new(&x[..rows * width], residual, affine, y);
        if let Some(saved) = saved {
            work.saved = Some((
                SharedRows::new(&mut saved.normal.buffer_mut().as_mut_slice()?[..rows * width], width),
                SharedRows::new(&mut saved.scale.buffer_mut().as_mut_slice()?[..rows], 1),
            ));
        }
        work.run(self)
    }

    fn layer_norm_backward(
        &self,
        saved: &Saved<Cpu>,
        affine: &Affine<'_, Cpu>,
        dy: &Tensor<Cpu>,
        gradients: Gradients<'_, Cpu>,
        dx: &mut Tensor<Cpu>,
    ) -> Result<()> {
        let (rows, width) = dy.shape();
        if rows == 0 || width == 0 {
            return Ok(());
        }
        let (normal, scale) = (saved.normal.buffer().as_slice(), saved.scale.buffer().as_slice());
        let (gamma, dy) = (&affine.gamma.buffer().as_slice()[..width], dy.buffer().as_slice());
        let blocks = rows.div_ceil(BLOCK);
        let mut sums = Tensor::<Cpu>::zeros(self, blocks, 2 * width)?;
        let sums = &mut sums.buffer_mut().as_mut_slice()?[..blocks * 2 * width];
        {
            let sums = SharedRows::new(sums, 2 * width);
            let dx = SharedRows::new(&mut dx.buffer_mut().as_mut_slice()?[..rows * width], width);
            self.for_each(blocks, |block| {
                // SAFETY: every block has its own row of sums.
                let (dgamma, dbeta) = unsafe { sums.row(block, 0, 2 * width) }.split_at_mut(width);
                for (row, &scale) in scale[..rows].iter().enumerate().skip(block * BLOCK).take(BLOCK) {
                    let values = row * width..(row + 1) * width;
                    // SAFETY: every block has its own rows.
                    let dx = unsafe { dx.row(row, 0, width) };
                    let (normal, dy) = (&normal[values.clone()], &dy[values]);
                    self.isa().dispatch(RowBackward { normal, scale, gamma, dy, dgamma, dbeta, dx });
                }
            })?;
        }
        for (gradient, first) in [(gradients.gamma, 0), (gradients.beta, width)] {
            let Some(Accumulate(gradient)) = gradient else { continue };
            let gradient = &mut gradient.buffer_mut().as_mut_slice()?[..width];
            for block in sums.chunks_exact(2 * width) {
                for (gradient, sum) in gradient.iter_mut().zip(&block[first..]) {
                    *gradient += sum;
                }
            }
        }
        Ok(())
    }
}

/// γ and β of H values, and ε, as the CPU reads them.
#[derive(Clone, Copy)]
pub(super) struct Parameters<'a> {
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
}

impl<'a> Parameters<'a> {
    pub fn of(affine: &Affine<'a, Cpu>) -> Self {
        let width = affine.gamma.cols();
        Self {
            gamma: &affine.gamma.buffer().as_slice()[..width],
            beta: &affine.beta.buffer().as_slice()[..width],
            epsilon: affine.epsilon,
        }
    }

    /// z = LN(z), a row.
    #[inline(always)]
    pub fn normalise<S: Simd>(&self, s: S, z: &mut [f32]) {
        let mut sum = s.zero();
        for z in z.chunks_exact(S::LANES) {
            sum = s.add(sum, s.load(z));
        }
        normalise(s, self, sum, z, None);
    }
}

/// A forward pass on the CPU, some rows at a time.
pub(super) struct Forward<'a> {
    x: &'a [f32],
    residual: Option<&'a [f32]>,
    parameters: Parameters<'a>,
    y: SharedRows<'a>,
    /// n and 1/√(σ² + ε).
    saved: Option<(SharedRows<'a>, SharedRows<'a>)>,
}

impl<'a> Forward<'a> {
    /// Of rows of H values, as many as γ and β have, which follow each other without a gap.
    pub fn new(x: &'a [f32], residual: Option<&'a [f32]>, affine: &Affine<'a, Cpu>, y: &'a mut [f32]) -> Self {
        let y = SharedRows::new(y, affine.gamma.cols());
        Self { x, residual, parameters: Parameters::of(affine), y, saved: None }
    }

    /// Computes all rows.
    pub fn run(&self, cpu: &Cpu) -> Result<()> {
        let rows = self.y.rows();
        cpu.for_each(rows.div_ceil(ROWS), |item| {
            // SAFETY: every item has its own rows.
            unsafe { self.run_rows(cpu, item * ROWS..rows.min((item + 1) * ROWS)) };
        })
    }

    /// Computes some rows, and tells where y has them.
    ///
    /// # Safety
    /// No one else computes or reads these rows until the result is dropped.
    pub unsafe fn run_rows(&self, cpu: &Cpu, rows: Range<usize>) -> &[f32] {
        let first = rows.start;
        cpu.isa().dispatch(Rows { pass: self, rows: rows.clone() });
        // SAFETY: the caller's promise.
        unsafe { self.y.rows_from(first, rows.len()) }
    }
}

struct Rows<'a> {
    pass: &'a Forward<'a>,
    /// The caller's alone.
    rows: Range<usize>,
}

impl Kernel for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let pass = self.pass;
        let width = pass.parameters.gamma.len();
        for row in self.rows {
            let values = row * width..(row + 1) * width;
            // SAFETY: the rows are the caller's alone, by the promise to `Forward::run_rows`.
            let (y, saved) = unsafe {
                let saved = pass.saved.as_ref().map(|(n, scale)| (n.row(row, 0, width), &mut scale.row(row, 0, 1)[0]));
                (pass.y.row(row, 0, width), saved)
            };
            let sum = add(s, &pass.x[values.clone()], pass.residual.map(|r| &r[values]), y);
            normalise(s, &pass.parameters, sum, y, saved);
        }
    }
}

/// z = x + residual of one row, and the sum of its whole vectors.
#[inline(always)]
fn add<S: Simd>(s: S, x: &[f32], residual: Option<&[f32]>, z: &mut [f32]) -> S::V {
    let whole = z.len() - z.len() % S::LANES;
    let (body, tail) = z.split_at_mut(whole);
    let mut sum = s.zero();
    let terms = body.chunks_exact_mut(S::LANES).zip(x.chunks_exact(S::LANES));
    match residual {
        Some(residual) => {
            for ((z, x), r) in terms.zip(residual.chunks_exact(S::LANES)) {
                let total = s.add(s.load(x), s.load(r));
                s.store(z, total);
                sum = s.add(sum, total);
            }
            for (z, (x, r)) in tail.iter_mut().zip(x[whole..].iter().zip(&residual[whole..])) {
                *z = x + r;
            }
        }
        None => {
            for (z, x) in terms {
                let x = s.load(x);
                s.store(z, x);
                sum = s.add(sum, x);
            }
            tail.copy_from_slice(&x[whole..]);
        }
    }
    sum
}

/// z = LN(z) of one row, whose whole vectors sum up to `sum`; `saved`: n and 1/√(σ² + ε).
#[inline(always)]
fn normalise<S: Simd>(
    s: S,
    parameters: &Parameters<'_>,
    sum: S::V,
    z: &mut [f32],
    saved: Option<(&mut [f32], &mut f32)>,
) {
    let width = z.len();
    let whole = width - width % S::LANES;
    let (body, tail) = z.split_at_mut(whole);
    let mean = (s.sum(sum) + tail.iter().sum::<f32>()) / width as f32;
    let centre = s.splat(mean);
    let mut squares = s.zero();
    for z in body.chunks_exact(S::LANES) {
        let d = s.sub(s.load(z), centre);
        squares = s.fma(d, d, squares);
    }
    let variance = (s.sum(squares) + tail.iter().map(|z| (z - mean) * (z - mean)).sum::<f32>()) / width as f32;
    let scale = 1.0 / (variance + parameters.epsilon).sqrt();
    let factor = s.splat(scale);
    if let Some((normal, saved)) = saved {
        *saved = scale;
        let (normal, end) = normal.split_at_mut(whole);
        for (n, z) in normal.chunks_exact_mut(S::LANES).zip(body.chunks_exact(S::LANES)) {
            s.store(n, s.mul(s.sub(s.load(z), centre), factor));
        }
        for (n, z) in end.iter_mut().zip(tail.iter()) {
            *n = (z - mean) * scale;
        }
    }
    let Parameters { gamma, beta, .. } = parameters;
    let affine = gamma.chunks_exact(S::LANES).zip(beta.chunks_exact(S::LANES));
    for (z, (gamma, beta)) in body.chunks_exact_mut(S::LANES).zip(affine) {
        let normal = s.mul(s.sub(s.load(z), centre), factor);
        s.store(z, s.fma(normal, s.load(gamma), s.load(beta)));
    }
    for (z, (gamma, beta)) in tail.iter_mut().zip(gamma[whole..].iter().zip(&beta[whole..])) {
        *z = (*z - mean) * scale * gamma + beta;
    }
}

struct RowBackward<'a> {
    normal: &'a [f32],
    scale: f32,
    gamma: &'a [f32],
    dy: &'a [f32],
    /// Added to.
    dgamma: &'a mut [f32],
    /// Added to.
    dbeta: &'a mut [f32],
    dx: &'a mut [f32],
}

impl Kernel for RowBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.dx.len();
        let whole = width - width % S::LANES;
        let (mut sum, mut along) = (s.zero(), s.zero());
        for i in (0..whole).step_by(S::LANES) {
            let (n, dy) = (s.load(&self.normal[i..]), s.load(&self.dy[i..]));
            let g = s.mul(dy, s.load(&self.gamma[i..]));
            sum = s.add(sum, g);
            along = s.fma(g, n, along);
            let dgamma = s.fma(dy, n, s.load(&self.dgamma[i..]));
            s.store(&mut self.dgamma[i..], dgamma);
            let dbeta = s.add(dy, s.load(&self.dbeta[i..]));
            s.store(&mut self.dbeta[i..], dbeta);
        }
        let (mut sum, mut along) = (s.sum(sum), s.sum(along));
        for i in whole..width {
            let (n, dy) = (self.normal[i], self.dy[i]);
            let g = dy * self.gamma[i];
            sum += g;
            along += g * n;
            self.dgamma[i] += dy * n;
            self.dbeta[i] += dy;
        }
        let (mean, along) = (sum / width as f32, along / width as f32);
        let (vmean, valong, vscale) = (s.splat(mean), s.splat(-along), s.splat(self.scale));
        for i in (0..whole).step_by(S::LANES) {
            let g = s.mul(s.load(&self.dy[i..]), s.load(&self.gamma[i..]));
            let centred = s.fma(s.load(&self.normal[i..]), valong, s.sub(g, vmean));
            s.store(&mut self.dx[i..], s.mul(centred, vscale));
        }
        for i in whole..width {
            self.dx[i] = (self.dy[i] * self.gamma[i] - mean - self.normal[i] * along) * self.scale;
        }
    }
}

#[cfg(test)]
mod tests;
