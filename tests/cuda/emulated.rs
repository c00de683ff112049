//! The emulated GPU: `tests/cuda/emulation` and `kernels`, compiled as C++ into a `libcuda.so.1`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use libloading::{Library, Symbol};

use crate::ptx::build::{Ptx, Sources, families, hash};
use crate::{oracle, repository};

/// Where checks are made at each access; see `emulation/watch.cpp`.
const WATCHED: [&str; 2] =
    ["-fsanitize=thread", "-fsanitize=alignment,bounds,shift,integer-divide-by-zero,float-cast-overflow"];

/// Of everything. Warnings are for those who write C++, not for those who run tests.
const COMMON: [&str; 5] = ["-std=c++17", "-g", "-fPIC", "-fvisibility=hidden", "-w"];

/// Of kernels: their numbers do not depend on the compiler, and they look at memory as they like.
const KERNELS: [&str; 5] = ["-O1", "-DCLOZE_EMULATED", "-fno-strict-aliasing", "-ffp-contract=off", "-fno-exceptions"];

/// Kernels of the tests themselves.
pub const BUGS: &str = "bugs";

/// The kernels of `tests/cuda/emulation/bugs.cu`.
pub fn bugs() -> Vec<String> {
    let text = fs::read_to_string(repository().join("tests/cuda/emulation/bugs.cu")).unwrap();
    let names = text.lines().filter_map(|line| line.strip_prefix("TRIAL("));
    names.filter_map(|line| line.split(')').next()).map(str::to_owned).collect()
}

/// One call of the compiler.
struct Unit {
    name: String,
    text: String,
    flags: Vec<String>,
    hash: String,
}

fn compiler() -> String {
    std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned())
}

/// The library, compiled where it is not there yet; `None`, and loudly, without a C++ compiler.
pub fn library() -> Option<&'static Path> {
    static LIBRARY: OnceLock<Result<Option<PathBuf>, String>> = OnceLock::new();
    match LIBRARY.get_or_init(find) {
        Ok(found) => found.as_deref(),
        Err(why) => panic!("the emulated GPU does not compile:\n{why}"),
    }
}

