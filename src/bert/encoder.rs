//! Embeddings and the stack of layers: token ids in, hidden states of the rows asked for out; and the way back.

use std::ops::Range;
use std::sync::Arc;

use crate::batch::{Batch, Selection};
use crate::device::{Device, Hidden, Tensor};
use crate::error::{Error, Result};
use crate::ops::activation::Activation;
use crate::ops::{Fused, Ops, dropout, embedding, gather, layer_norm, linear};

use super::adapter::{Adapter, LayerAdapter};
use super::config::Config;
use super::layer::{self, Applied, Shape, Wanted, Work};
use super::noise::{Noise, Site};
use super::parameters::{Embeddings, Layer, Loader};
use super::trainable::{of_dense, of_norm, of_weight};

/// Most tokens of a batch whose passes a device may record: starting operations costs time where there are few tokens, and
/// a record keeps the memory of its pass.
const REPEATED_TOKENS: usize = 1024;

/// The encoder: one parameter set a group of layers, applied L times. Parts are shared between models.
pub struct Encoder<D: Device> {
    pub(super) embeddings: Arc<Embeddings<D>>,
    /// By group, then place within the group.
    pub(super) groups: Vec<Vec<Arc<Layer<D>>>>,
    /// Low-rank additions.
    pub(super) adapter: Option<Arc<Adapter<D>>>,
    /// Group of each of the L steps.
    schedule: Vec<usize>,
    pub(super) shape: Shape,
    pad_token: Option<u32>,
}

/// Hidden states of one layer as [`Encoder::run`] shows them: layer number, 0 being the embeddings, and `[rows, H]`.
pub type See<'a, D> = &'a mut dyn FnMut(usize, &Hidden<D>) -> Result<()>;

/// What a training forward keeps for backward.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Everything that backward reads.
    Everything,
    /// Only what goes into each layer; backward computes the rest again.
    Inputs,
}

/// What [`Encoder::forward_saving`] leaves for [`Encoder::backward`].
pub struct Trace<D: Device> {
    embeddings: Option<EmbeddingTrace<D>>,
    /// By application, from step `from` on.
    layers: Vec<Kept<D>>,
    /// First of the L steps that trains.
    from: usize,
}

struct EmbeddingTrace<D: Device> {
    norm: layer_norm::Saved<D>,
    /// `[T, E]`: what the projection read, where there is one.
    normal: Option<Hidden<D>>,
}

enum Kept<D: Device> {
    Saved(Box<layer::Saved<D>>),
    Input(Hidden<D>),
}

/// Where a training forward starts.
pub enum Start<D: Device> {
    /// At the token ids.
    Embeddings,
    /// At the hidden states `[T, H]` of all rows before step `.0` of L.
    Hidden(usize, Hidden<D>),
}

/// Gradients of the encoder: the types of what trains, absent where frozen.
pub struct EncoderGradients<D: Device> {
    /// Of the embeddings.
    pub embeddings: Option<Embeddings<D>>,
    /// By group, then place within the group.
    pub groups: Vec<Vec<Option<Layer<D>>>>,
    /// Of the low-rank pairs.
    pub adapter: Option<Adapter<D>>,
}

impl<D: Ops> Encoder<D> {
    /// Takes the encoder's parameters; all of them must be there.
    pub fn load(loader: &mut Loader<'_, D>, config: &Config) -> Result<Self> {
        let embeddings = Arc::new(loader.embeddings(config)?);
        let group = |group| (0..config.inner_group).map(|n| loader.layer(config, group, n).map(Arc::new)).collect();
        Ok(Self {
            embeddings,
            groups: (0..config.groups).map(group).collect::<Result<_>>()?,
            adapter: None,
            schedule: (0..config.layers).map(|layer| config.group_of(layer)).collect(),
            shape: Shape {
                hidden: config.hidden,
                heads: config.heads,
                max_positions: config.max_positions,
                activation: config.activation,
                position: config.position,
                direction: config.direction,
            },
            pad_token: config.pad_token,
        })
    }

    /// An encoder of the same parts.
    pub fn share(&self) -> Self {
        Self {
            embeddings: Arc::clone(&self.embeddings),
            groups: self.groups.clone(),
            adapter: self.adapter.clone(),
            schedule: self.schedule.clone(),
            shape: self.shape,
            pad_token: self.pad_token,
        }
    }

