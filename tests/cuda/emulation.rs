//! The emulation finds what it says it finds: kernels with one mistake each.

use std::sync::OnceLock;

use cloze::device::cuda::{Args, Family, Grid, Kernel};
use cloze::device::{Cuda, Device};
use cloze::dtype::{DType, f16};

use crate::emulated::{BUGS, bugs, counts, schedule, through_f16};
use crate::harness::{gpu, real, values};

/// The family of `emulation/bugs.cu`. It has no PTX: the emulated driver reads of it which kernels there are.
pub fn family() -> &'static Family {
    static FAMILY: OnceLock<Family> = OnceLock::new();
    FAMILY.get_or_init(|| {
        let entry = |name: &String| {
            let parameters =
                [".u64 in", ".u64 out", ".u32 n"].map(|parameter| format!("\t.param {parameter}")).join(",\n");
            format!(".visible .entry {name}(\n{parameters}\n)\n.maxntid 128, 1, 1\n{{\n}}\n")
        };
        let ptx = format!(".version 8.0\n{}", bugs().iter().map(entry).collect::<String>());
        Family { name: BUGS, ptx: crate::deflated(&ptx) }
    })
}

struct Trial {
    gpu: Cuda,
    n: usize,
    blocks: usize,
    threads: u32,
    shared: u32,
}

impl Trial {
    /// Without a device where there is none, or a real one: it would not find these mistakes.
    fn new(n: usize, threads: u32, shared: u32) -> Option<Self> {
        if real() {
            return None;
        }
        Some(Self { gpu: gpu(DType::F32)?, n, blocks: 1, threads, shared })
    }

    fn input(&self) -> Vec<f32> {
        values(7, self.n)
    }

    /// What the kernel makes of [`Trial::input`], or what was found.
    fn run(&self, name: &'static str) -> Result<Vec<f32>, String> {
        let input = self.gpu.upload(&self.input()).unwrap();
        let mut output = self.gpu.upload(&vec![f32::NAN; self.n]).unwrap();
        let grid = Grid::line(self.blocks, self.threads).with_shared(self.shared);
        let args = Args::new().read(&input).write(&mut output).size(self.n);
        // SAFETY: on the emulated device, accesses beyond the buffers are what is looked for.
        unsafe { self.gpu.launch(&Kernel::new(family(), name), grid, args) }.map_err(|e| e.to_string())?;
        let mut out = vec![0.0; self.n];
        self.gpu.download(&output, &mut out).map_err(|e| e.to_string())?;
        Ok(out)
    }

    /// The kernel fails, in every order of threads, and the message holds each of `words` and names the kernel.
    #[track_caller]
    fn fails(&self, name: &'static str, words: &[&str]) {
        for seed in 1..4 {
            schedule(seed);
            let error = self.run(name).expect_err(name);
            for word in words.iter().chain([&name]) {
                assert!(error.contains(word), "{name}: {error:?} without {word:?}");
            }
        }
    }

    #[track_caller]
    fn gives(&self, name: &'static str, expected: &[f32]) {
        for seed in 1..4 {
            schedule(seed);
            let got = self.run(name).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(&got[..expected.len()], expected, "{name}");
        }
    }
}

fn watched() -> bool {
    !std::env::var("CLOZE_EMULATION").is_ok_and(|value| value == "plain")
}

#[test]
fn missing_barriers() {
    let Some(trial) = Trial::new(128, 128, 512) else { return };
    let backwards: Vec<f32> = trial.input().into_iter().rev().collect();
    trial.gives("barrier_kept", &backwards);
    let in_warp: Vec<f32> = trial.input().chunks(32).flat_map(|warp| warp.iter().rev().copied()).collect();
    trial.gives("warp_kept", &in_warp);
    trial.run("buffer_kept").unwrap();
    if watched() {
        trial.fails("barrier_missing", &["thread", "without a barrier between", "bugs.cu:"]);
        trial.fails("buffer_overwritten", &["without a barrier between", "bugs.cu:"]);
        trial.fails("warp_missing", &["without a barrier between", "bugs.cu:"]);
    } else {
        assert_ne!(trial.run("barrier_missing").unwrap(), backwards);
        assert_ne!(trial.run("warp_missing").unwrap(), in_warp);
    }
}

#[test]
fn copies_that_are_not_waited_for() {
    let Some(trial) = Trial::new(512, 128, 2048) else { return };
    let input = trial.input();
    let expected: Vec<f32> = input.chunks(256).flat_map(|half| half.iter().rev().copied()).collect();
    trial.gives("wait_kept", &expected);
    if watched() {
        trial.fails("wait_too_weak", &["a copy of thread", "is under way", "bugs.cu:"]);
        trial.fails("wait_too_weak_at_last", &["a copy of thread", "is under way"]);
    } else {
        assert_ne!(trial.run("wait_too_weak").unwrap(), expected);
        trial.fails("wait_too_weak_at_last", &["ends with a copy under way"]);
    }
    trial.fails("copy_left", &["ends with a copy under way", "bugs.cu:"]);
    trial.fails("copy_misaligned", &["not multiples of 16"]);
}

