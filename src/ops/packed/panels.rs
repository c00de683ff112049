//! Products with packed weights: rows are put in bands once, then work items multiply those with panels.
//!
//! Every sum is made in one order, whatever the tile, the batch or the number of threads. In f32 it is the order of
//! products with weights as they are stored, so that packing changes no answer.

use std::ops::Range;

use super::bands::{Bands, Filling};
use crate::device::Cpu;
use crate::device::cpu::{Arithmetic, Packed};
use crate::error::{Error, Result};
use crate::ops::activation::{self, Activation};
use crate::ops::dot::tile::{Band, Parts, Stream, Tile, width};
use crate::ops::dot::turn;
use crate::ops::gemm::{DEPTH, MAX_WIDTH, Start};
use crate::ops::product::Stored;
use crate::ops::shared::SharedRows;
use crate::simd::MAX_LANES;
use crate::simd::dot::{Dot, DotKernel};

/// A right factor, one of several that multiply the same left one.
#[derive(Clone, Copy)]
pub struct Part<'a> {
    /// Its transpose, `[N, K]`.
    pub packed: &'a Packed,
    /// What the product is added to. A bias has N values.
    pub start: Start<'a>,
    /// Where the N outputs begin in a row of y.
    pub column: usize,
}

/// Where products go.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// Rows of y.
    Rows(&'a SharedRows<'a>),
    /// Bands, for a product that follows. Their columns begin with a panel: those of one part, from 0 on.
    Bands(&'a Filling<'a>),
}

/// y = f(start + A · B) for each of `parts`, which are packed in the arithmetic of `cpu` and as deep as A, `left`.
///
/// # Safety
/// The columns of `parts` do not overlap, y has them and A's rows, and nothing else reaches y meanwhile.
pub unsafe fn run(cpu: &Cpu, left: &Bands, parts: &[Part<'_>], activation: Activation, y: Target<'_>) -> Result<()> {
    if let Target::Bands(bands) = y
        && bands.rows() != left.rows()
    {
        return Err(Error::internal(format!("bands of {} rows for products of {}", bands.rows(), left.rows())));
    }
    let panels: Vec<(usize, usize)> = parts
        .iter()
        .enumerate()
        .flat_map(|(part, p)| (0..p.packed.shape.0.div_ceil(p.packed.width)).map(move |panel| (part, panel)))
        .collect();
    let items = items(left, panels.len(), cpu.threads());
    cpu.for_each(items.len(), |item| {
        let block =
            Block { arithmetic: cpu.arithmetic(), left, parts, panels: &panels, item: &items[item], activation, y };
        cpu.dispatch_dot(block);
    })
}

/// Some bands, and some of the panels of all layers.
struct Item {
    bands: Range<usize>,
    panels: Range<usize>,
}

/// Groups of rows that stay in a second-level cache while panels pass.
const GROUPS: usize = 128 * 1024;
/// Bands of one work item at least, if there are so many: each panel that passes is on its way for longer than it takes.
const BANDS: usize = 4;
/// Panels of one work item at most.
const PANELS: usize = 16;

/// Cuts the work. Items of the same rows follow each other, so that a thread finds them in its cache; items shrink towards
/// the end, to some bands of a panel, so that no thread waits long for another.
fn items(left: &Bands, panels: usize, threads: usize) -> Vec<Item> {
    let (bands, most) = (left.count(), (GROUPS / left.as_slices().band(0).groups.len().max(1)).max(BANDS));
    let cut = bands.div_ceil(bands.div_ceil(most));
    let (mut items, mut tiles) = (Vec::new(), bands * panels);
    for first in (0..bands).step_by(cut) {
        let bands = first..bands.min(first + cut);
        let mut panel = 0;
        while panel < panels {
            let share = (tiles / (2 * threads)).max(1);
            let end = panels.min(panel + (share / bands.len()).clamp(1, PANELS));
            let cuts = bands.len().div_ceil(share);
            for rows in Parts::new(bands.len(), cuts).all() {
                items.push(Item { bands: first + rows.start..first + rows.end, panels: panel..end });
            }
            tiles -= bands.len() * (end - panel);
            panel = end;
        }
    }
    items
}

struct Block<'a> {
    arithmetic: Arithmetic,
    left: &'a Bands,
    parts: &'a [Part<'a>],
    /// Layer, and panel within it.
    panels: &'a [(usize, usize)],
    item: &'a Item,
    activation: Activation,
    y: Target<'a>,
}