    /// The embedding tables.
    pub fn embeddings(&self) -> &Embeddings<D> {
        &self.embeddings
    }

    /// The layers, by group and place within it.
    pub fn groups(&self) -> &[Vec<Arc<Layer<D>>>] {
        &self.groups
    }

    /// The low-rank additions.
    pub fn adapter(&self) -> Option<&Adapter<D>> {
        self.adapter.as_deref()
    }

    /// Number of layers, L.
    pub fn layers(&self) -> usize {
        self.schedule.len()
    }

    /// Group of each of the L steps.
    pub fn schedule(&self) -> &[usize] {
        &self.schedule
    }

    /// Final hidden states `[R, H]` of the rows in `rows`. The last layer computes no other rows.
    pub fn forward(&self, device: &D, batch: &Batch, rows: &Selection) -> Result<Hidden<D>> {
        let run = || self.run(device, batch, rows, self.layers(), &mut |_, _| Ok(()));
        if batch.tokens() > REPEATED_TOKENS {
            return run();
        }
        device.repeated(&self.shapes(batch, rows), run, |states| states.duplicate(device))
    }

    /// What decides which operations a forward pass consists of, but for the values of parameters.
    fn shapes(&self, batch: &Batch, rows: &Selection) -> [usize; 7] {
        let layer = self.groups.first().and_then(|group| group.first()).map_or(0, |layer| Arc::as_ptr(layer) as usize);
        [
            batch.tokens(),
            batch.sequences(),
            batch.longest(),
            rows.len(),
            Arc::as_ptr(&self.embeddings) as usize,
            layer,
            self.adapter.as_ref().map_or(0, |adapter| Arc::as_ptr(adapter) as usize),
        ]
    }

    /// Hidden states `[R, H]` after `depth` layers of the rows in `rows`; every earlier layer's, of all rows, go to
    /// `see` on the way, and the result does too.
    ///
    /// Fails when a sequence has more tokens than the model has positions, or an id has no embedding.
    pub fn run(&self, device: &D, batch: &Batch, rows: &Selection, depth: usize, see: See<'_, D>) -> Result<Hidden<D>> {
        self.check_lengths(batch)?;
        let mut work = Work::new(device)?;
        self.embed(device, batch, &mut work)?;
        if depth == 0 {
            gather::forward(device, &work.x, rows.rows(), &mut work.y)?;
            see(0, &work.y)?;
            return Ok(work.y);
        }
        see(0, &work.x)?;
        self.steps(device, batch, rows, 0..depth, &mut work, see)?;
        Ok(work.x)
    }

    /// `work.x` = some steps of `work.x`; the last layer computes only the rows of `rows`.
    fn steps(
        &self,
        device: &D,
        batch: &Batch,
        rows: &Selection,
        steps: Range<usize>,
        work: &mut Work<D>,
        see: See<'_, D>,
    ) -> Result<()> {
        let all = Selection::all(batch);
        for step in steps.clone() {
            let layers = self.groups[self.schedule[step]].len();
            for inner in 0..layers {
                let last = step + 1 == steps.end && inner + 1 == layers;
                let asked = if last { rows } else { &all };
                self.applied(step, inner).forward(device, batch, asked, work)?;
            }
            see(step + 1, &work.x)?;
        }
        Ok(())
    }

    /// Final hidden states `[R, H]` of the rows in `rows`, from those `[T, H]` of all rows before step `from` of L.
    pub fn continued(
        &self,
        device: &D,
        batch: &Batch,
        rows: &Selection,
        from: usize,
        states: Hidden<D>,
    ) -> Result<Hidden<D>> {
        let mut work = Work::new(device)?;
        work.x = states;
        self.steps(device, batch, rows, from..self.layers(), &mut work, &mut |_, _| Ok(()))?;
        Ok(work.x)
    }

    /// H
    pub fn hidden(&self) -> usize {
        self.shape.hidden
    }