#[test]
fn barriers_that_some_do_not_reach() {
    let Some(trial) = Trial::new(128, 128, 512) else { return };
    trial.fails("barrier_divergent", &["sync_block", "others of its warp", "bugs.cu:"]);
    trial.fails("barrier_not_reached", &["others of its warp", "bugs.cu:"]);
    trial.fails("shuffle_divergent", &["shuffle_xor", "bugs.cu:"]);
    let warps: Vec<f32> = trial.run("sums").unwrap();
    assert!(warps.chunks(32).all(|warp| warp.iter().all(|&sum| sum == warp[0])));
}

#[test]
fn accesses_beyond_memory() {
    // not whole pages, not whole lines
    let Some(trial) = Trial::new(99, 128, 512) else { return };
    if watched() {
        trial.fails("read_one_beyond", &["reads 4 bytes at byte 396 of an allocation of 396 bytes", "bugs.cu:"]);
        trial.fails("write_one_beyond", &["writes 4 bytes at byte 396 of an allocation of 396 bytes", "bugs.cu:"]);
        trial.fails("read_one_before", &["reads 4 bytes at byte -4 of an allocation of 396 bytes", "bugs.cu:"]);
        trial.fails("vector_misaligned", &["no multiple of 16", "bugs.cu:"]);
        trial.fails("shared_beyond", &["writes 4 bytes at byte 512 of 512 bytes of shared memory", "bugs.cu:"]);
    } else {
        trial.fails("write_one_beyond", &["writes beside an allocation of 396 bytes"]);
        trial.fails("shared_beyond", &["of 512 bytes of shared memory"]);
    }
    trial.fails("read_far_beyond", &["no memory of the device"]);
    trial.fails("null_read", &["no memory of the device"]);
    trial.fails("stack_used_up", &["stack"]);
}

#[test]
fn blocks_that_are_not_apart() {
    let Some(trial) = Trial::new(128, 32, 0).filter(|_| watched()) else { return };
    let trial = Trial { blocks: 4, ..trial };
    let mut expected = trial.input();
    expected.rotate_left(1);
    trial.gives("blocks_apart", &expected);
    trial.fails("block_reads_anothers", &["another block", "in the same launch", "bugs.cu:"]);
    trial.fails("blocks_write_the_same", &["which another block wrote in the same launch", "bugs.cu:"]);
    let trial = Trial { blocks: 1, threads: 128, ..trial };
    trial.fails("threads_write_the_same", &["which another thread wrote in the same launch", "bugs.cu:"]);
}

#[test]
fn shared_memory_starts_as_nan() {
    let Some(trial) = Trial::new(99, 128, 512) else { return };
    let mut expected = trial.input();
    let last = expected.pop().unwrap();
    let got = trial.run("shared_unset").unwrap();
    assert_eq!(got[..98], expected);
    assert!(got[98].is_nan(), "{last} was never written");
}

/// [16, 8] of a [16, 16] matrix, rounded, and the transpose of its first rows.
fn product(input: &[f32], round: impl Fn(f32) -> f32) -> Vec<f32> {
    let a: Vec<f64> = input.iter().map(|&x| f64::from(round(x))).collect();
    let cell = |i: usize| (0..16).map(|k| a[i / 8 * 16 + k] * a[i % 8 * 16 + k]).sum::<f64>() as f32;
    (0..128).map(cell).collect()
}

#[test]
fn matrices() {
    let Some(trial) = Trial::new(256, 32, 4096) else { return };
    let bf16s = product(&trial.input(), |x| cloze::dtype::bf16::from_f32(x).to_f32());
    let f16s = product(&trial.input(), |x| f16::from_f32(x).to_f32());
    // sums of 16 in f32
    let same = |got: &[f32], expected: &[f32]| got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 2e-5);
    let conflicts = |name| {
        let before = counts();
        let got = trial.run(name).unwrap();
        (got, counts().conflicts - before.conflicts, counts().matrices - before.matrices)
    };
    for (name, expected) in [("product_bf16", &bf16s), ("product_f16", &f16s), ("product_transposed", &bf16s)] {
        let (got, conflicts, matrices) = conflicts(name);
        assert!(same(&got, expected), "{name}: {:?} for {expected:?}", &got[..128]);
        assert_eq!((conflicts, matrices), (0, 8), "{name}");
    }
    let (got, conflicts, _) = conflicts("product_bank_conflicts");
    assert!(same(&got, &bf16s));
    // rows of 128 bytes: all eight of a matrix in the same banks
    assert_eq!(conflicts, 8 * 7);
    assert!(!same(&trial.run("product_wrong_row").unwrap(), &bf16s));
}

#[test]
fn sixteen_bit_numbers() {
    if real() || crate::emulated::library().is_none() {
        return;
    }
    // All patterns of the upper bits, with lower bits below, at and above the middle of two f16.
    for high in 0..1 << 16 {
        for low in [0u32, 1, 0x0fff, 0x1000, 0x1001, 0x2000, 0x3000, 0x8000, 0xffff] {
            let x = f32::from_bits(high << 16 | low);
            let (bits, back) = through_f16(x).unwrap();
            let expected = f16::from_f32(x);
            if x.is_nan() {
                assert!(back.is_nan());
                continue;
            }
            assert_eq!(bits, expected.to_bits(), "{x:e}");
            assert_eq!(back.to_bits(), expected.to_f32().to_bits(), "{x:e}");
        }
    }
}
