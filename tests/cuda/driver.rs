//! The device below the operations: how it is found and what it says where it is not, memory, launches, graphs.

use std::cell::Cell;
use std::process::Command;
use std::sync::Arc;

use cloze::device::cuda::{Args, CudaBuffer, Family, Grid, Kernel};
use cloze::device::{Cuda, Device};
use cloze::dtype::{DType, Working};
use cloze::error::{Error, Result, Status};
use cloze::pool::Cancel;

use crate::emulated::{current_context, host_context};
use crate::emulation::family;
use crate::harness::{counts, each, gpu, in_child, real, rounded, values};

/// What is said of a device that is not there.
#[track_caller]
fn refused(ordinal: usize) -> Error {
    Cuda::new(ordinal, DType::F32).err().expect("a device where there is none")
}

#[track_caller]
fn says(error: &Error, status: Status, words: &[&str]) {
    let text = error.to_string();
    assert_eq!(error.status(), status, "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "{text:?} without {word:?}"));
}

/// Starts `name` of `emulation/bugs.cu` with 128 elements.
fn launch(gpu: &Cuda, name: &'static str, input: &[f32]) -> Result<Vec<f32>> {
    let source = gpu.upload(input)?;
    let mut target = gpu.upload(&vec![f32::NAN; input.len()])?;
    let grid = Grid::line(1, 128).with_shared(512);
    let args = Args::new().read(&source).write(&mut target).size(input.len());
    // SAFETY: the kernel's parameters; it reads and writes as many elements as both buffers have.
    unsafe { gpu.launch(&Kernel::new(family(), name), grid, args)? };
    let mut out = vec![0.0; input.len()];
    gpu.download(&target, &mut out)?;
    Ok(out)
}

#[test]
fn no_library() {
    in_child(&[("CLOZE_CUDA_LIBRARY", "/nowhere/libcuda.so.1")], || {
        says(
            &refused(0),
            Status::NoDevice,
            &["no CUDA driver", "/nowhere/libcuda.so.1: cannot open shared object file"],
        );
        // asked once a process, told each time
        says(&refused(0), Status::NoDevice, &["no CUDA driver"]);
    });
}

#[test]
fn an_old_driver() {
    in_child(&[("CLOZE_EMULATED_VERSION", "11040")], || {
        says(&refused(0), Status::NoDevice, &["CUDA 11.4", "need 12.0 or newer (R525)"]);
    });
}

#[test]
fn a_driver_without_a_function() {
    let source = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("hollow.c");
    let library = source.with_extension("so");
    std::fs::write(&source, "int cuInit(unsigned flags) { return (int)flags; }\n").unwrap();
    let compiled = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    if compiled.is_ok_and(|status| status.success()) {
        in_child(&[("CLOZE_CUDA_LIBRARY", library.to_str().unwrap())], || {
            says(&refused(0), Status::NoDevice, &["CUDA driver without cu", "R525"]);
        });
    }
}

#[test]
fn no_device() {
    in_child(&[("CLOZE_EMULATED_DEVICES", "0")], || {
        says(&refused(0), Status::NoDevice, &["cuInit", "100", "no CUDA-capable device"]);
    });
}

#[test]
fn a_driver_that_does_not_start() {
    in_child(&[("CLOZE_EMULATED_INIT", "803")], || says(&refused(0), Status::NoDevice, &["cuInit", "803"]));
}

#[test]
fn an_old_device() {
    in_child(&[("CLOZE_EMULATED_CAPABILITY", "75")], || {
        says(&refused(0), Status::NoDevice, &["Emulated GPU 0", "compute capability 7.5, need 8.0"]);
        let known = cloze::device::cuda::devices().unwrap();
        assert_eq!(known.iter().map(|info| info.capability).collect::<Vec<_>>(), [(7, 5)]);
    });
}

#[test]
fn two_devices() {
    in_child(&[("CLOZE_EMULATED_DEVICES", "2")], || {
        assert_eq!(Cuda::new(1, DType::F32).unwrap().info().name, "Emulated GPU 1");
        says(&refused(2), Status::NoDevice, &["CUDA device 2", "there are 2"]);
    });
}

#[test]
fn memory_that_is_not_there() {
    in_child(&[("CLOZE_EMULATED_MEMORY", "1000000")], || {
        let gpu = gpu(DType::F32).unwrap();
        let kept = gpu.alloc::<f32>(100_000).unwrap();
        let error = gpu.alloc::<f32>(200_000).err().unwrap();
        says(&error, Status::OutOfMemory, &["Emulated GPU 0", "800000 bytes", "600000 of 1000000"]);
        drop(kept);
        // memory that is only kept for later gives way
        gpu.alloc::<f32>(200_000).unwrap();
    });
}

#[test]
fn kept_memory_gives_way() {
    in_child(&[("CLOZE_EMULATED_MEMORY", "1000000"), ("CLOZE_CUDA_EXACT", "0")], || {
        let gpu = gpu(DType::F32).unwrap();
        drop(gpu.alloc::<f32>(100_000).unwrap());
        assert_eq!(counts().blocks, 1);
        gpu.alloc::<f32>(200_000).unwrap();
    });
}

#[test]
fn kernels_for_newer_drivers() {
    in_child(&[("CLOZE_EMULATED_PTX", "7.8")], || {
        let error = launch(&gpu(DType::F32).unwrap(), "barrier_kept", &values(1, 128)).unwrap_err();
        says(&error, Status::NoDevice, &["kernels of bugs", "222", "Unsupported .version 8.0"]);
    });
}

#[test]
fn kernels_that_are_not_there() {
    in_child(&[], || {
        let gpu = gpu(DType::F32).unwrap();
        let error = launch(&gpu, "nothing", &values(1, 128)).unwrap_err();
        says(&error, Status::NoDevice, &["kernel nothing", "the PTX has no kernel nothing"]);
        let ptx = crate::deflated(".version 8.0\n.visible .entry only(\n)\n{\n}\n");
        let unknown: &'static Family = Box::leak(Box::new(Family { name: "unknown", ptx }));
        let one = Kernel::of(unknown, "only", DType::Bf16);
        // SAFETY: nothing is started.
        let error = unsafe { gpu.launch(&one, Grid::line(1, 32), Args::new()) }.unwrap_err();
        says(&error, Status::NoDevice, &["kernel only_bf16"]);
    });
}

#[test]
fn a_launch_that_fails() {
    in_child(&[("CLOZE_EMULATED_FAIL_LAUNCH", "2")], || {
        let gpu = gpu(DType::F32).unwrap();
        launch(&gpu, "barrier_kept", &values(1, 128)).unwrap();
        let error = launch(&gpu, "barrier_kept", &values(1, 128)).unwrap_err();
        says(&error, Status::NoDevice, &["kernel barrier_kept", "719"]);
        // the device is lost for good, and says so
        says(&gpu.synchronize().unwrap_err(), Status::NoDevice, &["719"]);
        drop(gpu);
    });
}

#[test]
fn arguments_that_do_not_fit() {
    let Some(gpu) = gpu(DType::F32).filter(|_| !real()) else { return };
    let mut buffer = gpu.alloc::<f32>(128).unwrap();
    let kernel = Kernel::new(family(), "sums");
    let mut refused = |grid: Grid, args: fn(Args, u64) -> Args, word: &str| {
        let args = args(Args::new(), buffer.pointer_mut());
        // SAFETY: the driver, which is emulated, refuses it.
        let error = unsafe { gpu.launch(&kernel, grid, args) }.expect_err(word);
        assert!(error.to_string().contains(word), "{error} without {word:?}");
    };
    let line = Grid::line(1, 32);
    refused(line, |args, p| args.pointer(p).pointer(p), "2 arguments for 3 parameters");
    refused(line, |args, p| args.pointer(p).pointer(p).u32(1).u32(1), "4 arguments for 3 parameters");
    refused(line, |args, p| args.pointer(p).pointer(p).pointer(p), "argument 2 is larger than its parameter");
    refused(line, |args, p| args.pointer(p).u32(77).u32(1), "argument 1 is no pointer");
    refused(line, |args, p| args.pointer(p).pointer(p + (1 << 20)).u32(1), "argument 1");
    refused(line, |args, p| args.pointer(p).pointer(p).size(1 << 40), "beyond its range");
    refused(Grid::line(1, 256), |args, p| args.pointer(p).pointer(p).u32(1), "256 threads, 128 are the most");
    refused(line.with_shared(100 << 10), |args, p| args.pointer(p).pointer(p).u32(1), "shared memory");
    refused(Grid { blocks: [1, 1 << 16, 1], ..line }, |args, p| args.pointer(p).pointer(p).u32(1), "beyond its range");
    // no blocks, no launch
    let before = counts().launches;
    let args = Args::new().write(&mut buffer);
    // SAFETY: nothing is started.
    unsafe { gpu.launch(&kernel, Grid::line(0, 32), args) }.unwrap();
    assert_eq!(counts().launches, before);
}

/// The application has a context of its own, on another device, and finds it as it was after every call.
#[test]
fn the_hosts_context() {
    in_child(&[("CLOZE_EMULATED_DEVICES", "2")], || {
        let host = host_context(1);
        let same = |call: &str| assert_eq!(current_context(), host, "after {call}");
        let gpu = gpu(DType::Bf16).unwrap();
        same("new");
        let mut buffer = gpu.upload(&values(1, 128)).unwrap();
        same("upload");
        gpu.clear(&mut buffer).unwrap();
        same("clear");
        gpu.download(&buffer, &mut [0.0; 128]).unwrap();
        same("download");
        gpu.indices(&[1, 2, 3]).unwrap();
        same("indices");
        gpu.memory().unwrap();
        same("memory");
        launch(&gpu, "barrier_kept", &values(1, 128)).unwrap();
        same("launch");
        launch(&gpu, "nothing", &values(1, 128)).unwrap_err();
        same("a launch that fails");
        gpu.enter(|| assert_ne!(current_context(), host));
        same("enter");
        let twice = || gpu.upload(&[1.0]);
        drop(gpu.repeated(&[1], twice, |buffer| duplicate(&gpu, buffer)));
        same("repeated");
        gpu.synchronize().unwrap();
        same("synchronize");
        drop((buffer, gpu));
        same("drop");
    });
}

/// A copy in memory of its own.
fn duplicate(gpu: &Cuda, buffer: &CudaBuffer<f32>) -> Result<CudaBuffer<f32>> {
    let mut copy = gpu.alloc::<f32>(buffer.len())?;
    gpu.copy(buffer, &mut copy, buffer.len())?;
    Ok(copy)
}

#[test]
fn memory_is_used_again() {
    in_child(&[("CLOZE_CUDA_EXACT", "0")], || {
        let gpu = gpu(DType::F32).unwrap();
        let first = gpu.alloc::<f32>(1000).unwrap().pointer();
        let second = gpu.alloc::<f32>(990).unwrap();
        assert_eq!((second.pointer(), counts().blocks), (first, 1));
        let more = gpu.alloc::<f32>(1000).unwrap();
        assert_ne!(more.pointer(), first);
        assert_eq!(counts().blocks, 2);
        // much larger blocks are not broken up
        drop(gpu.alloc::<f32>(1 << 20).unwrap());
        drop(gpu.alloc::<f32>(1).unwrap());
        assert_eq!(counts().blocks, 4);
        drop((second, more));
        assert_eq!(counts().blocks, 4);
        drop(gpu);
        assert_eq!((counts().blocks, counts().bytes), (0, 0), "nothing is left behind");
    });
}

#[test]
fn memory_of_exact_size() {
    in_child(&[], || {
        let gpu = gpu(DType::F32).unwrap();
        let buffer = gpu.alloc::<f32>(3).unwrap();
        assert_eq!((counts().blocks, counts().bytes), (1, 12));
        drop(buffer);
        assert_eq!(counts().blocks, 0);
    });
}

#[test]
fn numbers_to_the_device_and_back() {
    each(|gpu| {
        let numbers = values(3, 1001);
        let mut out = vec![0.0; 1001];
        gpu.download(&gpu.upload(&numbers).unwrap(), &mut out).unwrap();
        assert_eq!(out, numbers);
        let mut hidden = gpu.upload_activations(&numbers).unwrap();
        assert_eq!((hidden.len(), hidden.dtype()), (1001, gpu.working()));
        gpu.download_activations(&hidden, &mut out).unwrap();
        assert_eq!(out, rounded(gpu.working(), &numbers));
        let mut other = gpu.alloc::<Working>(1001).unwrap();
        gpu.copy(&hidden, &mut other, 7).unwrap();
        gpu.download_activations(&other, &mut out[..7]).unwrap();
        assert_eq!(out[..7], rounded(gpu.working(), &numbers[..7]));
        gpu.clear(&mut hidden).unwrap();
        gpu.download_activations(&hidden, &mut out).unwrap();
        assert!(out.iter().all(|&value| value == 0.0));
        // nothing of nothing
        gpu.download(&gpu.upload::<f32>(&[]).unwrap(), &mut []).unwrap();
        assert!(gpu.alloc::<f32>(0).unwrap().is_empty());
        // more than there is
        assert!(gpu.download_activations(&hidden, &mut vec![0.0; 1002]).is_err());
        assert!(gpu.copy(&hidden, &mut other, 1002).is_err());
    });
}

#[test]
fn indices_are_kept() {
    let Some(gpu) = gpu(DType::F32) else { return };
    let first = gpu.indices(&[5, 6, 7]).unwrap();
    assert!(Arc::ptr_eq(&first, &gpu.indices(&[5, 6, 7]).unwrap()));
    let other = gpu.indices(&[5, 6, 8]).unwrap();
    assert_ne!(other.pointer(), first.pointer());
    assert_eq!((other.len(), other.is_empty()), (3, false));
    assert!(gpu.indices(&[]).unwrap().is_empty());
    for i in 0..100 {
        gpu.indices(&[i]).unwrap();
    }
    assert!(!Arc::ptr_eq(&first, &gpu.indices(&[5, 6, 7]).unwrap()), "kept for ever");
    assert!(gpu.indices(&[1 << 32]).is_err());
}

#[test]
fn converted_numbers_are_forgotten() {
    let Some(gpu) = gpu(DType::Bf16) else { return };
    let mut buffer = gpu.upload(&values(1, 64)).unwrap();
    let conversions = Cell::new(0);
    let convert = |_, _| {
        conversions.set(conversions.get() + 1);
        Ok(())
    };
    assert_eq!(buffer.pointer_as(DType::F32, convert).unwrap(), buffer.pointer());
    assert_eq!(conversions.get(), 0);
    let first = buffer.pointer_as(DType::Bf16, convert).unwrap();
    assert_eq!(buffer.pointer_as(DType::Bf16, convert).unwrap(), first);
    assert_eq!(conversions.get(), 1);
    assert!(buffer.pointer_as(DType::F16, convert).is_err(), "two other types");
    buffer.pointer_mut();
    buffer.pointer_as(DType::Bf16, convert).unwrap();
    assert_eq!(conversions.get(), 2);
    gpu.clear(&mut buffer).unwrap();
    buffer.pointer_as(DType::Bf16, convert).unwrap();
    assert_eq!(conversions.get(), 3);
    let other = gpu.upload(&values(2, 64)).unwrap();
    gpu.copy(&other, &mut buffer, 64).unwrap();
    buffer.pointer_as(DType::Bf16, convert).unwrap();
    assert_eq!(conversions.get(), 4);
}

#[test]
fn cancelled_calls() {
    let Some(gpu) = gpu(DType::F32).filter(|_| !real()) else { return };
    let cancel = Cancel::new();
    let call = gpu.cancelled_by(Some(&cancel));
    launch(&call, "barrier_kept", &values(1, 128)).unwrap();
    cancel.set();
    says(&launch(&call, "barrier_kept", &values(1, 128)).unwrap_err(), Status::Cancelled, &[]);
    // other calls go on
    launch(&gpu, "barrier_kept", &values(1, 128)).unwrap();
}

/// Work in the same shapes: run, then recorded and replayed, with other indices each time.
#[test]
fn graphs() {
    let Some(gpu) = gpu(DType::F32).filter(|_| !real()) else { return };
    let weights = gpu.upload(&values(1, 128)).unwrap();
    let others = gpu.upload(&values(2, 128)).unwrap();
    let runs = Cell::new(0);
    let pass = |weights: &CudaBuffer<f32>, first: usize| -> Vec<f32> {
        let indices: Vec<usize> = (first..first + 128).collect();
        let work = || {
            runs.set(runs.get() + 1);
            let indices = gpu.indices(&indices)?;
            let (mut between, mut sums) = (gpu.alloc::<f32>(128)?, gpu.alloc::<f32>(256)?);
            gpu.clear(&mut sums)?;
            // bits of integers, which are tiny numbers
            let args = Args::new().indices(&indices).write(&mut between).u32(128);
            let grid = Grid::line(1, 128).with_shared(512);
            // SAFETY: the kernel's parameters; both memories have 128 numbers.
            unsafe { gpu.launch(&Kernel::new(family(), "barrier_kept"), grid, args)? };
            let args = Args::new().read(weights).write(&mut sums).u32(128);
            // SAFETY: as above.
            unsafe { gpu.launch(&Kernel::new(family(), "sums"), Grid::line(1, 128), args)? };
            let mut both = gpu.alloc::<f32>(128)?;
            gpu.copy(&between, &mut both, 64)?;
            Ok((both, sums))
        };
        let keep = |(both, sums): &(_, _)| Ok((duplicate(&gpu, both)?, duplicate(&gpu, sums)?));
        let (both, sums) = gpu.repeated(&[128, 7], work, keep).unwrap();
        let (mut head, mut tail) = (vec![0.0; 64], vec![0.0; 128]);
        gpu.download(&both, &mut head).unwrap();
        gpu.download(&sums, &mut tail).unwrap();
        assert!(head.iter().map(|value| value.to_bits() as usize).eq((first + 64..first + 128).rev()));
        tail
    };
    let expected = pass(&weights, 1000);
    for first in [2000, 3000, 4000] {
        assert_eq!(pass(&weights, first), expected);
    }
    // once plainly, once to record and once to replay, then a replay each
    assert_eq!(runs.get(), 5);
    // other weights are no replay
    let changed = pass(&others, 5000);
    assert_ne!(changed, expected);
    assert_eq!(pass(&weights, 6000), expected);
    assert_eq!(pass(&others, 7000), changed);
}

/// Work that cannot be recorded is done all the same.
#[test]
fn work_that_waits_is_no_graph() {
    let Some(gpu) = gpu(DType::F32) else { return };
    for i in 0..4 {
        let number = i as f32;
        let work = || {
            let buffer = gpu.upload(&[number; 10])?;
            let mut out = [0.0; 10];
            gpu.download(&buffer, &mut out)?;
            Ok(out)
        };
        assert_eq!(gpu.repeated(&[99], work, |out| Ok(*out)).unwrap(), [number; 10]);
    }
}

/// Threads of the host share a device.
#[test]
fn many_threads() {
    let Some(gpu) = gpu(DType::F32).filter(|_| !real()) else { return };
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let gpu = &gpu;
            scope.spawn(move || {
                let input = values(seed, 128);
                let backwards: Vec<f32> = input.iter().rev().copied().collect();
                for _ in 0..20 {
                    assert_eq!(launch(gpu, "barrier_kept", &input).unwrap(), backwards);
                }
            });
        }
    });
}