impl DotKernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dot>(self, d: D) {
        let (width, groups, left) = (width::<D>(), self.left.groups(), self.left.as_slices());
        let pass = if self.arithmetic == Arithmetic::F32 { DEPTH } else { groups };
        let Item { bands, panels } = self.item;
        let stream = Stream::new::<D>(pass.min(groups), bands.len(), left.band(bands.start).rows.len());
        for &(part, panel) in &self.panels[panels.clone()] {
            let Part { packed, start, column } = &self.parts[part];
            assert!(packed.width == width && packed.depth() == groups);
            let outputs = panel * width..packed.shape.0.min((panel + 1) * width);
            let columns = panel * width..(panel + 1) * width;
            let (scales, sums) = (&packed.scales[columns.clone()], &packed.sums[columns]);
            let (panel, column) = (packed.panel(panel), column + outputs.start);
            let mut padded = [0.0; MAX_WIDTH];
            let start = match *start {
                Start::Bias(bias) => {
                    padded[..outputs.len()].copy_from_slice(&bias[outputs.clone()]);
                    Start::Bias(&padded[..width])
                }
                start => start,
            };
            let mut aside = [0.0; MAX_WIDTH * MAX_LANES];
            for index in bands.clone() {
                let band = left.band(index);
                let rows = band.rows.clone();
                // C has no room for the columns that a last panel is filled up with.
                let (c, c_stride) = match self.y {
                    Target::Rows(y) if outputs.len() == width => {
                        assert!(rows.end <= y.rows());
                        // SAFETY: every work item has its own rows and columns of y, `width` of them where the panel is whole.
                        (unsafe { y.at(rows.start, column) }, y.stride())
                    }
                    _ => {
                        assert!(rows.len() * width <= aside.len());
                        if let (Target::Rows(y), Start::Held) = (self.y, start) {
                            for (row, aside) in rows.clone().zip(aside.chunks_exact_mut(width)) {
                                // SAFETY: as above.
                                aside[..outputs.len()].copy_from_slice(unsafe { y.row(row, column, outputs.len()) });
                            }
                        }
                        (aside.as_mut_ptr(), width)
                    }
                };
                let (mut from, stride) = (0, turn::stride(rows.len()));
                while from < groups {
                    let part = from..groups.min(from + pass);
                    let tile = Tile {
                        band: Band { groups: &band.groups[part.start * stride..part.end * stride], ..band.clone() },
                        panel: &panel[part.start * width..part.end * width],
                        scales,
                        sums,
                        start: if from == 0 { start } else { Start::Held },
                        c,
                        c_stride,
                        stream: Some((&stream, index - bands.start)),
                    };
                    // SAFETY: as above; there is room aside for the rows of a band.
                    unsafe { tile.multiply(d) };
                    from = part.end;
                }
                for (row, aside) in rows.clone().zip(aside.chunks_exact_mut(width)) {
                    let values = match self.y {
                        Target::Rows(y) => {
                            // SAFETY: as above.
                            let values = unsafe { y.row(row, column, outputs.len()) };
                            if outputs.len() < width {
                                values.copy_from_slice(&aside[..outputs.len()]);
                            }
                            values
                        }
                        Target::Bands(_) => aside,
                    };
                    if self.activation != Activation::Identity {
                        activation::apply_row(d.simd(), self.activation, values);
                    }
                }
                if let Target::Bands(y) = self.y {
                    let values = Stored { values: &aside[..rows.len() * width], stride: width };
                    // SAFETY: as above.
                    unsafe { y.write(d, index, column, outputs.len(), values) };
                }
            }
        }
    }
}
