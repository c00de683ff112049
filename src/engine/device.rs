//! Which device a model runs on. It is chosen when the model is opened, and told from others here alone.

#[cfg(feature = "cuda")]
mod cuda;

use std::fmt;
use std::str::FromStr;

use super::OpenOptions;
use crate::device::Cpu;
#[cfg(feature = "cuda")]
use crate::device::Cuda;
use crate::device::cpu::Arithmetic;
use crate::error::{Error, Result, Status};
use crate::ops::Ops;
use crate::pool::Cancel;
use crate::simd::Isa;

/// Which device a model is to run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeviceChoice {
    /// The first CUDA device that can be used, and the CPU where there is none.
    Auto,
    /// The CPU.
    #[default]
    Cpu,
    /// The CUDA device of this number.
    Cuda(usize),
}

impl FromStr for DeviceChoice {
    type Err = Error;

    /// `auto`, `cpu`, `cuda` (the first) or `cuda:N`.
    fn from_str(text: &str) -> Result<Self> {
        let number = |digits: &str| digits.bytes().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
        let found = match text {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            other => other.strip_prefix("cuda:").and_then(number).map(Self::Cuda),
        };
        found.ok_or_else(|| Error::argument(format!("device {text:?}, expected auto, cpu, cuda or cuda:N")))
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// What a model computes in. On a CUDA device, the type that hidden states are kept in. On the CPU these are f32, and it is
/// the products with the encoder's weights that are computed in fewer bits, with sums in f32. Parameters that train, their
/// gradients and the optimizer's moments are f32 everywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// bf16 on a CUDA device, f32 on the CPU.
    #[default]
    Auto,
    /// 32 bits.
    F32,
    /// The upper half of those.
    Bf16,
    /// IEEE 754 binary16; CUDA devices only. For answers only: gradients do not fit its range.
    F16,
    /// 8 bits; the CPU only. Every output of a weight has a scale, every row that is multiplied with it a scale and a zero
    /// point of its own.
    Int8,
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => Ok(Self::Auto),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            "int8" => Ok(Self::Int8),
            _ => Err(Error::argument(format!("precision {text:?}, expected auto, f32, bf16, f16 or int8"))),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        })
    }
}

impl From<Arithmetic> for Precision {
    fn from(arithmetic: Arithmetic) -> Self {
        match arithmetic {
            Arithmetic::F32 => Self::F32,
            Arithmetic::Bf16 => Self::Bf16,
            Arithmetic::Int8 => Self::Int8,
        }
    }
}

impl Precision {
    /// What the CPU computes in.
    fn arithmetic(self) -> Result<Arithmetic> {
        match self {
            Self::Auto | Self::F32 => Ok(Arithmetic::F32),
            Self::Bf16 => Ok(Arithmetic::Bf16),
            Self::Int8 => Ok(Arithmetic::Int8),
            Self::F16 => Err(Error::unsupported("precision f16 on the CPU, expected auto, f32, bf16 or int8")),
        }
    }
}

/// A device as users see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceDescription {
    /// What chooses it: `cpu`, `cuda:0`.
    pub id: String,
    /// What its maker calls it; of the CPU, the instruction set in use.
    pub name: String,
    /// Major and minor number of a CUDA device's architecture.
    pub capability: Option<(u32, u32)>,
    /// Bytes of memory; 0 where that is not known.
    pub memory: u64,
    /// Bytes of it that are free.
    pub free_memory: u64,
    /// A model's own, or what [`Precision::Auto`] means here.
    pub precision: Precision,
    /// Why no model can run on it.
    pub unusable: Option<String>,
}

impl DeviceDescription {
    fn new(id: impl fmt::Display, name: &str, precision: Precision) -> Self {
        let (id, name) = (id.to_string(), name.to_owned());
        Self { id, name, capability: None, memory: 0, free_memory: 0, precision, unusable: None }
    }

    fn unusable(id: &str, precision: Precision, error: &Error) -> Self {
        Self { unusable: Some(error.to_string()), ..Self::new(id, "", precision) }
    }

    fn cpu(isa: Isa, precision: Precision) -> Self {
        Self::new(DeviceChoice::Cpu, isa.name(), precision)
    }
}

/// All devices, the CPU first. Where CUDA has none to list, one entry `cuda` tells why.
pub fn devices() -> Vec<DeviceDescription> {
    (0..).map_while(device_at).collect()
}

/// How many [`devices`] are.
pub fn device_count() -> usize {
    1 + cuda::count()
}

/// The device that has place `index` among [`devices`]; no other is asked.
pub fn device_at(index: usize) -> Option<DeviceDescription> {
    match index.checked_sub(1) {
        None => Some(match Isa::detect() {
            Ok(isa) => DeviceDescription::cpu(isa, Precision::F32),
            Err(error) => DeviceDescription::unusable("cpu", Precision::F32, &error),
        }),
        Some(ordinal) => cuda::describe(ordinal),
    }
}

