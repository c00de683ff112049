//! A safetensors file written as it streams by.
//!
//! Layout, as the format's own writer makes it: `u64` length of the header · JSON, filled up with spaces to a multiple
//! of 8 bytes · the tensors, widest element type first and by key within one type, without holes. Files made from the
//! same tensors are the same bytes.

#![allow(unsafe_code)] // one cast: numbers as their bytes

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::dtype::{DType, Storage};
use crate::error::{Error, Result};

/// A tensor to write. Bytes are little-endian, row-major.
pub struct Output<'a> {
    /// The name in the file.
    pub key: String,
    /// The element type.
    pub storage: Storage,
    /// The shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// `shape` times `storage.size()` bytes.
    pub bytes: Cow<'a, [u8]>,
}

/// Writes `tensors` and the `__metadata__` of `metadata` to a new file and waits until the disk has it. The file is
/// never whole in memory.
///
/// Fails with `InvalidArgument` when bytes and shape disagree or a key comes twice, and with `Io`, naming the path,
/// when the system refuses, or when `path` is there: someone may have mapped it. A file that fails half way is left as
/// it is: write into a [`NewFolder`](super::NewFolder).
pub fn write(path: &Path, tensors: &[Output<'_>], metadata: &[(&str, &str)]) -> Result<()> {
    check(tensors).map_err(|e| e.within(path.display()))?;
    let mut ordered: Vec<&Output<'_>> = tensors.iter().collect();
    ordered.sort_by(|a, b| rank(a.storage).cmp(&rank(b.storage)).then_with(|| a.key.cmp(&b.key)));
    let header = header(&ordered, metadata);
    let file = File::create_new(path).map_err(|e| Error::io(path, &e))?;
    stream(&file, &header, &ordered).map_err(|e| Error::io(path, &e))
}

/// The numbers' bytes, little-endian: a view where the machine stores them so.
pub fn f32_bytes(values: &[f32]) -> Cow<'_, [u8]> {
    if cfg!(target_endian = "little") {
        // SAFETY: the view covers exactly the memory of `values`, which it borrows; f32 has no padding, so every byte
        // is initialised, and u8 is aligned anywhere.
        Cow::Borrowed(unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) })
    } else {
        Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }
}

fn check(tensors: &[Output<'_>]) -> Result<()> {
    let mut keys = BTreeSet::new();
    for Output { key, storage, shape, bytes } in tensors {
        let expected = shape.iter().try_fold(storage.size(), |n, dimension| n.checked_mul(*dimension));
        if expected != Some(bytes.len()) {
            let given = bytes.len();
            return Err(Error::argument(format!("tensor {key:?}: {given} bytes for shape {shape:?} of {storage}")));
        }
        if key == METADATA || !keys.insert(key) {
            return Err(Error::argument(format!("tensor {key:?}: a key that is taken, expected one of its own")));
        }
    }
    Ok(())
}

const METADATA: &str = "__metadata__";

/// Place of a type in the file. Wider types come first, so that every tensor is aligned to its elements.
fn rank(storage: Storage) -> u8 {
    match storage {
        Storage::Float(DType::F32) => 0,
        Storage::Float(DType::Bf16) => 1,
        Storage::Float(DType::F16) => 2,
        Storage::Int8 => 3,
    }
}

fn name(storage: Storage) -> &'static str {
    match storage {
        Storage::Float(DType::F32) => "F32",
        Storage::Float(DType::Bf16) => "BF16",
        Storage::Float(DType::F16) => "F16",
        Storage::Int8 => "I8",
    }
}

/// The header's bytes, padded.
fn header(ordered: &[&Output<'_>], metadata: &[(&str, &str)]) -> Vec<u8> {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        let texts: Map<String, Value> = metadata.iter().map(|(key, text)| ((*key).into(), (*text).into())).collect();
        entries.insert(METADATA.into(), texts.into());
    }
    let mut start = 0;
    for tensor in ordered {
        let end = start + tensor.bytes.len();
        let entry = json!({"dtype": name(tensor.storage), "shape": tensor.shape, "data_offsets": [start, end]});
        entries.insert(tensor.key.clone(), entry);
        start = end;
    }
    let mut header = Value::Object(entries).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    header
}

