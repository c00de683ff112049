//! Files that a saved model carries over from the one it was made of, byte by byte.

use std::fs;
use std::path::{Component, Path};

use super::sentence;
use crate::error::{Error, Result};

/// What a tokenizer may consist of. They lie beside `config.json`.
pub const TOKENIZER_FILES: &[&str] = &[
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "spiece.model",
];

/// What is carried over beside the tokenizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carry {
    /// Nothing.
    Tokenizer,
    /// The pipeline of a sentence-transformers folder, if it is one.
    SentencePipeline,
}

/// Copies the files that are there into `folder`. `read` gives the bytes of a file by its path within the old model,
/// with `/` between folders, and `None` where there is none; `encoder` is the folder within the model that holds the
/// encoder, mostly empty. Gives the paths that were written.
///
/// Fails with `Io` when a file cannot be written, and as `read` and [`sentence::files`] do.
pub fn copy(
    read: impl Fn(&str) -> Result<Option<Vec<u8>>>,
    encoder: &str,
    carry: Carry,
    folder: &Path,
) -> Result<Vec<String>> {
    let mut names: Vec<String> = TOKENIZER_FILES.iter().map(|name| sentence::join(encoder, name)).collect();
    if carry == Carry::SentencePipeline
        && let Some(modules) = read("modules.json")?
    {
        names.extend(sentence::files(&modules)?);
    }
    let mut written = Vec::new();
    for name in names {
        if let Some(bytes) = read(&name)? {
            write(folder, &name, &bytes)?;
            written.push(name);
        }
    }
    Ok(written)
}

/// Writes a file below `folder`, and the folders between.
fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    if !Path::new(name).components().all(|component| matches!(component, Component::Normal(_))) {
        return Err(Error::file(format!("{name:?}: expected a path within the model folder")));
    }
    let path = folder.join(name);
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(&path, bytes)).map_err(|e| Error::io(&path, &e))
}

#[cfg(test)]
mod tests {
    use tempfile::tempdir;

    use super::*;
    use crate::error::Status;

    const MODULES: &str = r#"[
        {"path": "0_Transformer", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Dense", "type": "sentence_transformers.models.Dense"},
        {"path": "3_Normalize", "type": "sentence_transformers.models.Normalize"}]"#;

    /// A model of files that hold their own names.
    fn read(name: &str) -> Result<Option<Vec<u8>>> {
        let there = [
            "0_Transformer/vocab.txt",
            "0_Transformer/config.json",
            "0_Transformer/model.safetensors",
            "0_Transformer/sentence_bert_config.json",
            "0_Transformer/tokenizer_config.json",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
            "tokenizer.json",
            "README.md",
        ];
        Ok(match name {
            "modules.json" => Some(MODULES.into()),
            _ => there.contains(&name).then(|| name.into()),
        })
    }

    #[test]
    fn a_tokenizer_comes_along_and_nothing_else() {
        let folder = tempdir().unwrap();
        let written = copy(read, "0_Transformer", Carry::Tokenizer, folder.path()).unwrap();
        assert_eq!(written, ["0_Transformer/tokenizer_config.json", "0_Transformer/vocab.txt"]);
        assert_eq!(fs::read(folder.path().join(&written[1])).unwrap(), b"0_Transformer/vocab.txt");
        assert_eq!(copy(read, "", Carry::Tokenizer, folder.path()).unwrap(), ["tokenizer.json"]);
        assert!(!folder.path().join("modules.json").exists());
    }

    #[test]
    fn a_pipeline_comes_along_without_its_encoder() {
        let folder = tempdir().unwrap();
        let written = copy(read, "0_Transformer", Carry::SentencePipeline, folder.path()).unwrap();
        let pipeline = [
            "modules.json",
            "0_Transformer/sentence_bert_config.json",
            "1_Pooling/config.json",
            "2_Dense/config.json",
            "2_Dense/model.safetensors",
        ];
        assert_eq!(written[2..], pipeline);
        assert_eq!(fs::read(folder.path().join("2_Dense/config.json")).unwrap(), b"2_Dense/config.json");
        assert!(!folder.path().join("0_Transformer/config.json").exists());
    }

    #[test]
    fn no_file_is_written_outside_the_folder() {
        let folder = tempdir().unwrap();
        let everything = |name: &str| Ok(Some(name.into()));
        for encoder in ["..", "a/../..", "/tmp"] {
            let error = copy(everything, encoder, Carry::Tokenizer, &folder.path().join("model")).unwrap_err();
            assert_eq!(error.status(), Status::InvalidFile, "{error}");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named() {
        let folder = tempdir().unwrap();
        fs::create_dir(folder.path().join("tokenizer.json")).unwrap();
        let error = copy(read, "", Carry::Tokenizer, folder.path()).unwrap_err();
        assert_eq!(error.status(), Status::Io);
        assert!(error.message().contains("tokenizer.json"), "{error}");
    }
}
