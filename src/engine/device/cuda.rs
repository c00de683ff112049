//! CUDA devices as the engine sees them.

use super::{DeviceChoice, DeviceDescription, Devices, On, Place, Placeable, Precision};
use crate::device::cuda::DeviceInfo;
use crate::device::{Cuda, cuda};
use crate::dtype::DType;
use crate::error::{Error, Result, Status};
use crate::pool::Cancel;

/// What hidden states are kept in unless something else is asked for.
const USUAL: Precision = Precision::Bf16;

/// The device of a number.
pub fn open(ordinal: usize, precision: Precision) -> Result<On<Devices>> {
    let id = DeviceChoice::Cuda(ordinal);
    working(precision).and_then(|working| Cuda::new(ordinal, working)).map(On::Cuda).map_err(|error| error.within(id))
}

/// What hidden states are kept in.
fn working(precision: Precision) -> Result<DType> {
    match precision {
        Precision::F32 => Ok(DType::F32),
        Precision::Auto | Precision::Bf16 => Ok(DType::Bf16),
        Precision::F16 => Ok(DType::F16),
        Precision::Int8 => Err(Error::unsupported("precision int8, expected auto, f32, bf16 or f16")),
    }
}

/// The first that can be used, or why none can.
pub fn first(precision: Precision) -> Result<On<Devices>> {
    let mut reasons = Vec::new();
    for found in all()? {
        match open(found.ordinal, precision) {
            Ok(device) => return Ok(device),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(Error::new(Status::NoDevice, reasons.join("; ")))
}

/// How many there are; one stands for none.
pub fn count() -> usize {
    all().map_or(1, |found| found.len())
}

/// The device of a number, or in place of the first why there is none.
pub fn describe(ordinal: usize) -> Option<DeviceDescription> {
    let info = match all() {
        Ok(found) => found.into_iter().nth(ordinal)?,
        Err(error) => return (ordinal == 0).then(|| DeviceDescription::unusable("cuda", USUAL, &error)),
    };
    Some(match working(USUAL).and_then(|working| Cuda::new(ordinal, working)) {
        Ok(device) => device.describe(),
        Err(error) => DeviceDescription { unusable: Some(error.to_string()), ..described(&info, USUAL) },
    })
}

/// Without its free memory.
fn described(info: &DeviceInfo, precision: Precision) -> DeviceDescription {
    let known = DeviceDescription::new(DeviceChoice::Cuda(info.ordinal), &info.name, precision);
    DeviceDescription { capability: Some(info.capability), memory: info.memory, ..known }
}

/// All of them; `NoDevice`, and why, where there are none.
fn all() -> Result<Vec<DeviceInfo>> {
    match cuda::devices()? {
        found if found.is_empty() => Err(Error::new(Status::NoDevice, "the CUDA driver has no devices")),
        found => Ok(found),
    }
}

impl Place for Cuda {
    fn place<K: Placeable>(placed: K::On<Self>) -> On<K> {
        On::Cuda(placed)
    }

    fn cancelled_by(&self, cancel: Option<&Cancel>) -> Self {
        self.cancelled_by(cancel)
    }

    fn check_cancel(&self) -> Result<()> {
        self.check_cancel()
    }

    fn describe(&self) -> DeviceDescription {
        let precision = match self.working() {
            DType::F32 => Precision::F32,
            DType::Bf16 => Precision::Bf16,
            DType::F16 => Precision::F16,
        };
        let free_memory = self.memory().map_or(0, |(free, _)| free);
        DeviceDescription { free_memory, ..described(self.info(), precision) }
    }

    /// All that is free but a twentieth, for what other users of the device do meanwhile.
    fn training_memory(&self) -> Result<u64> {
        if self.working() == DType::F16 {
            return Err(Error::unsupported("training in f16: gradients do not fit its range, expected bf16 or f32"));
        }
        let (free, _) = self.memory()?;
        Ok((free - free / 20).max(1))
    }
}
