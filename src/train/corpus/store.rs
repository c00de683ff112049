//! A corpus as token ids: documents of sentences, in an unnamed scratch file. In memory stay four bytes a sentence and
//! sixteen a document, so that the text itself may be larger than memory.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::reading::{self, Lines, Notice, Piece};
use crate::device::Cpu;
use crate::error::{Error, Result};
use crate::text::{Encode, Tokenizer};
use crate::train::feed::Fingerprint;

/// Bytes of a token id in the scratch file.
const ID: usize = size_of::<u32>();

/// Tokens that are counted together.
const COUNTED: usize = 1 << 16;

/// Sentences that are split into tokens together, on all threads.
const TOGETHER: usize = 4096;

/// Documents of sentences of token ids, without special tokens. No sentence is empty, no document without a sentence.
#[derive(Debug)]
pub struct Corpus {
    store: Mutex<File>,
    /// Tokens of each sentence.
    lengths: Vec<u32>,
    documents: Vec<Document>,
    tokens: u64,
    fingerprint: Fingerprint,
    longest: usize,
    vocabulary: Vocabulary,
    notices: Vec<Notice>,
}

#[derive(Clone, Copy, Debug)]
struct Document {
    /// Its first sentence, of all sentences.
    sentence: usize,
    /// Its first token, of all tokens.
    token: u64,
}

/// What examples need to know of the vocabulary.
#[derive(Clone, Debug)]
pub struct Vocabulary {
    /// Begins a sequence.
    pub cls: u32,
    /// Ends a segment.
    pub sep: u32,
    /// The blank.
    pub mask: u32,
    /// Tokens that there are: one more than the greatest id.
    pub size: usize,
    /// Whether a token continues the word of the one before it, by id.
    pub continues: Vec<bool>,
}

impl Vocabulary {
    /// Of a tokenizer.
    ///
    /// Fails with `Missing`, naming it, when it lacks a special token that examples are made with.
    pub fn of(tokenizer: &Tokenizer) -> Result<Self> {
        let special = tokenizer.special();
        let given = |name: &str, id: Option<u32>| {
            id.ok_or_else(|| Error::missing(format!("the vocabulary has no {name}, which examples are made with")))
        };
        let prefix = tokenizer.subword_prefix();
        let continues = |id: u32| match (prefix, tokenizer.token(id)) {
            (Some(prefix), Some(token)) => token.len() > prefix.len() && token.starts_with(prefix),
            _ => false,
        };
        Ok(Self {
            cls: given("[CLS]", special.cls)?,
            sep: given("[SEP]", special.sep)?,
            mask: given("[MASK]", special.mask)?,
            size: tokenizer.size(),
            continues: (0..tokenizer.size() as u32).map(continues).collect(),
        })
    }
}

impl Corpus {
    /// Reads a folder of text files, or one, and splits it into tokens on the threads of `device`. A sentence of more than
    /// `longest` tokens becomes several, so that nothing is lost; the notices say of how many.
    ///
    /// Fails with `Io` when a file cannot be read or the scratch file cannot be written, `InvalidFile`, naming file, line
    /// and byte, on one that is not UTF-8 text, and `InvalidInput` when there is no text at all.
    pub fn read(path: &Path, lines: Lines, device: &Cpu, tokenizer: &Tokenizer, longest: usize) -> Result<Self> {
        let mut builder = Builder::new(device, tokenizer, longest)?;
        let found = reading::read(path, lines, &mut |piece| match piece {
            Piece::Sentence { text, file, line } => builder.sentence(text, Some((file, line))),
            Piece::EndOfDocument => builder.end_document(),
        })?;
        let mut corpus = builder.finish(|(file, line)| {
            found.files.get(file).map_or_else(String::new, |file| format!("{}:{line}", file.display()))
        })?;
        corpus.notices.splice(0..0, found.notices);
        match corpus.documents.is_empty() {
            true => Err(Error::input(format!("{}: no tokens in the text", path.display()))),
            false => Ok(corpus),
        }
    }

    /// The same of documents in memory, each a list of sentences.
    ///
    /// Fails with `InvalidInput` when there is no text at all.
    pub fn of_documents(documents: &[Vec<&str>], device: &Cpu, tokenizer: &Tokenizer, longest: usize) -> Result<Self> {
        let mut builder = Builder::new(device, tokenizer, longest)?;
        for sentences in documents {
            for (line, text) in sentences.iter().enumerate() {
                builder.sentence(text, Some((0, line)))?;
            }
            builder.end_document()?;
        }
        let corpus = builder.finish(|(_, line)| format!("sentence {line}"))?;
        match corpus.documents.is_empty() {
            true => Err(Error::input(format!("{} documents: no tokens in them", documents.len()))),
            false => Ok(corpus),
        }
    }

    /// Number of documents.
    pub fn documents(&self) -> usize {
        self.documents.len()
    }

    /// Number of sentences.
    pub fn sentences(&self) -> usize {
        self.lengths.len()
    }

    /// Number of tokens, special ones not among them.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// A number that another corpus hardly has.
    pub fn fingerprint(&self) -> u64 {
        self.fingerprint.get()
    }

    /// Tokens that a sentence has at most.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// What was left out or cut.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// What examples need to know of the vocabulary.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Tokens of each sentence of a document.
    pub fn lengths(&self, document: usize) -> &[u32] {
        &self.lengths[self.range(document)]
    }

    /// The first token of a document, of all tokens.
    pub fn first_token(&self, document: usize) -> u64 {
        self.documents[document].token
    }

