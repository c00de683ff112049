//! One transformer layer: forward for answers, forward for training, and backward, which is the latter read upwards.
//!
//!   a = attention(x Wq, x Wk, x Wv) Wo        n = LN(a + x)
//!   f = act(n Wi) Wf                          y = LN(f + n)
//!
//! All token rows go in; only the rows asked for come out. Dropout acts on the attention weights, on a and on f.

use crate::batch::{Batch, Selection};
use crate::device::{Device, Hidden, Tensor};
use crate::error::Result;
use crate::ops::Fused;
use crate::ops::activation::Activation;
use crate::ops::attention::{Columns, Direction, Inputs, Relative};
use crate::ops::position_wise::{self, PositionWise};
use crate::ops::{Accumulate, Ops, activation, add, assign, attention, dropout, gather, layer_norm, linear, lora};

use super::adapter::{LayerAdapter, Target};
use super::config::Position;
use super::noise::{Noise, Place, Site};
use super::parameters::{Dense, Layer};
use super::trainable::{of_dense, of_norm};

/// What of the configuration a layer's computation needs.
#[derive(Clone, Copy)]
pub struct Shape {
    /// H
    pub hidden: usize,
    /// A
    pub heads: usize,
    /// Longest sequence.
    pub max_positions: usize,
    /// Between the two feed-forward matrices.
    pub activation: Activation,
    /// How attention knows positions.
    pub position: Position,
    /// What attention sees.
    pub direction: Direction,
}

/// A layer with what is added to it, where it stands.
pub struct Applied<'a, D: Device> {
    /// Parameters.
    pub layer: &'a Layer<D>,
    /// Low-rank pairs.
    pub adapter: Option<&'a LayerAdapter<D>>,
    /// Of the model.
    pub shape: Shape,
    /// Number of this application of a layer, from 0: layers that share parameters differ in it.
    pub application: usize,
}

/// The matrices that layers hand to each other.
pub struct Work<D: Device> {
    /// `[T, H]`: what a layer reads and leaves.
    pub x: Hidden<D>,
    /// `[T, H]`
    pub y: Hidden<D>,
    /// `[T, 3H]`: query, key and value side by side.
    projected: Hidden<D>,
    /// `[R, H]`: queries of the rows asked for; then what a sub-layer adds to its input.
    query: Hidden<D>,
    /// `[R, F]`
    wide: Hidden<D>,
}

impl<D: Device> Work<D> {
    /// No memory yet.
    pub fn new(device: &D) -> Result<Self> {
        let empty = || Tensor::new(device, 0, 0);
        Ok(Self { x: empty()?, y: empty()?, projected: empty()?, query: empty()?, wide: empty()? })
    }
}

/// Keys and values of one application of a layer, and where new rows belong among them.
pub struct Kept<'a, D: Device> {
    /// `[slots · capacity, 2H]`: key and value side by side.
    pub key_value: &'a mut Hidden<D>,
    /// First row of every slot, then their number: `[slots + 1]`.
    pub offsets: &'a [usize],
    /// Row of every token of the batch.
    pub rows: &'a Selection,
    /// Of those, the rows asked for.
    pub asked: &'a Selection,
}

/// What a training forward leaves for backward.
pub struct Saved<D: Device> {
    /// `[T, H]`: what went in.
    x: Hidden<D>,
    /// `[R, H]`: its rows asked for, where those are not all.
    asked: Option<Hidden<D>>,
    /// `[T, 3H]`, or `[T, 2H]` key and value where the query is apart.
    projected: Hidden<D>,
    /// `[R, H]`
    query: Option<Hidden<D>>,
    attention: attention::Saved<D>,
    /// `[R, H]`: what attention gave.
    context: Hidden<D>,
    attention_norm: layer_norm::Saved<D>,
    /// `[R, H]`: n
    middle: Hidden<D>,
    /// `[R, F]`: before and after the activation.
    before: Hidden<D>,
    wide: Hidden<D>,
    output_norm: layer_norm::Saved<D>,
    pairs: [Option<lora::Saved<D>>; 6],
}

/// Where the gradients of a layer's parameters go; `None` where they are frozen.
pub struct Gradients<'a, D: Device> {
    /// Of the layer itself.
    pub layer: Option<&'a mut Layer<D>>,
    /// Of its pairs.
    pub adapter: Option<&'a mut LayerAdapter<D>>,
}

