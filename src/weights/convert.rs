//! A tensor in another element type.

use std::borrow::Cow;

use super::save::Output;
use super::stored::{coordinates, values};
use crate::dtype::{DType, Storage, bf16, f16};
use crate::error::{Error, Result};

impl Output<'_> {
    /// The same tensor of numbers with every element rounded to the nearest of `dtype`, ties to even. NaN and infinities stay.
    ///
    /// Fails with `InvalidArgument`, naming tensor, element and type, on a finite number that `dtype` would make infinite.
    pub fn in_type(self, dtype: DType) -> Result<Self> {
        let Storage::Float(own) = self.storage else {
            return Err(Error::internal(format!("{:?}: integers to round to {dtype}", self.key)));
        };
        if own == dtype {
            return Ok(self);
        }
        let mut bytes = Vec::with_capacity(self.bytes.len() / own.size() * dtype.size());
        for (place, value) in values(&self.bytes, own).enumerate() {
            let rounded = match dtype {
                DType::F32 => append(&mut bytes, value.to_le_bytes(), value),
                DType::F16 => {
                    let near = f16::from_f32(value);
                    append(&mut bytes, near.to_le_bytes(), near.to_f32())
                }
                DType::Bf16 => {
                    let near = bf16::from_f32(value);
                    append(&mut bytes, near.to_le_bytes(), near.to_f32())
                }
            };
            if value.is_finite() && !rounded.is_finite() {
                let (key, index) = (&self.key, coordinates(place, &self.shape));
                return Err(Error::argument(format!(
                    "tensor {key:?}: element {index:?} is {value:e}, {dtype} holds at most {:e}",
                    greatest(dtype)
                )));
            }
        }
        Ok(Self { storage: dtype.into(), bytes: Cow::Owned(bytes), ..self })
    }
}

/// `value`, whose bytes are appended.
fn append<const N: usize>(bytes: &mut Vec<u8>, own: [u8; N], value: f32) -> f32 {
    bytes.extend_from_slice(&own);
    value
}

fn greatest(dtype: DType) -> f32 {
    match dtype {
        DType::F32 => f32::MAX,
        DType::F16 => f16::MAX.to_f32(),
        DType::Bf16 => bf16::MAX.to_f32(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::Status;
    use crate::weights::save::f32_bytes;

    fn output(values: &[f32], shape: &[usize]) -> Output<'static> {
        let bytes = Cow::Owned(f32_bytes(values).into_owned());
        Output { key: "encoder.w".into(), storage: DType::F32.into(), shape: shape.into(), bytes }
    }

    fn read(output: &Output<'_>) -> Vec<f32> {
        let Storage::Float(dtype) = output.storage else { panic!("{}", output.storage) };
        values(&output.bytes, dtype).collect()
    }

    /// 65519 is the last integer that rounds to 65504, the greatest f16; the subnormal 2^-24 is the least above zero.
    #[test]
    fn elements_round_to_the_nearest() {
        let least = 2f32.powi(-24);
        let given = [1.0 + 2f32.powi(-11), 1.0 + 3.0 * 2f32.powi(-11), 65519.0, -65504.0, least, least / 2.0, -0.0];
        let half = output(&given, &[7]).in_type(DType::F16).unwrap();
        assert_eq!(half.bytes.len(), 14);
        assert_eq!(read(&half), [1.0, 1.0 + 2f32.powi(-9), 65504.0, -65504.0, least, 0.0, -0.0]);
        assert!(read(&half)[6].is_sign_negative());
        let brain = output(&[1.0 + 2f32.powi(-8), 1.0 + 3.0 * 2f32.powi(-8), 3e38], &[3]).in_type(DType::Bf16).unwrap();
        assert_eq!(read(&brain)[..2], [1.0, 1.0 + 2f32.powi(-6)]);
        assert!((read(&brain)[2] / 3e38 - 1.0).abs() <= 2f32.powi(-8)); // half of the last place of 8 bits, and more
    }

    #[test]
    fn what_would_become_infinite_is_refused_by_name() {
        for (dtype, value, greatest) in [(DType::F16, -65520.0, "6.5504e4"), (DType::Bf16, f32::MAX, "3.3895314e38")] {
            let error = output(&[0.0, 1.0, 2.0, 3.0, value, 5.0], &[2, 3]).in_type(dtype).err().unwrap();
            assert_eq!(error.status(), Status::InvalidArgument);
            for word in ["\"encoder.w\"", "[1, 1]", &format!("{value:e}"), &dtype.to_string(), greatest] {
                assert!(error.message().contains(word), "{error} does not say {word}");
            }
        }
    }

    #[test]
    fn what_is_no_finite_number_stays() {
        for dtype in [DType::F16, DType::Bf16] {
            let found = read(&output(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY], &[3]).in_type(dtype).unwrap());
            assert!(found[0].is_nan() && found[1..] == [f32::INFINITY, f32::NEG_INFINITY], "{dtype}: {found:?}");
        }
    }

    proptest! {
        /// Going to f32 and back changes nothing, whatever the 16 bits say; a NaN stays one.
        #[test]
        fn sixteen_bits_survive_the_way_through_f32(bits in prop::collection::vec(any::<u16>(), 0..40)) {
            for dtype in [DType::F16, DType::Bf16] {
                let bytes: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()).collect();
                let (storage, shape) = (dtype.into(), vec![bits.len()]);
                let output = Output { key: "x".into(), storage, shape, bytes: Cow::Borrowed(&bytes) };
                let wide = output.in_type(DType::F32).unwrap();
                let expected: Vec<f32> = values(&bytes, dtype).collect();
                let back = wide.in_type(dtype).unwrap();
                for (found, expected) in read(&back).iter().zip(&expected) {
                    prop_assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan());
                }
                prop_assert_eq!(back.bytes.len(), bytes.len());
            }
        }
    }
}