fn find() -> Result<Option<PathBuf>, String> {
    let version = Command::new(compiler()).arg("--version").output().ok().filter(|output| output.status.success());
    let Some(version) = version else {
        oracle::absent("c++", &format!("{} cannot be started: no GPU is emulated", compiler()));
        return Ok(None);
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulated");
    fs::create_dir_all(&folder).unwrap();
    // One process compiles, the others wait and find it done.
    let lock = fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let units = units(&version);
    let all: Vec<&str> = units.iter().map(|unit| unit.hash.as_str()).collect();
    let library = folder.join(hash(&all)).join("libcuda.so.1");
    if !library.exists() {
        compile(&folder, &units)?;
        link(&folder, &units, &library)?;
    }
    Ok(Some(library))
}

fn units(version: &str) -> Vec<Unit> {
    let emulation = repository().join("tests/cuda/emulation");
    let read = |path: &Path| fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let headers =
        ["emulation.h", "inside.h", "machine.h", "block.h", "switch.h"].map(|name| read(&emulation.join(name)));
    let plain = std::env::var("CLOZE_EMULATION").is_ok_and(|value| value == "plain");
    let mut common: Vec<String> = COMMON.map(str::to_owned).into();
    common.extend(["tests/cuda/emulation", "kernels"].map(|name| format!("-I{}", repository().join(name).display())));
    common.extend((!plain).then(|| "-DCLOZE_WATCHED".to_owned()));
    let unit = |name: &str, text: String, flags: Vec<String>, sources: Vec<String>| {
        let parts =
            [version, &text].into_iter().chain(headers.iter().chain(&flags).chain(&sources).map(String::as_str));
        let hash = hash(&parts.collect::<Vec<_>>());
        Unit { name: name.to_owned(), text, flags, hash }
    };
    let mut units: Vec<Unit> = ["machine", "warp", "memory", "watch", "driver"]
        .map(|name| {
            let path = emulation.join(format!("{name}.cpp"));
            let flags = common.iter().cloned().chain(["-O2".to_owned()]).collect();
            unit(name, format!("#include \"{}\"\n", path.display()), flags, vec![read(&path)])
        })
        .into();
    let flags: Vec<String> = common.iter().cloned().chain(KERNELS.map(str::to_owned)).collect();
    let flags: Vec<String> =
        flags.into_iter().chain(WATCHED.iter().filter(|_| !plain).map(|&s| s.to_owned())).collect();
    // A file, with device.cuh, in a namespace without a name: what two families call the same stays two things.
    let entered = |family: &str, entries: &[String]| {
        let enter: String = entries.iter().map(|name| format!("ENTER({name})\n")).collect();
        let outside = "#include <cmath>\n#include <cstring>\n#include \"inside.h\"\n";
        format!("{outside}namespace {{\n#include \"{family}.cu\"\n}}\n{enter}")
    };
    let kernels = repository().join("kernels");
    for family in families(&kernels).unwrap() {
        let Ok(file) = fs::read_to_string(kernels.join(format!("ptx/{family}.ptx"))) else { continue };
        let Some(ptx) = Ptx::parse(&file) else { continue };
        let entries: Vec<String> = ptx.entries().into_iter().map(str::to_owned).collect();
        let sources = Sources::read(&kernels, &family).unwrap().files.into_iter().map(|(_, text)| text).collect();
        units.push(unit(&family, entered(&family, &entries), flags.clone(), sources));
    }
    let sources = vec![read(&emulation.join("bugs.cu")), read(&kernels.join("device.cuh"))];
    units.push(unit(BUGS, entered(BUGS, &bugs()), flags, sources));
    units
}

fn object(folder: &Path, unit: &Unit) -> PathBuf {
    folder.join(format!("{}-{}.o", unit.name, unit.hash))
}

fn compile(folder: &Path, units: &[Unit]) -> Result<(), String> {
    let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let work = || {
        while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
            let object = object(folder, unit);
            if object.exists() {
                continue;
            }
            let (source, fresh) = (folder.join(format!("{}.cpp", unit.name)), object.with_extension("new"));
            fs::write(&source, &unit.text).unwrap();
            let output =
                Command::new(compiler()).args(&unit.flags).arg("-c").arg(&source).arg("-o").arg(&fresh).output();
            let output = output.unwrap();
            if output.status.success() {
                fs::rename(fresh, object).unwrap();
            } else {
                failures.lock().unwrap().push(String::from_utf8_lossy(&output.stderr).into_owned());
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failures = failures.into_inner().unwrap();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

fn link(folder: &Path, units: &[Unit], library: &Path) -> Result<(), String> {
    let place = library.parent().unwrap();
    fs::create_dir_all(place).unwrap();
    let fresh = place.join("new");
    let output = Command::new(compiler())
        .args(["-shared", "-Wl,-soname,libcuda.so.1", "-Wl,--no-undefined", "-o"])
        .arg(&fresh)
        .args(units.iter().map(|unit| object(folder, unit)))
        .args(["-ldl", "-lpthread"])
        .output()
        .unwrap();
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    fs::rename(fresh, library).unwrap();
    // What other sources made is of no use any more, but other processes may be about to open it.
    let old = |path: &Path| path.metadata().and_then(|data| data.modified()).ok()?.elapsed().ok();
    for entry in fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
        let current = entry == place || units.iter().any(|unit| entry == object(folder, unit));
        if !current && old(&entry).is_some_and(|age| age.as_secs() > 24 * 3600) {
            let _ = if entry.is_dir() { fs::remove_dir_all(&entry) } else { fs::remove_file(&entry) };
        }
    }
    Ok(())
}

/// A function of the emulation that no driver has.
///
/// # Safety
/// `F` is its type.
unsafe fn function<F>(name: &str) -> Option<Symbol<'static, F>> {
    static OPENED: OnceLock<Option<Library>> = OnceLock::new();
    // SAFETY: the library's initialisers do nothing but list kernels.
    let opened = OPENED.get_or_init(|| library().map(|path| unsafe { Library::new(path) }.unwrap()));
    // SAFETY: the caller's promise.
    Some(unsafe { opened.as_ref()?.get(name.as_bytes()) }.unwrap())
}

/// Sets in which order the threads of this OS thread's launches run; 0 is the usual one. Nothing on a real GPU.
pub fn schedule(seed: u64) {
    if !super::harness::real() {
        // SAFETY: the type it has in driver.cpp.
        let set = unsafe { function::<unsafe extern "C" fn(u64) -> i32>("cloze_emulation_seed") };
        // SAFETY: it only stores the number.
        set.map(|set| unsafe { set(seed) });
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Counts {
    /// Kernels that this OS thread has launched.
    pub launches: u64,
    /// Matrices of 8 rows that they loaded from shared memory.
    pub matrices: u64,
    /// Cycles that bank conflicts cost them there.
    pub conflicts: u64,
    /// Live allocations of the process.
    pub blocks: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// The counts so far; zeros on a real GPU.
pub fn counts() -> Counts {
    let mut counts = Counts::default();
    if !super::harness::real() {
        // SAFETY: the type it has in driver.cpp, where it fills five numbers.
        let get = unsafe { function::<unsafe extern "C" fn(*mut Counts) -> i32>("cloze_emulation_counts") };
        // SAFETY: the pointer is to five live numbers.
        get.map(|get| unsafe { get(&raw mut counts) });
    }
    counts
}

/// An f32 as the emulated device makes an f16 of it, and back.
pub fn through_f16(x: f32) -> Option<(u16, f32)> {
    // SAFETY: the types they have in driver.cpp.
    let (to, from) = unsafe {
        let to = function::<unsafe extern "C" fn(f32) -> u16>("cloze_emulation_to_f16")?;
        (to, function::<unsafe extern "C" fn(u16) -> f32>("cloze_emulation_from_f16")?)
    };
    // SAFETY: both only compute.
    unsafe { Some((to(x), from(to(x)))) }
}

/// The context that is current on this OS thread, as a number.
pub fn current_context() -> usize {
    let mut context = 0;
    // SAFETY: the type it has in driver.cpp.
    let get = unsafe { function::<unsafe extern "C" fn(*mut usize) -> i32>("cuCtxGetCurrent") };
    // SAFETY: the pointer is to a live number of a pointer's size.
    get.map(|get| unsafe { get(&raw mut context) });
    context
}

/// Makes the context of a device current, as a host application does.
pub fn host_context(device: i32) -> usize {
    type Retain = unsafe extern "C" fn(*mut usize, i32) -> i32;
    let mut context = 0;
    // SAFETY: the types they have in driver.cpp; the pointer is to a live number of a pointer's size.
    unsafe {
        function::<unsafe extern "C" fn(u32) -> i32>("cuInit").unwrap()(0);
        function::<Retain>("cuDevicePrimaryCtxRetain").unwrap()(&raw mut context, device);
        function::<unsafe extern "C" fn(usize) -> i32>("cuCtxPushCurrent_v2").unwrap()(context);
    }
    context
}