impl<D: Ops> Applied<'_, D> {
    /// `work.x` = the layer of `work.x`: all rows in, the rows of `asked` out.
    pub fn forward(&self, device: &D, batch: &Batch, asked: &Selection, work: &mut Work<D>) -> Result<()> {
        self.layer.used(device);
        let identity = Activation::Identity;
        let Work { x, y, projected, query, .. } = work;
        if asked.len() == batch.tokens() {
            self.project(device, x, &[Target::Query, Target::Key, Target::Value], identity, projected)?;
            attention::forward(device, &self.inputs(batch, asked, None, projected, None), y)?;
        } else {
            self.project(device, x, &[Target::Key, Target::Value], identity, projected)?;
            gather::forward(device, x, asked.rows(), y)?;
            std::mem::swap(x, y);
            self.project(device, x, &[Target::Query], identity, query)?;
            attention::forward(device, &self.inputs(batch, asked, Some(query), projected, None), y)?;
        }
        self.finish(device, work)
    }

    /// `work.x` = the layer of `work.x`, which holds the rows of a batch that continues the sequences of `kept`; their
    /// keys and values are kept, and only the rows at `asked` of `work.x` come out.
    pub fn step(&self, device: &D, asked: &[usize], kept: Kept<'_, D>, work: &mut Work<D>) -> Result<()> {
        self.layer.used(device);
        let identity = Activation::Identity;
        let Work { x, y, projected, query, .. } = work;
        self.project(device, x, &[Target::Key, Target::Value], identity, projected)?;
        assign::forward(device, projected, None, kept.rows.rows(), kept.key_value)?;
        if asked.len() < x.rows() {
            gather::forward(device, x, asked, y)?;
            std::mem::swap(x, y);
        }
        self.project(device, x, &[Target::Query], identity, query)?;
        attention::forward(device, &self.inputs_at(kept.offsets, kept.asked, Some(query), kept.key_value, None), y)?;
        self.finish(device, work)
    }

    /// `work.x` = the layer, from what went in, `work.x`, and what attention gave, `work.y`.
    fn finish(&self, device: &D, work: &mut Work<D>) -> Result<()> {
        let (layer, identity) = (self.layer, Activation::Identity);
        let Work { x, y, query, wide, .. } = work;
        if self.adapter.is_none() && position_wise::forward(device, y, &self.position_wise(), x)? == Fused::Yes {
            return Ok(());
        }
        self.project(device, y, &[Target::AttentionOutput], identity, query)?;
        layer_norm::forward(device, query, Some(x), &layer.attention_norm.affine(), y)?;
        self.project(device, y, &[Target::Intermediate], self.shape.activation, wide)?;
        self.project(device, wide, &[Target::Output], identity, query)?;
        layer_norm::forward(device, query, Some(y), &layer.output_norm.affine(), x)
    }

    fn position_wise(&self) -> PositionWise<'_, D> {
        PositionWise {
            attention_output: self.layer.attention_output.linear(),
            attention_norm: self.layer.attention_norm.affine(),
            intermediate: self.layer.intermediate.linear(),
            activation: self.shape.activation,
            output: self.layer.output.linear(),
            output_norm: self.layer.output_norm.affine(),
        }
    }

    /// The same with dropout, and with what backward needs.
    pub fn forward_saving(
        &self,
        device: &D,
        batch: &Batch,
        asked: &Selection,
        x: Hidden<D>,
        noise: Option<&Noise>,
    ) -> Result<(Hidden<D>, Saved<D>)> {
        let new = || Tensor::new(device, 0, 0);
        let (mut projected, mut context, mut y) = (new()?, new()?, new()?);
        let mut pairs = [const { None }; 6];
        let every = asked.len() == batch.tokens();
        let all = Selection::all(batch);
        let (apart, query) = if every {
            let targets = [Target::Query, Target::Key, Target::Value];
            self.project_saving(device, &x, &targets, all.rows(), noise, &mut projected, &mut pairs)?;
            (None, None)
        } else {
            let (mut rows, mut query) = (new()?, new()?);
            let targets = [Target::Key, Target::Value];
            self.project_saving(device, &x, &targets, all.rows(), noise, &mut projected, &mut pairs)?;
            gather::forward(device, &x, asked.rows(), &mut rows)?;
            self.project_saving(device, &rows, &[Target::Query], asked.rows(), noise, &mut query, &mut pairs)?;
            (Some(rows), Some(query))
        };
        let inputs = self.inputs(batch, asked, query.as_ref(), &projected, noise);
        let attention = attention::forward_saving(device, &inputs, &mut context)?;
        self.project_saving(device, &context, &[Target::AttentionOutput], asked.rows(), noise, &mut y, &mut pairs)?;
        self.drop(device, noise, Place::AttentionOutput, asked, &mut y)?;

        let mut middle = new()?;
        let residual = Some(apart.as_ref().unwrap_or(&x));
        let affine = self.layer.attention_norm.affine();
        let attention_norm = layer_norm::forward_saving(device, &y, residual, &affine, &mut middle)?;

        let (mut before, mut wide) = (new()?, new()?);
        self.project_saving(device, &middle, &[Target::Intermediate], asked.rows(), noise, &mut before, &mut pairs)?;
        activation::forward(device, &before, self.shape.activation, &mut wide)?;
        let mut f = new()?;
        self.project_saving(device, &wide, &[Target::Output], asked.rows(), noise, &mut f, &mut pairs)?;
        self.drop(device, noise, Place::Output, asked, &mut f)?;
        let affine = self.layer.output_norm.affine();
        let output_norm = layer_norm::forward_saving(device, &f, Some(&middle), &affine, &mut y)?;

        let saved = Saved {
            asked: apart,
            query,
            attention,
            attention_norm,
            output_norm,
            x,
            projected,
            context,
            middle,
            before,
            wide,
            pairs,
        };
        Ok((y, saved))
    }

    /// From the gradient of what came out `[R, H]` to that of what went in `[T, H]`, which is computed only if wanted;
    /// gradients of parameters are added on the way.
    #[allow(clippy::too_many_arguments)] // what forward had, what it left, and the two ends of a derivative
    pub fn backward(
        &self,
        device: &D,
        batch: &Batch,
        asked: &Selection,
        noise: Option<&Noise>,
        saved: Saved<D>,
        dy: Hidden<D>,
        mut gradients: Gradients<'_, D>,
        wanted: Wanted,
    ) -> Result<Option<Hidden<D>>> {
        let new = || Tensor::new(device, 0, 0);
        let (rows, hidden) = (asked.rows(), self.shape.hidden);
        let all = Selection::all(batch);
        let mut pass = Pass { device, applied: self, noise, pairs: saved.pairs, gradients: &mut gradients };

        // y = LN(drop(f) + n)
        let mut d_middle = new()?;
        let norm = of_norm(pass.gradients.layer.as_mut().map(|layer| &mut layer.output_norm));
        layer_norm::backward(device, &saved.output_norm, &self.layer.output_norm.affine(), &dy, norm, &mut d_middle)?;
        drop(saved.output_norm);
        let mut d = dy;
        d.copy_from(device, &d_middle)?;
        self.drop(device, noise, Place::Output, asked, &mut d)?;

        // f = act(n Wi) Wf
        let mut d_wide = new()?;
        pass.linear(&saved.wide, &[Target::Output], rows, &d, Some(&mut d_wide))?;
        drop(saved.wide);
        activation::backward(device, &saved.before, self.shape.activation, &mut d_wide)?;
        drop(saved.before);
        pass.linear(&saved.middle, &[Target::Intermediate], rows, &d_wide, Some(&mut d))?;
        drop((saved.middle, d_wide));
        add::add(device, &d, Accumulate(&mut d_middle))?;

        // n = LN(drop(a) + x)
        let mut d_residual = new()?;
        let norm = of_norm(pass.gradients.layer.as_mut().map(|layer| &mut layer.attention_norm));
        let affine = self.layer.attention_norm.affine();
        layer_norm::backward(device, &saved.attention_norm, &affine, &d_middle, norm, &mut d_residual)?;
        drop((saved.attention_norm, d_middle));
        d.copy_from(device, &d_residual)?;
        self.drop(device, noise, Place::AttentionOutput, asked, &mut d)?;

        // a = attention(q, k, v) Wo
        let mut d_context = new()?;
        pass.linear(&saved.context, &[Target::AttentionOutput], rows, &d, Some(&mut d_context))?;
        drop(d);
        let inputs = self.inputs(batch, asked, saved.query.as_ref(), &saved.projected, noise);
        let mut d_projected = new()?;
        let table = pass.gradients.layer.as_mut().and_then(|layer| layer.distance.as_mut()).map(Accumulate);
        let dx = |wanted: Wanted| (wanted == Wanted::Yes).then(new).transpose();
        match &saved.asked {
            None => {
                let into = attention::Gradients::Joined(&mut d_projected);
                attention::backward(device, &inputs, &saved.attention, &saved.context, &d_context, into, table)?;
                drop((saved.projected, saved.context, d_context));

                // q, k, v = x Wq, x Wk, x Wv; x went into the sum too
                let mut dx = dx(wanted)?;
                let targets = [Target::Query, Target::Key, Target::Value];
                pass.linear(&saved.x, &targets, all.rows(), &d_projected, dx.as_mut())?;
                if let Some(dx) = &mut dx {
                    add::add(device, &d_residual, Accumulate(dx))?;
                }
                Ok(dx)
            }
            Some(x_asked) => {
                let mut d_query = new()?;
                let into = attention::Gradients::Apart { query: &mut d_query, key_value: &mut d_projected };
                attention::backward(device, &inputs, &saved.attention, &saved.context, &d_context, into, table)?;
                drop((saved.projected, saved.context, d_context));

                let (mut dx, mut dx_asked) = (dx(wanted)?, dx(wanted)?);
                pass.linear(x_asked, &[Target::Query], rows, &d_query, dx_asked.as_mut())?;
                pass.linear(&saved.x, &[Target::Key, Target::Value], all.rows(), &d_projected, dx.as_mut())?;
                if let (Some(dx), Some(dx_asked)) = (&mut dx, &mut dx_asked) {
                    add::add(device, &d_residual, Accumulate(dx_asked))?;
                    gather::backward(device, dx_asked, rows, Accumulate(dx))?;
                }
                debug_assert_eq!(d_residual.cols(), hidden);
                Ok(dx)
            }
        }
    }

    /// y = act(x W + b) of neighbouring targets, side by side, with their pairs.
    fn project(
        &self,
        device: &D,
        x: &Hidden<D>,
        targets: &[Target],
        activation: Activation,
        y: &mut Hidden<D>,
    ) -> Result<()> {
        let layers: Vec<_> = targets.iter().map(|&target| self.dense(target).linear()).collect();
        if targets.iter().all(|&target| self.pair(target).is_none()) {
            return linear::forward(device, x, &layers, activation, y);
        }
        linear::forward(device, x, &layers, Activation::Identity, y)?;
        let mut first = 0;
        for &target in targets {
            if let Some(pair) = self.pair(target) {
                lora::forward(device, x, &pair.lora(), None, y, first)?;
            }
            first += self.dense(target).weight.shape().0;
        }
        if activation != Activation::Identity {
            let mut activated = Tensor::new(device, 0, 0)?;
            activation::forward(device, y, activation, &mut activated)?;
            *y = activated;
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments)] // a linear layer's ends, its dropout, and what its pairs leave
    fn project_saving(
        &self,
        device: &D,
        x: &Hidden<D>,
        targets: &[Target],
        rows: &[usize],
        noise: Option<&Noise>,
        y: &mut Hidden<D>,
        saved: &mut [Option<lora::Saved<D>>; 6],
    ) -> Result<()> {
        let layers: Vec<_> = targets.iter().map(|&target| self.dense(target).training()).collect();
        linear::forward(device, x, &layers, Activation::Identity, y)?;
        let mut first = 0;
        for &target in targets {
            if let Some(pair) = self.pair(target) {
                let mask = self.pair_mask(noise, target, rows);
                saved[target as usize] = Some(lora::forward(device, x, &pair.lora(), mask.as_ref(), y, first)?);
            }
            first += self.dense(target).weight.shape().0;
        }
        Ok(())
    }

    fn inputs<'a>(
        &'a self,
        batch: &'a Batch,
        asked: &'a Selection,
        query: Option<&'a Hidden<D>>,
        projected: &'a Hidden<D>,
        noise: Option<&Noise>,
    ) -> Inputs<'a, D> {
        self.inputs_at(batch.offsets(), asked, query, projected, noise)
    }

    fn inputs_at<'a>(
        &'a self,
        offsets: &'a [usize],
        asked: &'a Selection,
        query: Option<&'a Hidden<D>>,
        projected: &'a Hidden<D>,
        noise: Option<&Noise>,
    ) -> Inputs<'a, D> {
        let hidden = self.shape.hidden;
        let first_key = if query.is_some() { 0 } else { hidden };
        let with_keys = self.shape.position == Position::RelativeKeyQuery;
        Inputs {
            query: Columns { tensor: query.unwrap_or(projected), first: 0 },
            key: Columns { tensor: projected, first: first_key },
            value: Columns { tensor: projected, first: first_key + hidden },
            heads: self.shape.heads,
            hidden,
            offsets,
            rows: asked,
            direction: self.shape.direction,
            relative: self.layer.distance.as_ref().map(|table| Relative { table, with_keys }),
            dropout: noise.and_then(|noise| noise.attention(self.application)),
        }
    }

    /// Dropout of what a sub-layer adds to its input, in place; the gradient passes the same way.
    fn drop(
        &self,
        device: &D,
        noise: Option<&Noise>,
        place: Place,
        asked: &Selection,
        x: &mut Hidden<D>,
    ) -> Result<()> {
        let site = Site::Layer(self.application, place);
        match noise.and_then(|noise| noise.mask(noise.hidden, site, asked.rows())) {
            Some(mask) => dropout::apply(device, &mask, x),
            None => Ok(()),
        }
    }

    fn pair_mask<'a>(&self, noise: Option<&Noise>, target: Target, rows: &'a [usize]) -> Option<dropout::Mask<'a>> {
        let site = Site::Layer(self.application, Place::Pair(target as usize));
        noise.and_then(|noise| noise.mask(noise.lora, site, rows))
    }

    fn pair(&self, target: Target) -> Option<&super::adapter::Pair<D>> {
        self.adapter.and_then(|adapter| adapter.pair(target))
    }

    fn dense(&self, target: Target) -> &Dense<D> {
        self.layer.dense(target)
    }
}