    /// Final hidden states `[R, H]` of the rows in `rows` with dropout, and what [`Encoder::backward`] needs. Steps before
    /// `lowest` are frozen and leave nothing.
    #[allow(clippy::too_many_arguments)] // what is computed, from where, and how much of it is kept
    pub fn forward_saving(
        &self,
        device: &D,
        batch: &Batch,
        rows: &Selection,
        start: Start<D>,
        lowest: usize,
        noise: Option<&Noise>,
        keep: Keep,
    ) -> Result<(Hidden<D>, Trace<D>)> {
        self.check_lengths(batch)?;
        let all = Selection::all(batch);
        let (mut x, embeddings, from) = match start {
            Start::Hidden(from, x) => (x, None, from),
            Start::Embeddings => {
                let (x, trace) = self.embed_saving(device, batch, noise)?;
                (x, Some(trace), 0)
            }
        };
        let mut layers = Vec::new();
        for step in from..self.layers() {
            let inners = self.groups[self.schedule[step]].len();
            for inner in 0..inners {
                let last = step + 1 == self.layers() && inner + 1 == inners;
                let asked = if last { rows } else { &all };
                let input = match keep {
                    Keep::Inputs if step >= lowest => Some(x.duplicate(device)?),
                    _ => None,
                };
                let (y, saved) = self.applied(step, inner).forward_saving(device, batch, asked, x, noise)?;
                if step >= lowest {
                    layers.push(input.map_or_else(|| Kept::Saved(Box::new(saved)), Kept::Input));
                }
                x = y;
            }
        }
        if from == self.layers() {
            let mut asked = Tensor::new(device, 0, 0)?;
            gather::forward(device, &x, rows.rows(), &mut asked)?;
            x = asked;
        }
        Ok((x, Trace { embeddings, layers, from: from.max(lowest) }))
    }

    /// Adds the gradients of what trains, from that of the final hidden states `[R, H]`.
    #[allow(clippy::too_many_arguments)] // what forward had, what it left, and the two ends of a derivative
    pub fn backward(
        &self,
        device: &D,
        batch: &Batch,
        rows: &Selection,
        noise: Option<&Noise>,
        trace: Trace<D>,
        dy: Hidden<D>,
        gradients: &mut EncoderGradients<D>,
    ) -> Result<()> {
        let all = Selection::all(batch);
        let lowest = gradients.lowest(&self.schedule);
        let (mut d, mut kept) = (dy, trace.layers);
        for step in (trace.from..self.layers()).rev() {
            let group = self.schedule[step];
            let inners = self.groups[group].len();
            for inner in (0..inners).rev() {
                let last = step + 1 == self.layers() && inner + 1 == inners;
                let asked = if last { rows } else { &all };
                let below = gradients.embeddings.is_some() || lowest < step || inner > 0;
                let wanted = if below { Wanted::Yes } else { Wanted::No };
                let applied = self.applied(step, inner);
                let saved = match kept.pop() {
                    Some(Kept::Saved(saved)) => *saved,
                    Some(Kept::Input(x)) => applied.forward_saving(device, batch, asked, x, noise)?.1,
                    None => return Err(Error::internal("a layer left nothing for its backward")),
                };
                let into = layer::Gradients {
                    layer: gradients.groups[group][inner].as_mut(),
                    adapter: gradients.adapter.as_mut().map(|adapter| &mut adapter.groups[group][inner]),
                };
                match applied.backward(device, batch, asked, noise, saved, d, into, wanted)? {
                    Some(dx) => d = dx,
                    None => return Ok(()),
                }
            }
        }
        match (trace.embeddings, &mut gradients.embeddings) {
            (Some(trace), Some(into)) => self.embed_backward(device, batch, noise, trace, d, into),
            _ => Ok(()),
        }
    }

    /// `work.x` = embeddings of all rows.
    pub(super) fn embed(&self, device: &D, batch: &Batch, work: &mut Work<D>) -> Result<()> {
        let e = &self.embeddings;
        if embedding::normalised(device, batch, &e.tables(), &e.norm.affine(), &mut work.x)? == Fused::No {
            embedding::forward(device, batch, &e.tables(), &mut work.y)?;
            layer_norm::forward(device, &work.y, None, &e.norm.affine(), &mut work.x)?;
        }
        if let Some(projection) = &e.projection {
            linear::forward(device, &work.x, &[projection.linear()], Activation::Identity, &mut work.y)?;
            std::mem::swap(&mut work.x, &mut work.y);
        }
        Ok(())
    }