/// One of something on each device: a model, a trainer.
pub trait Placeable {
    /// What it is on the device `D`.
    type On<D: Place>;
}

/// Something on the device that it is on.
pub enum On<K: Placeable> {
    /// The CPU.
    Cpu(K::On<Cpu>),
    /// A CUDA device.
    #[cfg(feature = "cuda")]
    Cuda(K::On<Cuda>),
}

/// The devices themselves.
pub struct Devices;

impl Placeable for Devices {
    type On<D: Place> = D;
}

/// `on!(placed, |it| work)`: does the work with what is placed, compiled for each device.
macro_rules! on {
    ($placed:expr, |$it:ident| $work:expr) => {
        match $placed {
            $crate::engine::device::On::Cpu($it) => $work,
            #[cfg(feature = "cuda")]
            $crate::engine::device::On::Cuda($it) => $work,
        }
    };
}
pub(super) use on;

/// What the engine asks of a device beside operations.
pub trait Place: Ops {
    /// Something that is on a device of this type.
    fn place<K: Placeable>(placed: K::On<Self>) -> On<K>;

    /// The same device, for a call that stops once `cancel` is set.
    fn cancelled_by(&self, cancel: Option<&Cancel>) -> Self;

    /// An error once the call has been cancelled.
    fn check_cancel(&self) -> Result<()>;

    /// The device as users see it.
    fn describe(&self) -> DeviceDescription;

    /// Most bytes that training may take where its options name no limit; 0 for no limit.
    ///
    /// Fails with `Unsupported` where models do not train.
    fn training_memory(&self) -> Result<u64>;
}

impl Place for Cpu {
    fn place<K: Placeable>(placed: K::On<Self>) -> On<K> {
        On::Cpu(placed)
    }

    fn cancelled_by(&self, cancel: Option<&Cancel>) -> Self {
        self.cancelled_by(cancel)
    }

    fn check_cancel(&self) -> Result<()> {
        self.check_cancel()
    }

    fn describe(&self) -> DeviceDescription {
        DeviceDescription::cpu(self.isa(), self.arithmetic().into())
    }

    fn training_memory(&self) -> Result<u64> {
        Ok(0)
    }
}

/// Where a model is to be loaded.
pub struct Chosen {
    /// The device.
    pub device: On<Devices>,
    /// Threads for work on text: those of a model on the CPU.
    pub host: Cpu,
    /// Why the device is not a CUDA device though it might have been.
    pub note: Option<String>,
}

/// What `load` makes of the device that the options choose. [`DeviceChoice::Auto`] goes on to the CPU when there is no CUDA
/// device, or not room enough on it.
///
/// Fails with `NoDevice`, and the reason, where the choice is a CUDA device that cannot be used, `Unsupported` where the
/// device does not compute in the precision, and as `load` does.
pub fn choose<R>(options: &OpenOptions, load: impl Fn(Chosen) -> Result<R>) -> Result<R> {
    let host = Cpu::new(options.threads)?;
    let on_cpu = |note: Option<String>| {
        let arithmetic = options.precision.arithmetic().map_err(|error| match &note {
            Some(note) => Error::unsupported(format!("{error}; {note}")),
            None => error,
        })?;
        load(Chosen { device: On::Cpu(host.computing(arithmetic, options.memory)), host: host.clone(), note })
    };
    let on_cuda = |device| load(Chosen { device, host: host.clone(), note: None });
    match options.device {
        DeviceChoice::Cpu => on_cpu(None),
        DeviceChoice::Cuda(ordinal) => on_cuda(cuda::open(ordinal, options.precision)?),
        DeviceChoice::Auto => match cuda::first(options.precision).and_then(on_cuda) {
            Err(error) if matches!(error.status(), Status::NoDevice | Status::OutOfMemory) => {
                on_cpu(Some(error.to_string()))
            }
            done => done,
        },
    }
}

/// Stands for the CUDA devices of a library without them.
#[cfg(not(feature = "cuda"))]
mod cuda {
    use super::{DeviceChoice, DeviceDescription, Devices, Error, On, Precision, Result, Status};

    pub fn open(ordinal: usize, _: Precision) -> Result<On<Devices>> {
        Err(none().within(DeviceChoice::Cuda(ordinal)))
    }

    pub fn first(_: Precision) -> Result<On<Devices>> {
        Err(none())
    }

    pub fn count() -> usize {
        1
    }

    pub fn describe(ordinal: usize) -> Option<DeviceDescription> {
        (ordinal == 0).then(|| DeviceDescription::unusable("cuda", Precision::Bf16, &none()))
    }

    fn none() -> Error {
        Error::new(Status::NoDevice, "built without CUDA")
    }
}
