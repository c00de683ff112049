//! Products of narrow numbers: rows are made narrow once, then work items multiply them with panels.
//!
//! Every sum runs over the whole depth in one order, whatever the tile, the batch or the number of threads.

use std::ops::Range;

use super::pack::width;
use super::rows::NarrowRows;
use super::tile::Tile;
use crate::device::Cpu;
use crate::device::cpu::{Arithmetic, Packed};
use crate::error::Result;
use crate::ops::activation::{self, Activation};
use crate::ops::shared::SharedRows;
use crate::simd::dot::{Dot, DotKernel};

/// One of several layers that read the same rows.
pub struct Part<'a> {
    /// The weights.
    pub packed: &'a Packed,
    /// What is added, an output each.
    pub bias: Option<&'a [f32]>,
    /// Where its outputs lie in a row of y.
    pub column: usize,
}

/// y = f(x Wᵀ + b) of each of `parts`, which are packed in the arithmetic of `cpu` and have a depth of `depth`.
///
/// # Safety
/// The columns of `parts` do not overlap, and nothing else reaches y meanwhile.
pub unsafe fn run(
    cpu: &Cpu,
    x: &[f32],
    (rows, depth): (usize, usize),
    parts: &[Part<'_>],
    activation: Activation,
    y: &SharedRows<'_>,
) -> Result<()> {
    let left = NarrowRows::new(cpu, x, rows, depth)?;
    let panels: Vec<(usize, usize)> = parts
        .iter()
        .enumerate()
        .flat_map(|(part, p)| (0..p.packed.shape.0.div_ceil(p.packed.width)).map(move |panel| (part, panel)))
        .collect();
    let items = items(rows, left.stride(), panels.len(), cpu.threads());
    cpu.for_each(items.len(), |item| {
        let block = Block { left: &left, parts, panels: &panels, item: &items[item], activation, y };
        match cpu.arithmetic() {
            Arithmetic::Int8 => cpu.isa().dispatch_int8(block),
            _ => cpu.isa().dispatch_bf16(block),
        }
    })
}

/// Some rows, and some of the panels of all layers.
struct Item {
    rows: Range<usize>,
    panels: Range<usize>,
}

/// Groups of rows that stay in a second-level cache while panels pass.
const GROUPS: usize = 128 * 1024;
/// Panels of one work item at most.
const PANELS: usize = 16;

/// Cuts the work. Items of the same rows follow each other, so that a thread finds them in its cache; items shrink towards
/// the end, so that no thread waits long for another.
fn items(rows: usize, stride: usize, panels: usize, threads: usize) -> Vec<Item> {
    // Whole tiles in every block but the last.
    let most = (GROUPS / stride / MAX_ROWS * MAX_ROWS).max(4 * MAX_ROWS);
    let cut = rows.div_ceil(rows.div_ceil(most).max(1)).next_multiple_of(MAX_ROWS);
    let (mut items, mut left) = (Vec::new(), rows.div_ceil(cut) * panels);
    for first in (0..rows).step_by(cut) {
        let rows = first..rows.min(first + cut);
        let mut panel = 0;
        while panel < panels {
            let end = panels.min(panel + (left / (2 * threads)).clamp(1, PANELS));
            items.push(Item { rows: rows.clone(), panels: panel..end });
            left = left.saturating_sub(end - panel);
            panel = end;
        }
    }
    items
}

struct Block<'a> {
    left: &'a NarrowRows,
    parts: &'a [Part<'a>],
    /// Layer, and panel within it.
    panels: &'a [(usize, usize)],
    item: &'a Item,
    activation: Activation,
    y: &'a SharedRows<'a>,
}

impl DotKernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dot>(self, d: D) {
        let width = width::<D>();
        let Item { rows, panels } = self.item;
        for &(part, panel) in &self.panels[panels.clone()] {
            let Part { packed, bias, column } = &self.parts[part];
            assert!(packed.width == width);
            let outputs = panel * width..packed.shape.0.min((panel + 1) * width);
            let columns = panel * width..(panel + 1) * width;
            let column = column + outputs.start;
            let mut padded = [0.0; MAX_WIDTH];
            let bias = bias.map(|bias| {
                padded[..outputs.len()].copy_from_slice(&bias[outputs.clone()]);
                &padded[..width]
            });
            // C has no room for the columns that a last panel is filled up with.
            let whole = outputs.len() == width;
            let mut aside = [0.0; MAX_WIDTH * MAX_ROWS];
            let tiles = rows.len().div_ceil(D::TILE_ROWS);
            let mut first = rows.start;
            for index in 0..tiles {
                // Tiles of nearly equal height: a last tile of one or two rows would wait on the latency of its few sums.
                let count = (rows.end - first).div_ceil(tiles - index);
                let (c, c_stride) = if whole {
                    // SAFETY: every work item has its own rows and columns of y, `width` of them where the panel is whole.
                    (unsafe { self.y.at(first, column) }, self.y.stride())
                } else {
                    (aside.as_mut_ptr(), width)
                };
                let tile = Tile {
                    left: self.left,
                    first,
                    rows: count,
                    panel: packed.panel(panel),
                    scales: &packed.scales[columns.clone()],
                    sums: &packed.sums[columns.clone()],
                    bias,
                    c,
                    c_stride,
                };
                assert!(whole || count * width <= aside.len());
                // SAFETY: as above; a tile has at most TILE_ROWS rows, for which there is room aside.
                unsafe { tile.multiply(d) };
                for row in 0..count {
                    // SAFETY: every work item has its own rows and columns of y.
                    let y = unsafe { self.y.row(first + row, column, outputs.len()) };
                    if !whole {
                        y.copy_from_slice(&aside[row * width..][..outputs.len()]);
                    }
                    if self.activation != Activation::Identity {
                        activation::apply_row(d.simd(), self.activation, y);
                    }
                }
                first += count;
            }
        }
    }
}

/// Most columns and rows of a tile, over all instruction sets.
const MAX_WIDTH: usize = 32;
const MAX_ROWS: usize = 12;