    fn embed_saving(&self, device: &D, batch: &Batch, noise: Option<&Noise>) -> Result<(Hidden<D>, EmbeddingTrace<D>)> {
        let e = &self.embeddings;
        let (mut sum, mut x) = (Tensor::new(device, 0, 0)?, Tensor::new(device, 0, 0)?);
        embedding::forward(device, batch, &e.tables(), &mut sum)?;
        let norm = layer_norm::forward_saving(device, &sum, None, &e.norm.affine(), &mut x)?;
        self.drop(device, batch, noise, &mut x)?;
        let Some(projection) = &e.projection else {
            return Ok((x, EmbeddingTrace { norm, normal: None }));
        };
        linear::forward(device, &x, &[projection.linear()], Activation::Identity, &mut sum)?;
        Ok((sum, EmbeddingTrace { norm, normal: Some(x) }))
    }

    fn embed_backward(
        &self,
        device: &D,
        batch: &Batch,
        noise: Option<&Noise>,
        trace: EmbeddingTrace<D>,
        dy: Hidden<D>,
        into: &mut Embeddings<D>,
    ) -> Result<()> {
        let e = &self.embeddings;
        let mut d = dy;
        if let (Some(projection), Some(x)) = (&e.projection, &trace.normal) {
            let gradients = vec![of_dense(into.projection.as_mut())?];
            linear::backward_parameters(device, x, &d, &[projection.linear()], gradients)?;
            let mut dx = Tensor::new(device, 0, 0)?;
            linear::backward_input(device, &d, &[projection.linear()], &mut dx)?;
            d = dx;
        }
        self.drop(device, batch, noise, &mut d)?;
        let mut sum = Tensor::new(device, 0, 0)?;
        layer_norm::backward(device, &trace.norm, &e.norm.affine(), &d, of_norm(Some(&mut into.norm)), &mut sum)?;
        let gradients = embedding::Gradients {
            word: Some(of_weight(&mut into.word)?),
            token_type: Some(of_weight(&mut into.token_type)?),
            position: into.position.as_mut().map(of_weight).transpose()?,
        };
        embedding::backward(device, batch, &sum, self.pad_token, gradients)
    }

    /// Dropout of the embeddings, in place; the gradient passes the same way.
    fn drop(&self, device: &D, batch: &Batch, noise: Option<&Noise>, x: &mut Hidden<D>) -> Result<()> {
        let all = Selection::all(batch);
        match noise.and_then(|noise| noise.mask(noise.hidden, Site::Embeddings, all.rows())) {
            Some(mask) => dropout::apply(device, &mask, x),
            None => Ok(()),
        }
    }

    pub(super) fn applied(&self, step: usize, inner: usize) -> Applied<'_, D> {
        let group = self.schedule[step];
        let adapter = self.adapter.as_ref().map(|adapter| &adapter.groups[group][inner]);
        Applied {
            layer: &self.groups[group][inner],
            adapter: adapter.filter(|adapter: &&LayerAdapter<D>| !adapter.is_empty()),
            shape: self.shape,
            application: self.schedule[..step].iter().map(|&group| self.groups[group].len()).sum::<usize>() + inner,
        }
    }

    pub(super) fn check_lengths(&self, batch: &Batch) -> Result<()> {
        let (longest, most) = (batch.longest(), self.shape.max_positions);
        if longest > most {
            return Err(Error::input(format!("sequence of {longest} tokens, at most {most} fit this model")));
        }
        Ok(())
    }
}

impl<D: Device> EncoderGradients<D> {
    /// The first of the L steps that something in it trains; L where nothing does. Embeddings lie below all steps.
    pub fn lowest(&self, schedule: &[usize]) -> usize {
        let trains = |group: &usize| {
            let adapter = self.adapter.as_ref().is_some_and(|a| a.groups[*group].iter().any(|layer| !layer.is_empty()));
            adapter || self.groups[*group].iter().any(Option::is_some)
        };
        schedule.iter().position(trains).unwrap_or(schedule.len())
    }
}
