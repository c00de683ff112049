//! Matrices in 8 bits, as compressed-tensors stores them: beside `x.weight`, integers from −128 to 127, lie
//! `x.weight_scale`, what they are multiples of, a row or all together, and perhaps `x.weight_zero_point`, which is 0.

use std::borrow::Cow;

use safetensors::Dtype;

use super::save::{Output, f32_bytes};
use super::stored::{Stored, coordinates, values};
use super::{Entry, Weights};
use crate::device::{Mapped, Quantised};
use crate::dtype::{DType, Storage};
use crate::error::{Error, Result};

/// A matrix in 8 bits as it lies in its file.
#[derive(Clone, Debug)]
pub struct StoredIntegers {
    /// Canonical name.
    pub name: String,
    /// `[N, K]` bytes, row-major.
    pub integers: Mapped,
    /// `[N, K]`
    pub shape: Vec<usize>,
    /// One number for each row, or one for all.
    pub scales: Stored,
}

/// What a stored tensor holds.
#[derive(Clone, Debug)]
pub enum Contents {
    /// Numbers as they are.
    Float(Stored),
    /// Integers.
    Int8(StoredIntegers),
}

/// The name of the scales of a matrix called `name`.
pub(super) fn scale_name(name: &str) -> String {
    format!("{name}_scale")
}

impl Contents {
    /// The numbers. Fails with `Unsupported` where there are integers.
    pub fn float(self) -> Result<Stored> {
        match self {
            Contents::Float(stored) => Ok(stored),
            Contents::Int8(StoredIntegers { name, .. }) => Err(wrong_type(&name, Dtype::I8)),
        }
    }
}

/// `name` is of a type that cannot be computed with where it is wanted.
pub(super) fn wrong_type(name: &str, dtype: Dtype) -> Error {
    Error::unsupported(format!("tensor {name:?}: stored as {dtype}, expected F32, F16 or BF16"))
}

/// The same where integers would do, had they scales.
pub(super) fn without_scales(name: &str) -> Error {
    let scales = scale_name(name);
    Error::unsupported(format!("tensor {name:?}: stored as I8 without {scales:?}, expected F32, F16 or BF16"))
}

impl StoredIntegers {
    /// The matrix, with a scale for every row.
    ///
    /// Fails with `InvalidFile` where it is no matrix, or the scales are neither one a row nor one for all.
    pub fn quantised(&self) -> Result<Quantised> {
        let (name, scales) = (&self.name, &self.scales);
        let &[rows, cols] = self.shape.as_slice() else {
            return Err(Error::file(format!("tensor {name:?}: integers of shape {:?}, expected a matrix", self.shape)));
        };
        let given = scales.shape.as_slice();
        let scales = if given == [rows] || given == [rows, 1] {
            scales.to_f32()
        } else if given.iter().all(|dimension| *dimension == 1) {
            vec![scales.to_f32()[0]; rows]
        } else {
            return Err(Error::file(format!(
                "tensor {:?}: shape {given:?}, expected one number for each of {rows} rows of {name:?}, or one for all",
                scale_name(name)
            )));
        };
        Quantised::new(self.integers.clone(), (rows, cols), scales)
    }

    /// The matrix, to write under `key` as it is.
    pub fn outputs(&self, key: &str) -> [Output<'_>; 2] {
        let (shape, bytes) = (self.shape.clone(), Cow::Borrowed(self.integers.bytes()));
        let integers = Output { key: key.to_owned(), storage: Storage::Int8, shape, bytes };
        [integers, self.scales.output(scale_name(key))]
    }

    /// The matrix in f32, to write under `key`. Fails as [`quantised`](Self::quantised) does.
    pub fn to_f32(&self, key: &str) -> Result<Output<'static>> {
        let bytes = Cow::Owned(f32_bytes(&self.quantised()?.to_f32()).into_owned());
        Ok(Output { key: key.to_owned(), storage: DType::F32.into(), shape: self.shape.clone(), bytes })
    }
}

impl<'a> Output<'a> {
    /// A matrix of numbers `[N, K]` in 8 bits: a row's integers go from −127 to 127, and the number furthest from 0 is exact
    /// up to the rounding of its scale. The others are rounded to the nearest, ties to even.
    ///
    /// Fails with `InvalidArgument`, naming tensor and element, on what is no finite number.
    pub fn quantised(self) -> Result<[Output<'a>; 2]> {
        let (Storage::Float(dtype), &[rows, cols]) = (self.storage, self.shape.as_slice()) else {
            return Err(Error::internal(format!(
                "{:?}: {} of shape {:?} in 8 bits",
                self.key, self.storage, self.shape
            )));
        };
        let (mut integers, mut scales) = (Vec::with_capacity(rows * cols), Vec::with_capacity(rows));
        for (place, bytes) in self.bytes.chunks_exact((cols * dtype.size()).max(1)).enumerate() {
            let row: Vec<f32> = values(bytes, dtype).collect();
            if let Some(column) = row.iter().position(|value| !value.is_finite()) {
                let (key, index, value) = (&self.key, coordinates(place * cols + column, &self.shape), row[column]);
                return Err(Error::argument(format!(
                    "tensor {key:?}: element {index:?} is {value}, expected a finite number to round to 8 bits"
                )));
            }
            let scale = row.iter().fold(0f32, |most, value| most.max(value.abs())) / 127.0;
            // what is too small to divide by is 0
            let inverse = Some(1.0 / scale).filter(|inverse| inverse.is_finite()).unwrap_or(0.0);
            integers
                .extend(row.iter().map(|value| ((value * inverse).round_ties_even() as i8).max(-127).cast_unsigned()));
            scales.push(scale);
        }
        let scale_bytes = Cow::Owned(f32_bytes(&scales).into_owned());
        let (key, storage) = (scale_name(&self.key), DType::F32.into());
        let scales = Output { key, storage, shape: vec![rows, 1], bytes: scale_bytes };
        Ok([Output { storage: Storage::Int8, bytes: Cow::Owned(integers), ..self }, scales])
    }
}

