//! Compiles `kernels/*.cu` to `kernels/ptx/*.ptx`, the same bytes on every machine: `kernels/build.sh` runs it.
//!
//! A PTX file starts with what it was made from: a hash of its sources and of its own text, the compiler with its
//! options, and what every kernel takes of a processor. `tests/cuda/ptx.rs`, which includes this file, compares.

#[cfg(not(test))] // the program alone, not the tests that include this file
mod heap;

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// The compiler whose PTX the oldest supported driver takes: PTX ISA 8.0.
const COMPILER: (c_int, c_int) = (12, 0);

/// The lowest architecture, which every newer device compiles for itself.
const OPTIONS: [&str; 3] = ["--gpu-architecture=compute_80", "--std=c++17", "--device-as-default-execution-space"];

/// Architectures whose resources are told.
const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90"];

/// 128-bit FNV-1a.
pub fn hash(parts: &[&str]) -> String {
    let mut hash = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    for part in parts {
        for byte in part.bytes().chain([0xff]) {
            hash = (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
    format!("{hash:032x}")
}

/// A file of kernels, and the files that it includes: name and text.
pub struct Sources {
    pub family: String,
    pub files: Vec<(String, String)>,
}

impl Sources {
    /// Of `kernels/<family>.cu`.
    pub fn read(kernels: &Path, family: &str) -> Result<Self, String> {
        let (mut files, mut known) = (Vec::new(), BTreeSet::new());
        let mut wanted = vec![format!("{family}.cu")];
        while let Some(name) = wanted.pop() {
            if !known.insert(name.clone()) {
                continue;
            }
            let text = std::fs::read_to_string(kernels.join(&name)).map_err(|e| format!("kernels/{name}: {e}"))?;
            let included = |line: &str| {
                let name = line.trim().strip_prefix("#include \"")?.strip_suffix('"')?;
                // the CPU's half, which is in tests/cuda
                (name != "emulation.h").then(|| name.to_owned())
            };
            wanted.extend(text.lines().filter_map(included));
            files.push((name, text));
        }
        files[1..].sort();
        Ok(Self { family: family.to_owned(), files })
    }

    /// A hash of the sources, the compiler and its options.
    pub fn hash(&self) -> String {
        let compiler = format!("{}.{} {}", COMPILER.0, COMPILER.1, OPTIONS.join(" "));
        let files = self.files.iter().flat_map(|(name, text)| [name.as_str(), text.as_str()]);
        hash(&std::iter::once(compiler.as_str()).chain(files).collect::<Vec<_>>())
    }
}

/// The names of all files of kernels, without `.cu`.
pub fn families(kernels: &Path) -> Result<Vec<String>, String> {
    let entries = std::fs::read_dir(kernels).map_err(|e| format!("{}: {e}", kernels.display()))?;
    let names = entries.flatten().map(|entry| PathBuf::from(entry.file_name()));
    let cu = names.filter(|name| name.extension().is_some_and(|extension| extension == "cu"));
    let mut families: Vec<String> = cu.filter_map(|name| Some(name.file_stem()?.to_str()?.to_owned())).collect();
    families.sort();
    Ok(families)
}

/// A PTX file: what it says of itself, and its text.
pub struct Ptx<'a> {
    pub sources: &'a str,
    pub own: &'a str,
    pub text: &'a str,
    /// Lines of resources.
    pub resources: Vec<&'a str>,
}

impl<'a> Ptx<'a> {
    pub fn parse(file: &'a str) -> Option<Self> {
        let text = &file[file.find("\n.version ")? + 1..];
        let field = |name: &str| file.lines().find_map(|line| line.strip_prefix("// ")?.strip_prefix(name));
        let resources = file.lines().take_while(|line| line.starts_with("//"));
        let resources = resources.filter(|line| ARCHITECTURES.iter().any(|name| line.contains(name))).collect();
        Some(Self { sources: field("sources ")?, own: field("text ")?, text, resources })
    }

    /// The kernels, by name.
    pub fn entries(&self) -> Vec<&'a str> {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix(".visible .entry "));
        lines.filter_map(|line| line.split('(').next()).map(str::trim).collect()
    }
}

/// PTX without comments, empty lines and debugging information.
fn stripped(ptx: &str) -> String {
    let lines = ptx.lines().map(|line| line.split("//").next().unwrap_or("").trim_end());
    let mut text = String::with_capacity(ptx.len());
    lines.filter(|line| !line.is_empty()).for_each(|line| {
        text.push_str(line);
        text.push('\n');
    });
    text
}

/// The whole of a PTX file, from its stripped text.
pub fn file(sources: &Sources, text: &str, resources: &str) -> String {
    let (from, own, options) = (sources.hash(), hash(&[text]), OPTIONS.join(" "));
    let (major, minor) = COMPILER;
    let made = "Made by kernels/build.sh; registers and bytes spilled of every kernel follow.";
    format!("// {made}\n// sources {from}\n// text {own}\n// NVRTC {major}.{minor} {options}\n{resources}{text}")
}

unsafe extern "C" {
    fn dlopen(path: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}

/// NVRTC, the compiler as a library.
struct Compiler {
    library: *mut c_void,
}

type Program = *mut c_void;

impl Compiler {
    /// Opens the library, which has its `libnvrtc-builtins` beside it.
    fn open(path: &Path) -> Result<Self, String> {
        #[cfg(not(test))]
        heap::occupy()?;
        #[cfg(not(test))]
        heap::begin();
        let compiler = Self { library: open(path)? };
        let folder = path.parent().ok_or("a library without a folder")?;
        let entries = std::fs::read_dir(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with("libnvrtc-builtins.so") {
                open(&entry.path())?;
            }
        }
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the function has this type in every version of NVRTC; the pointers are to live integers.
        unsafe {
            let version: unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int = compiler.function("nvrtcVersion")?;
            version(&raw mut major, &raw mut minor);
        }
        if (major, minor) != COMPILER {
            return Err(format!("NVRTC {major}.{minor}, need {}.{}", COMPILER.0, COMPILER.1));
        }
        Ok(compiler)
    }

    /// # Safety
    /// `F` is the type of the function with this name.
    unsafe fn function<F: Copy>(&self, name: &str) -> Result<F, String> {
        let symbol = CString::new(name).map_err(|e| e.to_string())?;
        // SAFETY: the library is open and stays so; the name ends in a zero byte.
        let found = unsafe { dlsym(self.library, symbol.as_ptr()) };
        if found.is_null() || size_of::<F>() != size_of::<*mut c_void>() {
            return Err(format!("NVRTC without {name}"));
        }
        // SAFETY: the caller's promise, and the sizes are the same.
        Ok(unsafe { std::mem::transmute_copy(&found) })
    }

    /// The stripped PTX of a family, or what the compiler says against it. The first of a process is the same in all.
    fn compile(&self, sources: &Sources) -> Result<String, String> {
        type Create = unsafe extern "C" fn(
            *mut Program,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> c_int;
        type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
        type Destroy = unsafe extern "C" fn(*mut Program) -> c_int;
        let c = |text: &str| CString::new(text).map_err(|e| e.to_string());
        let names = sources.files.iter().map(|(name, _)| c(name)).collect::<Result<Vec<_>, _>>()?;
        let texts = sources.files.iter().map(|(_, text)| c(text)).collect::<Result<Vec<_>, _>>()?;
        let options = OPTIONS.iter().map(|option| c(option)).collect::<Result<Vec<_>, _>>()?;
        let pointers = |of: &[CString]| of.iter().map(|text| text.as_ptr()).collect::<Vec<_>>();
        let (name, text, option) = (pointers(&names), pointers(&texts), pointers(&options));
        let mut program = std::ptr::null_mut();
        // SAFETY: the functions have these types; all strings end in a zero byte and outlive the calls; counts are
        // those of the arrays.
        unsafe {
            let create: Create = self.function("nvrtcCreateProgram")?;
            let compile: Compile = self.function("nvrtcCompileProgram")?;
            let destroy: Destroy = self.function("nvrtcDestroyProgram")?;
            let headers = (text.len() - 1) as c_int;
            #[cfg(not(test))]
            heap::begin();
            create(&raw mut program, text[0], name[0], headers, text[1..].as_ptr(), name[1..].as_ptr());
            let outcome = compile(program, option.len() as c_int, option.as_ptr());
            let log = self.text(program, "nvrtcGetProgramLogSize", "nvrtcGetProgramLog")?;
            let result = if outcome == 0 {
                self.text(program, "nvrtcGetPTXSize", "nvrtcGetPTX").map(|ptx| stripped(&ptx))
            } else {
                Err(String::new())
            };
            destroy(&raw mut program);
            if log.trim().is_empty() { result } else { Err(log) }
        }
    }

    /// # Safety
    /// `program` is one of this library's, and the functions tell a size and fill as many bytes.
    unsafe fn text(&self, program: Program, size: &str, get: &str) -> Result<String, String> {
        let mut bytes = 0usize;
        // SAFETY: the caller's promise.
        unsafe {
            let size: unsafe extern "C" fn(Program, *mut usize) -> c_int = self.function(size)?;
            let get: unsafe extern "C" fn(Program, *mut c_char) -> c_int = self.function(get)?;
            size(program, &raw mut bytes);
            let mut text = vec![0u8; bytes + 1];
            get(program, text.as_mut_ptr().cast());
            Ok(CStr::from_ptr(text.as_ptr().cast()).to_string_lossy().into_owned())
        }
    }
}

fn open(path: &Path) -> Result<*mut c_void, String> {
    const NOW_AND_FOR_ALL: c_int = 0x102;
    let name = CString::new(path.to_string_lossy().as_bytes()).map_err(|e| e.to_string())?;
    // SAFETY: the path ends in a zero byte; the library's initialisers are trusted as the compiler is.
    let library = unsafe { dlopen(name.as_ptr(), NOW_AND_FOR_ALL) };
    if library.is_null() {
        // SAFETY: after a failure there is a message, which ends in a zero byte.
        let why = unsafe { CStr::from_ptr(dlerror()) };
        return Err(why.to_string_lossy().into_owned());
    }
    Ok(library)
}

/// A line for every kernel and architecture, from what `ptxas -v` says.
fn resources(ptxas: &Path, ptx: &Path) -> Result<String, String> {
    let mut lines = String::new();
    for architecture in ARCHITECTURES {
        let output = Command::new(ptxas)
            .args(["-v", "-arch", architecture, "-o", "/dev/null"])
            .arg(ptx)
            .output()
            .map_err(|e| format!("{}: {e}", ptxas.display()))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!("ptxas {architecture}:\n{said}"));
        }
        let before = |line: &str, mark: &str| -> Option<String> {
            Some(line.split(mark).next().filter(|start| start.len() < line.len())?.split(' ').next_back()?.to_owned())
        };
        let (mut kernels, mut name, mut spilled) = (Vec::new(), String::new(), String::new());
        for line in said.lines() {
            if let Some(start) = line.split("Compiling entry function '").nth(1) {
                start.split('\'').next().unwrap_or("").clone_into(&mut name);
            } else if let Some(bytes) = before(line, " bytes spill stores") {
                spilled = bytes;
            } else if let Some(registers) = before(line, " registers") {
                if line.contains(" smem") {
                    return Err(format!("{name}: shared memory that is not dynamic"));
                }
                kernels.push((name.clone(), registers, spilled.clone()));
            }
        }
        kernels.sort();
        for (name, registers, spilled) in kernels {
            let _ = writeln!(lines, "// {architecture} {name} {registers} {spilled}");
        }
    }
    Ok(lines)
}

fn main() -> ExitCode {
    match build(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

const USAGE: &str = "usage: build KERNELS LIBNVRTC PTXAS|--check [FAMILY …]";

/// Builds each family in a process of its own, which is this program with that family alone.
fn build(arguments: &[String]) -> Result<(), String> {
    let [kernels, nvrtc, ptxas, wanted @ ..] = arguments else { return Err(USAGE.to_owned()) };
    if let [family] = wanted {
        return build_family(Path::new(kernels), Path::new(nvrtc), ptxas, family);
    }
    let program = std::env::current_exe().map_err(|e| e.to_string())?;
    let all = families(Path::new(kernels))?;
    let chosen: Vec<&String> = all.iter().filter(|family| wanted.is_empty() || wanted.contains(family)).collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(family) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let status = Command::new(&program).args([kernels, nvrtc, ptxas, family]).status();
                    if !status.is_ok_and(|status| status.success()) {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(family.as_str());
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if failed.is_empty() { Ok(()) } else { Err(format!("not built: {}", failed.join(", "))) }
}

fn build_family(kernels: &Path, nvrtc: &Path, ptxas: &str, family: &str) -> Result<(), String> {
    let sources = Sources::read(kernels, family)?;
    let text = Compiler::open(nvrtc)?.compile(&sources).map_err(|e| format!("{family}:\n{e}"))?;
    let folder = kernels.join("ptx");
    let path = folder.join(format!("{family}.ptx"));
    if ptxas == "--check" {
        let known = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let same = Ptx::parse(&known).is_some_and(|known| known.text == text && known.sources == sources.hash());
        return if same { Ok(()) } else { Err(format!("{family}.ptx is not what is compiled")) };
    }
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let write = |content: &str| std::fs::write(&path, content).map_err(|e| format!("{}: {e}", path.display()));
    write(&text)?;
    let resources = resources(Path::new(ptxas), &path)?;
    write(&file(&sources, &text, &resources))?;
    let lines: String = resources.lines().map(|line| format!("  {}\n", line.trim_start_matches("// "))).collect();
    print!("{family}: {} bytes\n{lines}", text.len());
    Ok(())
}
