//! Embeddings and the stack of layers: token ids in, hidden states of the rows asked for out.

use crate::batch::{Batch, Selection};
use crate::device::{Device, Tensor};
use crate::error::{Error, Result};
use crate::ops::activation::Activation;
use crate::ops::attention::{Columns, Inputs, Relative};
use crate::ops::{Ops, attention, embedding, gather, layer_norm, linear};

use super::config::{Config, Position};
use super::parameters::{Embeddings, Layer, Loader};

/// The encoder: one parameter set a group of layers, applied L times.
pub struct Encoder<D: Device> {
    embeddings: Embeddings<D>,
    /// By group, then place within the group.
    groups: Vec<Vec<Layer<D>>>,
    /// Group of each of the L steps.
    schedule: Vec<usize>,
    shape: Shape,
}

/// What of the configuration the computation needs.
#[derive(Clone, Copy)]
struct Shape {
    hidden: usize,
    heads: usize,
    max_positions: usize,
    activation: Activation,
    position: Position,
}

/// Hidden states of one layer as [`Encoder::run`] shows them: layer number, 0 being the embeddings, and `[rows, H]`.
pub type See<'a, D> = &'a mut dyn FnMut(usize, &Tensor<D>) -> Result<()>;

impl<D: Ops> Encoder<D> {
    /// Takes the encoder's parameters; all of them must be there.
    pub fn load(loader: &mut Loader<'_, D>, config: &Config) -> Result<Self> {
        let embeddings = loader.embeddings(config)?;
        let group = |group| (0..config.inner_group).map(|inner| loader.layer(config, group, inner)).collect();
        Ok(Self {
            embeddings,
            groups: (0..config.groups).map(group).collect::<Result<_>>()?,
            schedule: (0..config.layers).map(|layer| config.group_of(layer)).collect(),
            shape: Shape {
                hidden: config.hidden,
                heads: config.heads,
                max_positions: config.max_positions,
                activation: config.activation,
                position: config.position,
            },
        })
    }

    /// The embedding tables.
    pub fn embeddings(&self) -> &Embeddings<D> {
        &self.embeddings
    }

    /// Number of layers, L.
    pub fn layers(&self) -> usize {
        self.schedule.len()
    }

    /// Final hidden states `[R, H]` of the rows in `rows`. The last layer computes no other rows.
    pub fn forward(&self, device: &D, batch: &Batch, rows: &Selection) -> Result<Tensor<D>> {
        self.run(device, batch, rows, self.layers(), &mut |_, _| Ok(()))
    }

    /// Hidden states `[R, H]` after `depth` layers of the rows in `rows`; every earlier layer's, of all rows, go to
    /// `see` on the way, and the result does too.
    ///
    /// Fails when a sequence has more tokens than the model has positions, or an id has no embedding.
    pub fn run(&self, device: &D, batch: &Batch, rows: &Selection, depth: usize, see: See<'_, D>) -> Result<Tensor<D>> {
        let longest = (0..batch.sequences()).map(|s| batch.rows(s).len()).max().unwrap_or(0);
        if longest > self.shape.max_positions {
            return Err(Error::input(format!(
                "sequence of {longest} tokens, at most {} fit this model",
                self.shape.max_positions
            )));
        }
        let all = Selection::all(batch);
        let mut work = Work::new(device)?;
        self.embed(device, batch, &mut work)?;
        if depth == 0 {
            gather::forward(device, &work.x, rows.rows(), &mut work.y)?;
            see(0, &work.y)?;
            return Ok(work.y);
        }
        see(0, &work.x)?;
        for (step, &group) in self.schedule[..depth].iter().enumerate() {
            let layers = &self.groups[group];
            for (inner, layer) in layers.iter().enumerate() {
                let last = step + 1 == depth && inner + 1 == layers.len();
                let asked = if last { rows } else { &all };
                self.layer(device, layer, batch, asked, &mut work)?;
            }
            see(step + 1, &work.x)?;
        }
        Ok(work.x)
    }

    /// `work.x` = embeddings of all rows.
    fn embed(&self, device: &D, batch: &Batch, work: &mut Work<D>) -> Result<()> {
        let e = &self.embeddings;
        let tables = embedding::Tables { word: &e.word, token_type: &e.token_type, position: e.position.as_ref() };
        embedding::forward(device, batch, &tables, &mut work.y)?;
        layer_norm::forward(device, &work.y, None, &e.norm.affine(), &mut work.x)?;
        if let Some(projection) = &e.projection {
            linear::forward(device, &work.x, &[projection.linear()], Activation::Identity, &mut work.y)?;
            std::mem::swap(&mut work.x, &mut work.y);
        }
        Ok(())
    }

    /// `work.x` = the layer of `work.x`: all rows in, the rows of `asked` out.
    fn layer(&self, device: &D, layer: &Layer<D>, batch: &Batch, asked: &Selection, work: &mut Work<D>) -> Result<()> {
        let (hidden, identity) = (self.shape.hidden, Activation::Identity);
        let Work { x, y, projected, query, wide } = work;
        let every = asked.len() == batch.tokens();

        if every {
            let parts = [layer.query.linear(), layer.key.linear(), layer.value.linear()];
            linear::forward(device, x, &parts, identity, projected)?;
        } else {
            linear::forward(device, x, &[layer.key.linear(), layer.value.linear()], identity, projected)?;
            gather::forward(device, x, asked.rows(), y)?;
            std::mem::swap(x, y);
            linear::forward(device, x, &[layer.query.linear()], identity, query)?;
        }
        let first_key = if every { hidden } else { 0 };
        let inputs = Inputs {
            query: Columns { tensor: if every { projected } else { query }, first: 0 },
            key: Columns { tensor: projected, first: first_key },
            value: Columns { tensor: projected, first: first_key + hidden },
            heads: self.shape.heads,
            hidden,
            offsets: batch.offsets(),
            rows: asked,
            relative: layer
                .distance
                .as_ref()
                .map(|table| Relative { table, with_keys: self.shape.position == Position::RelativeKeyQuery }),
            dropout: None,
        };
        attention::forward(device, &inputs, y)?;
        linear::forward(device, y, &[layer.attention_output.linear()], identity, query)?;
        layer_norm::forward(device, query, Some(x), &layer.attention_norm.affine(), y)?;

        linear::forward(device, y, &[layer.intermediate.linear()], self.shape.activation, wide)?;
        linear::forward(device, wide, &[layer.output.linear()], identity, query)?;
        layer_norm::forward(device, query, Some(y), &layer.output_norm.affine(), x)
    }
}

/// The matrices that layers hand to each other.
struct Work<D: Device> {
    /// `[T, H]`: what a layer reads and leaves.
    x: Tensor<D>,
    /// `[T, H]`
    y: Tensor<D>,
    /// `[T, 3H]`: query, key and value side by side.
    projected: Tensor<D>,
    /// `[R, H]`: queries of the rows asked for; then what a sub-layer adds to its input.
    query: Tensor<D>,
    /// `[R, F]`
    wide: Tensor<D>,
}

impl<D: Device> Work<D> {
    fn new(device: &D) -> Result<Self> {
        let empty = || Tensor::new(device, 0, 0);
        Ok(Self { x: empty()?, y: empty()?, projected: empty()?, query: empty()?, wide: empty()? })
    }
}
