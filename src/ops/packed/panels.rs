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
    cpu.for_each_ahead(items.len(), |item, next| {
        let (item, next) = (&items[item], next.map(|next| panels[items[next].panels.start]));
        let block = Block { arithmetic: cpu.arithmetic(), left, parts, panels: &panels, item, next, activation, y };
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
    /// The panel that this thread multiplies after those of the item.
    next: Option<(usize, usize)>,
    activation: Activation,
    y: Target<'a>,
}

/// One panel, and the columns of y that are its outputs.
struct Columns<'a> {
    panel: &'a [u32],
    scales: &'a [f32],
    sums: &'a [i32],
    start: Start<'a>,
    /// The first, and their number: fewer than the panel has where it is filled up.
    first: usize,
    count: usize,
}

impl DotKernel for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn run<D: Dot>(self, d: D) {
        let (width, groups, left) = (width::<D>(), self.left.groups(), self.left.as_slices());
        let pass = if self.arithmetic == Arithmetic::F32 { DEPTH.min(groups) } else { groups };
        let Item { bands, panels } = self.item;
        let stream = Stream::new::<D>(pass, bands.len(), left.band(bands.start).rows.len());
        // Tiles that y has no room for: those of all bands, where each is taken up once a pass.
        let room = width * MAX_LANES;
        let mut aside = vec![0.0; room * if pass < groups { bands.len() } else { 1 }];
        let (panels, mut padded) = (&self.panels[panels.clone()], [0.0; MAX_WIDTH]);
        let following = panels[1..].iter().copied().map(Some).chain([self.next]);
        for (&(part, panel), next) in panels.iter().zip(following) {
            let columns = self.columns(part, panel, width, &mut padded);
            let next = next.map(|(part, panel)| self.parts[part].packed.panel(panel));
            for from in (0..groups).step_by(pass) {
                let depth = from..groups.min(from + pass);
                let next = if depth.end < groups { Some(&columns.panel[depth.end * width..]) } else { next };
                for (number, index) in bands.clone().enumerate() {
                    let band = left.band(index);
                    let (rows, stride) = (band.rows.clone(), turn::stride(band.rows.len()));
                    let aside = &mut aside[if pass < groups { number * room } else { 0 }..][..room];
                    let start = if from == 0 { columns.start } else { Start::Held };
                    let (c, c_stride) = self.place(&columns, rows.clone(), width, from, aside);
                    let tile = Tile {
                        band: Band { groups: &band.groups[depth.start * stride..depth.end * stride], ..band },
                        panel: &columns.panel[depth.start * width..depth.end * width],
                        scales: columns.scales,
                        sums: columns.sums,
                        start,
                        c,
                        c_stride,
                        stream: next.map(|next| (&stream, next, number)),
                    };
                    // SAFETY: every work item has its own rows and columns of y, and `place` found room for the tile.
                    unsafe { tile.multiply(d) };
                    if depth.end == groups {
                        self.finish(d, &columns, index, rows, width, aside);
                    }
                }
            }
        }
    }
}

impl Block<'_> {
    /// What a panel of a part is multiplied into. `padded` has room for its bias.
    #[inline(always)]
    fn columns<'a>(&'a self, part: usize, panel: usize, width: usize, padded: &'a mut [f32; MAX_WIDTH]) -> Columns<'a> {
        let Part { packed, start, column } = &self.parts[part];
        assert!(packed.width == width && packed.depth() == self.left.groups());
        let outputs = panel * width..packed.shape.0.min((panel + 1) * width);
        let all = panel * width..(panel + 1) * width;
        let start = match *start {
            Start::Bias(bias) => {
                padded[..outputs.len()].copy_from_slice(&bias[outputs.clone()]);
                Start::Bias(&padded[..width])
            }
            start => start,
        };
        Columns {
            panel: packed.panel(panel),
            scales: &packed.scales[all.clone()],
            sums: &packed.sums[all],
            start,
            first: column + outputs.start,
            count: outputs.len(),
        }
    }

    /// Where the tile of these rows goes, and the distance of its rows there: y, or `aside` where y has no room for the
    /// columns that a last panel is filled up with, or takes bands.
    #[inline(always)]
    fn place(
        &self,
        columns: &Columns<'_>,
        rows: Range<usize>,
        width: usize,
        from: usize,
        aside: &mut [f32],
    ) -> (*mut f32, usize) {
        match self.y {
            Target::Rows(y) if columns.count == width => {
                assert!(rows.end <= y.rows());
                // SAFETY: the item's own, `width` columns where the panel is whole.
                (unsafe { y.at(rows.start, columns.first) }, y.stride())
            }
            _ => {
                assert!(rows.len() * width <= aside.len());
                if let (Target::Rows(y), Start::Held, 0) = (self.y, columns.start, from) {
                    for (row, aside) in rows.zip(aside.chunks_exact_mut(width)) {
                        // SAFETY: the item's own.
                        aside[..columns.count].copy_from_slice(unsafe { y.row(row, columns.first, columns.count) });
                    }
                }
                (aside.as_mut_ptr(), width)
            }
        }
    }

    /// Activates the products of a band, and moves those that are `aside` to where they belong.
    #[inline(always)]
    fn finish<D: Dot>(
        &self,
        d: D,
        columns: &Columns<'_>,
        band: usize,
        rows: Range<usize>,
        width: usize,
        aside: &mut [f32],
    ) {
        if self.activation == Activation::Identity && matches!(self.y, Target::Rows(_)) && columns.count == width {
            return;
        }
        for (row, aside) in rows.clone().zip(aside.chunks_exact_mut(width)) {
            let values = match self.y {
                Target::Rows(y) => {
                    // SAFETY: the item's own.
                    let values = unsafe { y.row(row, columns.first, columns.count) };
                    if columns.count < width {
                        values.copy_from_slice(&aside[..columns.count]);
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
            // SAFETY: the item's own.
            unsafe { y.write(d, band, columns.first, columns.count, values) };
        }
    }
}
