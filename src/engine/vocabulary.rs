//! Vocabularies: learned from text, written, read back.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::Bytes;
use super::save::write;
use crate::error::{Error, Result};
use crate::text::{VocabularyFiles, VocabularyOptions, learn};
use crate::train::corpus::Lines;
use crate::train::corpus::reading::{self, Piece};

/// The files that make a tokenizer.
const TOKENIZER: [&str; 5] =
    ["tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json", "added_tokens.json"];

/// Learns a WordPiece vocabulary from a folder of text files, or one: the files of its tokenizer.
///
/// Fails as [`super::Model::corpus`] does on the text, and with `InvalidArgument`, naming both, when the size leaves no room
/// for the alphabet.
pub fn learn_vocabulary(path: &Path, lines: Lines, options: &VocabularyOptions) -> Result<VocabularyFiles> {
    let texts = |feed: crate::text::Feed<'_>| {
        reading::read(path, lines, &mut |piece| match piece {
            Piece::Sentence { text, .. } => feed(text),
            Piece::EndOfDocument => Ok(()),
        })
        .map(drop)
    };
    learn(texts, options)
}

/// Writes the files of a tokenizer into a folder, which is made if need be.
pub fn save_vocabulary(files: &VocabularyFiles, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| Error::io(folder, &error))?;
    files.iter().try_for_each(|(name, bytes)| write(&folder.join(name), bytes))
}

/// The files of a folder that make its tokenizer.
///
/// Fails with `Missing` when there is none.
pub fn tokenizer_files(folder: &Path) -> Result<Vec<(&'static str, Bytes)>> {
    let mut files: Vec<(&'static str, Bytes)> = Vec::new();
    for name in TOKENIZER {
        let path = folder.join(name);
        if path.exists() {
            let bytes = fs::read(&path).map_err(|error| Error::io(&path, &error))?;
            files.push((name, Arc::new(bytes)));
        }
    }
    match files.is_empty() {
        true => Err(Error::missing(format!("{}: neither tokenizer.json nor vocab.txt", folder.display()))),
        false => Ok(files),
    }
}