fn stream(file: &File, header: &[u8], ordered: &[&Output<'_>]) -> io::Result<()> {
    let mut writer = BufWriter::with_capacity(1 << 18, file);
    writer.write_all(&(header.len() as u64).to_le_bytes())?;
    writer.write_all(header)?;
    for tensor in ordered {
        writer.write_all(&tensor.bytes)?;
    }
    writer.flush()?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use safetensors::{Dtype, tensor::TensorView};
    use tempfile::tempdir;

    use super::*;
    use crate::error::Status;
    use crate::weights::Weights;

    fn output<'a>(key: &str, storage: impl Into<Storage>, shape: &[usize], bytes: &'a [u8]) -> Output<'a> {
        Output { key: key.into(), storage: storage.into(), shape: shape.into(), bytes: bytes.into() }
    }

    #[test]
    fn what_is_written_reads_back() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let values = [1.5f32, -0.0, f32::MIN_POSITIVE, 3e38, 0.1, 7.0];
        let (six, one) = (f32_bytes(&values), f32_bytes(&[2.0]));
        let tensors = [
            output("half", DType::F16, &[3], &[0, 0x3c, 0, 0xbc, 0, 0]),
            output("bert.z", DType::F32, &[2, 3], &six),
            output("bert.scalar \"é\"", DType::F32, &[], &one),
            output("bf", DType::Bf16, &[1, 1], &[0x80, 0x3f]),
        ];
        write(&path, &tensors, &[("format", "pt")]).unwrap();
        let mut weights = Weights::open(folder.path()).unwrap();
        assert_eq!(weights.take("z", &[2, 3]).unwrap().to_f32(), values);
        assert_eq!(weights.take("scalar \"é\"", &[]).unwrap().to_f32(), [2.0]);
        assert_eq!(weights.take("half", &[3]).unwrap().to_f32(), [1.0, -1.0, 0.0]);
        assert_eq!(weights.take("bf", &[1, 1]).unwrap().to_f32(), [1.0]);
    }

    /// The format's own crate orders the data by type and key; its header lists the keys in the order of a hash map.
    #[test]
    fn the_data_lies_as_the_format_s_own_writer_puts_it() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let (wide, half, brain) = (f32_bytes(&[1.0, 2.0]), [1, 2], [3, 4, 5, 6]);
        let tensors = [
            output("b", DType::F16, &[1], &half),
            output("z", DType::F32, &[2], &wide),
            output("c", DType::Bf16, &[2], &brain),
            output("a", DType::F32, &[1], &wide[4..]),
            output("empty", DType::F32, &[0, 5], &[]),
            output("b.integers", Storage::Int8, &[2, 1], &half),
        ];
        write(&path, &tensors, &[("format", "pt")]).unwrap();
        let view = |tensor: &Output<'_>| {
            let dtype = [Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::I8];
            let bytes: &[u8] = match tensor.key.as_str() {
                "b" | "b.integers" => &half,
                "z" => &wide,
                "c" => &brain,
                "a" => &wide[4..],
                _ => &[],
            };
            let view = TensorView::new(dtype[usize::from(rank(tensor.storage))], tensor.shape.clone(), bytes).unwrap();
            (tensor.key.clone(), view)
        };
        let metadata = [("format".to_owned(), "pt".to_owned())].into_iter().collect();
        let theirs = safetensors::serialize(tensors.iter().map(view), Some(metadata)).unwrap();
        let ours = fs::read(&path).unwrap();
        let header = |file: &[u8]| {
            let length = usize::try_from(u64::from_le_bytes(file[..8].try_into().unwrap())).unwrap();
            assert_eq!(length % 8, 0);
            (serde_json::from_slice::<Value>(&file[8..8 + length]).unwrap(), file[8 + length..].to_vec())
        };
        assert_eq!(header(&ours), header(&theirs));
        assert_eq!(ours.len(), theirs.len());
    }

    #[test]
    fn no_tensors_make_a_file_too() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write(&path, &[], &[]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), [&8u64.to_le_bytes()[..], b"{}      "].concat());
    }

    #[track_caller]
    fn refused(path: &Path, tensors: &[Output<'_>], status: Status, words: &[&str]) {
        let error = write(path, tensors, &[]).unwrap_err();
        assert_eq!(error.status(), status, "{error}");
        for word in words.iter().chain([&path.to_str().unwrap()]) {
            assert!(error.message().contains(word), "{error:?} does not say {word:?}");
        }
    }

    #[test]
    fn tensors_that_contradict_themselves_are_refused_before_anything_is_written() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        let bytes = [0; 8];
        for (tensors, words) in [
            (vec![output("a", DType::F32, &[3], &bytes)], &["\"a\"", "8 bytes", "[3]", "f32"][..]),
            (vec![output("a", DType::F32, &[usize::MAX, 2], &bytes)], &["\"a\""]),
            (vec![output("a", DType::F16, &[4], &bytes), output("a", DType::F32, &[2], &bytes)], &["\"a\"", "taken"]),
            (vec![output("__metadata__", DType::F16, &[4], &bytes)], &["taken"]),
        ] {
            refused(&path, &tensors, Status::InvalidArgument, words);
        }
        assert!(!path.exists());
    }

    #[test]
    fn a_path_that_cannot_be_written_is_named() {
        let folder = tempdir().unwrap();
        refused(&folder.path().join("absent").join("x"), &[], Status::Io, &[]);
        refused(folder.path(), &[], Status::Io, &[]);
    }

    /// Truncating a file that is mapped would end the process that mapped it.
    #[test]
    fn a_file_that_is_there_stays_as_it_is() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("x");
        fs::write(&path, "precious").unwrap();
        refused(&path, &[], Status::Io, &["exists"]);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    /// The buffer that fills and the flush at the end both report it.
    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error() {
        let (small, large) = ([0; 4], vec![0; 1 << 20]);
        for (bytes, count) in [(&small[..], 1), (&large, 1 << 18)] {
            let full = File::options().write(true).open("/dev/full").unwrap();
            let error = stream(&full, b"{}", &[&output("a", DType::F32, &[count], bytes)]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        }
    }
}