/// Whether the gradient of what went into a layer is needed: not below the lowest parameter that trains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Something below trains.
    Yes,
    /// Nothing does.
    No,
}

/// The linear layers of one backward.
struct Pass<'a, 'g, D: Device> {
    device: &'a D,
    applied: &'a Applied<'a, D>,
    noise: Option<&'a Noise>,
    pairs: [Option<lora::Saved<D>>; 6],
    gradients: &'a mut Gradients<'g, D>,
}

impl<D: Ops> Pass<'_, '_, D> {
    /// Gradients of neighbouring targets that read x, from those of their outputs side by side.
    fn linear(
        &mut self,
        x: &Hidden<D>,
        targets: &[Target],
        rows: &[usize],
        dy: &Hidden<D>,
        mut dx: Option<&mut Hidden<D>>,
    ) -> Result<()> {
        let layers: Vec<_> = targets.iter().map(|&target| self.applied.dense(target).training()).collect();
        if let Some(layer) = &mut self.gradients.layer {
            let into = targets_of(layer, targets)?;
            linear::backward_parameters(self.device, x, dy, &layers, into)?;
        }
        if let Some(dx) = &mut dx {
            linear::backward_input(self.device, dy, &layers, dx)?;
        }
        let mut first = 0;
        for &target in targets {
            if let (Some(pair), Some(saved)) = (self.applied.pair(target), &self.pairs[target as usize]) {
                let mask = self.applied.pair_mask(self.noise, target, rows);
                let dx = dx.as_mut().map(|dx| Accumulate(dx));
                // Pairs train whenever they are there while a model trains: only their own gradients exist then.
                let adapter = self.gradients.adapter.as_mut().and_then(|adapter| adapter.pair_mut(target));
                if let Some(gradient) = adapter {
                    let into = gradient.gradients();
                    lora::backward(self.device, x, &pair.lora(), mask.as_ref(), saved, dy, first, into, dx)?;
                }
            }
            first += self.applied.dense(target).weight.shape().0;
        }
        Ok(())
    }
}

fn targets_of<'a, D: Device>(layer: &'a mut Layer<D>, targets: &[Target]) -> Result<Vec<linear::Gradients<'a, D>>> {
    let Layer { query, key, value, attention_output, intermediate, output, .. } = layer;
    let all = [
        (Target::Query, query),
        (Target::Key, key),
        (Target::Value, value),
        (Target::AttentionOutput, attention_output),
        (Target::Intermediate, intermediate),
        (Target::Output, output),
    ];
    all.into_iter().filter(|(target, _)| targets.contains(target)).map(|(_, dense)| of_dense(Some(dense))).collect()
}