    /// The `count` tokens from `first` on, of all tokens, appended to `out`.
    pub fn tokens_at(&self, first: u64, count: usize, out: &mut Vec<u32>) -> Result<()> {
        let mut bytes = vec![0; count * ID];
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let read = store.seek(SeekFrom::Start(first * ID as u64)).and_then(|_| store.read_exact(&mut bytes));
        read.map_err(scratch)?;
        out.extend(bytes.chunks_exact(ID).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        Ok(())
    }

    /// How often each token of the vocabulary occurs.
    pub fn counts(&self) -> Result<Vec<u64>> {
        let (mut counts, mut ids) = (vec![0; self.vocabulary.size], Vec::new());
        for first in (0..self.tokens).step_by(COUNTED) {
            ids.clear();
            self.tokens_at(first, (self.tokens - first).min(COUNTED as u64) as usize, &mut ids)?;
            ids.iter().for_each(|&id| counts[id as usize] += 1);
        }
        Ok(counts)
    }

    fn range(&self, document: usize) -> Range<usize> {
        let end = self.documents.get(document + 1).map_or(self.lengths.len(), |next| next.sentence);
        self.documents[document].sentence..end
    }
}

/// Where a text came from: the number of the file, and the line.
type Place = (usize, usize);

/// Takes sentences one after the other.
struct Builder<'a> {
    device: &'a Cpu,
    tokenizer: &'a Tokenizer,
    vocabulary: Vocabulary,
    longest: usize,
    out: BufWriter<File>,
    waiting: Vec<Waiting>,
    lengths: Vec<u32>,
    documents: Vec<Document>,
    /// Where the document under way begins.
    begun: Document,
    tokens: u64,
    fingerprint: Fingerprint,
    cut: Cut,
}

enum Waiting {
    Sentence(String, Option<Place>),
    EndOfDocument,
}

/// Sentences that became several.
#[derive(Default)]
struct Cut {
    sentences: usize,
    first: Option<(Place, usize)>,
}

impl<'a> Builder<'a> {
    fn new(device: &'a Cpu, tokenizer: &'a Tokenizer, longest: usize) -> Result<Self> {
        Ok(Self {
            device,
            tokenizer,
            vocabulary: Vocabulary::of(tokenizer)?,
            longest: longest.max(1),
            out: BufWriter::new(tempfile::tempfile().map_err(scratch)?),
            waiting: Vec::new(),
            lengths: Vec::new(),
            documents: Vec::new(),
            begun: Document { sentence: 0, token: 0 },
            tokens: 0,
            fingerprint: Fingerprint::default(),
            cut: Cut::default(),
        })
    }

    fn sentence(&mut self, text: &str, place: Option<Place>) -> Result<()> {
        self.waiting.push(Waiting::Sentence(text.to_owned(), place));
        if self.waiting.len() >= TOGETHER { self.encode() } else { Ok(()) }
    }

    fn end_document(&mut self) -> Result<()> {
        self.waiting.push(Waiting::EndOfDocument);
        if self.waiting.len() >= TOGETHER { self.encode() } else { Ok(()) }
    }

    /// Splits what waits into tokens, and stores it in order.
    fn encode(&mut self) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let options = Encode { special_tokens: false, parse_special: false, ..Encode::default() };
        let encoded: Vec<OnceLock<Result<Vec<u32>>>> = waiting.iter().map(|_| OnceLock::new()).collect();
        self.device.for_each(waiting.len(), |index| {
            if let Waiting::Sentence(text, _) = &waiting[index] {
                let ids = self.tokenizer.encode(text, None, &options).map(|encoding| encoding.ids);
                encoded[index].get_or_init(|| ids);
            }
        })?;
        for (waiting, encoded) in waiting.iter().zip(encoded) {
            match (waiting, encoded.into_inner()) {
                (Waiting::Sentence(_, place), Some(ids)) => self.store(&ids?, *place)?,
                _ => self.close(),
            }
        }
        Ok(())
    }

    fn store(&mut self, ids: &[u32], place: Option<Place>) -> Result<()> {
        if ids.len() > self.longest {
            self.cut.sentences += 1;
            self.cut.first = self.cut.first.or(place.map(|place| (place, ids.len())));
        }
        for part in ids.chunks(self.longest) {
            for id in part {
                self.out.write_all(&id.to_le_bytes()).map_err(scratch)?;
                self.fingerprint.add(u64::from(*id));
            }
            self.fingerprint.add(u64::MAX);
            self.lengths.push(part.len() as u32); // at most `longest`, which fits a model
            self.tokens += part.len() as u64;
        }
        Ok(())
    }

    /// Ends the document under way, unless it is empty.
    fn close(&mut self) {
        if self.lengths.len() > self.begun.sentence {
            self.documents.push(self.begun);
            self.fingerprint.add(u64::MAX - 1);
        }
        self.begun = Document { sentence: self.lengths.len(), token: self.tokens };
    }

    fn finish(mut self, name: impl Fn(Place) -> String) -> Result<Corpus> {
        self.encode()?;
        self.close();
        let notices = match self.cut.first {
            None => Vec::new(),
            Some((place, count)) => {
                let (of, longest) = (self.cut.sentences, self.longest);
                let message = format!("a sentence of {count} tokens, cut into parts of at most {longest}; {of} in all");
                vec![Notice { place: name(place), message }]
            }
        };
        let store = self.out.into_inner().map_err(|error| scratch(error.into_error()))?;
        Ok(Corpus {
            store: Mutex::new(store),
            lengths: self.lengths,
            documents: self.documents,
            tokens: self.tokens,
            fingerprint: self.fingerprint,
            longest: self.longest,
            vocabulary: self.vocabulary,
            notices,
        })
    }
}

fn scratch(error: std::io::Error) -> Error {
    Error::io("scratch file of the corpus".as_ref(), &error)
}
