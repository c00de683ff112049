//! Layer normalisation of the sum of two rows of length H, as it follows every sub-layer of BERT.
//!
//!   z = x + r,  μ = ⟨z⟩,  σ² = ⟨(z − μ)²⟩        n = (z − μ)/√(σ² + ε),  y = n·γ + β
//!
//! Backward, with g = dy·γ:  dz = (g − ⟨g⟩ − n·⟨g·n⟩)/√(σ² + ε),  dγ = Σ dy·n,  dβ = Σ dy over the rows.

#[cfg(feature = "cuda")]
mod cuda;

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
        let x = x.buffer().as_slice();
        let residual = residual.map(|r| r.buffer().as_slice());
        let (gamma, beta) = (&affine.gamma.buffer().as_slice()[..width], &affine.beta.buffer().as_slice()[..width]);
        let y = SharedRows::new(&mut y.buffer_mut().as_mut_slice()?[..rows * width], width);
        let saved = match saved {
            Some(saved) => Some((
                SharedRows::new(&mut saved.normal.buffer_mut().as_mut_slice()?[..rows * width], width),
                SharedRows::new(&mut saved.scale.buffer_mut().as_mut_slice()?[..rows], 1),
            )),
            None => None,
        };
        self.for_each(rows.div_ceil(ROWS), |item| {
            for row in item * ROWS..rows.min((item + 1) * ROWS) {
                let values = row * width..(row + 1) * width;
                // SAFETY: every item has its own rows.
                let y = unsafe { y.row(row, 0, width) };
                y.copy_from_slice(&x[values.clone()]);
                let residual = residual.map(|r| &r[values]);
                // SAFETY: as above.
                let saved = saved.as_ref().map(|(n, s)| unsafe { (n.row(row, 0, width), &mut s.row(row, 0, 1)[0]) });
                self.isa().dispatch(Row { residual, gamma, beta, epsilon: affine.epsilon, y, saved });
            }
        })
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

struct Row<'a> {
    residual: Option<&'a [f32]>,
    gamma: &'a [f32],
    beta: &'a [f32],
    epsilon: f32,
    /// x on entry.
    y: &'a mut [f32],
    /// Where n and 1/√(σ² + ε) go.
    saved: Option<(&'a mut [f32], &'a mut f32)>,
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.y.len();
        let whole = width - width % S::LANES;
        let (body, tail) = self.y.split_at_mut(whole);
        if let Some(residual) = self.residual {
            for (z, r) in body.chunks_exact_mut(S::LANES).zip(residual.chunks_exact(S::LANES)) {
                let sum = s.add(s.load(z), s.load(r));
                s.store(z, sum);
            }
            for (z, r) in tail.iter_mut().zip(&residual[whole..]) {
                *z += r;
            }
        }
        let mut sum = s.zero();
        for z in body.chunks_exact(S::LANES) {
            sum = s.add(sum, s.load(z));
        }
        let mean = (s.sum(sum) + tail.iter().sum::<f32>()) / width as f32;
        let centre = s.splat(mean);
        let mut squares = s.zero();
        for z in body.chunks_exact(S::LANES) {
            let d = s.sub(s.load(z), centre);
            squares = s.fma(d, d, squares);
        }
        let variance = (s.sum(squares) + tail.iter().map(|z| (z - mean) * (z - mean)).sum::<f32>()) / width as f32;
        let scale = 1.0 / (variance + self.epsilon).sqrt();
        let factor = s.splat(scale);
        if let Some((normal, saved)) = self.saved {
            *saved = scale;
            let (normal, end) = normal.split_at_mut(whole);
            for (n, z) in normal.chunks_exact_mut(S::LANES).zip(body.chunks_exact(S::LANES)) {
                s.store(n, s.mul(s.sub(s.load(z), centre), factor));
            }
            for (n, z) in end.iter_mut().zip(tail.iter()) {
                *n = (z - mean) * scale;
            }
        }
        let parameters = self.gamma.chunks_exact(S::LANES).zip(self.beta.chunks_exact(S::LANES));
        for (z, (gamma, beta)) in body.chunks_exact_mut(S::LANES).zip(parameters) {
            let normal = s.mul(s.sub(s.load(z), centre), factor);
            s.store(z, s.fma(normal, s.load(gamma), s.load(beta)));
        }
        for (z, (gamma, beta)) in tail.iter_mut().zip(self.gamma[whole..].iter().zip(&self.beta[whole..])) {
            *z = (*z - mean) * scale * gamma + beta;
        }
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