impl Weights {
    /// Puts the scales of matrices in 8 bits to their integers: they are no parameters of their own.
    ///
    /// Fails with `Unsupported` on zero points other than 0.
    pub(super) fn join_scales(&mut self) -> Result<()> {
        let integers = |(name, entry): (&String, &Entry)| (entry.tensor.dtype == Dtype::I8).then(|| name.clone());
        let names: Vec<String> = self.tensors.iter().filter_map(integers).collect();
        for name in names {
            let zero_name = format!("{name}_zero_point");
            if let Some(zero) = self.tensors.get(&zero_name) {
                let bytes = self.files[zero.file].bytes.as_ref().get(zero.tensor.range.clone()).unwrap_or_default();
                if bytes.iter().any(|byte| *byte != 0) {
                    return Err(Error::unsupported(format!(
                        "tensor {zero_name:?}: not all 0, expected symmetric integers"
                    )));
                }
                self.tensors.remove(&zero_name);
            }
            if let Some(scales) = self.tensors.remove(&scale_name(&name))
                && let Some(entry) = self.tensors.get_mut(&name)
            {
                entry.scales = Some((scales.file, scales.tensor));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::device::Owner;
    use crate::error::Status;
    use std::sync::Arc;

    fn output(numbers: &[f32], shape: &[usize]) -> Output<'static> {
        let bytes = Cow::Owned(f32_bytes(numbers).into_owned());
        Output { key: "x.weight".into(), storage: DType::F32.into(), shape: shape.into(), bytes }
    }

    /// What is read of what is written.
    fn read([integers, scales]: [Output<'_>; 2]) -> Vec<f32> {
        let mapped = |bytes: &[u8]| Mapped::new(Owner::Buffer(Arc::new(bytes.to_vec())), 0..bytes.len()).unwrap();
        let scales = Stored { mapped: mapped(&scales.bytes), dtype: DType::F32, shape: scales.shape };
        let (name, bytes) = ("x.weight".into(), mapped(&integers.bytes));
        StoredIntegers { name, integers: bytes, shape: integers.shape, scales }.quantised().unwrap().to_f32()
    }

    #[test]
    fn rows_have_scales_of_their_own() {
        let numbers = [127.0, -63.5, 0.4, 0.6, 1e-30, 0.0, -2.54, 0.009, 0.031];
        let [integers, scales] = output(&numbers, &[3, 3]).quantised().unwrap();
        assert_eq!((integers.key.as_str(), scales.key.as_str()), ("x.weight", "x.weight_scale"));
        assert_eq!((integers.shape.as_slice(), scales.shape.as_slice()), (&[3, 3][..], &[3, 1][..]));
        let found: Vec<i8> = integers.bytes.iter().map(|byte| byte.cast_signed()).collect();
        // −63.5 lies between two: the even one; a step of the last row is 0.02
        assert_eq!(found, [127, -64, 0, 127, 0, 0, -127, 0, 2]);
        assert_eq!(values(&scales.bytes, DType::F32).collect::<Vec<_>>(), [1.0, 0.6 / 127.0, 2.54 / 127.0]);
    }

    #[test]
    fn what_is_nothing_to_divide_by_is_zero() {
        for numbers in [[0.0, -0.0], [f32::from_bits(1), -f32::from_bits(3)]] {
            let [integers, _] = output(&numbers, &[1, 2]).quantised().unwrap();
            assert_eq!(*integers.bytes, [0, 0]);
        }
    }

    #[test]
    fn what_is_no_finite_number_is_refused_by_name() {
        for odd in [f32::NAN, f32::NEG_INFINITY] {
            let error = output(&[0.0, 1.0, 2.0, 3.0, odd, 5.0], &[2, 3]).quantised().err().unwrap();
            assert_eq!(error.status(), Status::InvalidArgument);
            for word in ["\"x.weight\"", "[1, 1]", &odd.to_string()] {
                assert!(error.message().contains(word), "{error} does not say {word}");
            }
        }
    }

    proptest! {
        /// Half a step at most, a step being 1/127 of the number furthest from 0; and once more changes no integer.
        #[test]
        fn numbers_are_rounded_to_the_nearest(rows in 1usize..5, cols in 1usize..40, seed in prop::collection::vec(-1e3f32..1e3, 200)) {
            let numbers = &seed[..rows * cols];
            let narrow = output(numbers, &[rows, cols]).quantised().unwrap();
            let integers = narrow[0].bytes.clone().into_owned();
            let found = read(narrow);
            for (row, found) in numbers.chunks(cols).zip(found.chunks(cols)) {
                let step = row.iter().fold(0f32, |most, value| most.max(value.abs())) / 127.0;
                for (value, found) in row.iter().zip(found) {
                    prop_assert!((value - found).abs() <= 0.500_01 * step, "{} for {}, step {}", found, value, step);
                }
            }
            let again = output(&found, &[rows, cols]).quantised().unwrap();
            prop_assert_eq!(&*again[0].bytes, &integers);
        }
    }
}
