//! Spans of a text and the units that hosts count them in.

/// A half-open range of a text; `start <= end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// First position inside.
    pub start: usize,
    /// First position after.
    pub end: usize,
}

/// What a position in a text counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OffsetUnit {
    /// Bytes of the UTF-8 text: Rust, Go, C.
    Bytes,
    /// Unicode scalar values: Python, and the offsets of HuggingFace.
    CodePoints,
    /// UTF-16 code units: JavaScript, Java, C#.
    Utf16,
}

/// Converts byte spans of `text` to `unit`, one result a span, in the order given.
///
/// Linear in the length of `text` for spans in the order of the text, as [`Encoding`](super::Encoding) has them. A
/// position past the end counts as the end; a position inside a character counts as the end of that character.
pub fn convert_offsets(text: &str, spans: &[Span], unit: OffsetUnit) -> Vec<Span> {
    if unit == OffsetUnit::Bytes || text.is_ascii() {
        let end = text.len();
        return spans.iter().map(|s| Span { start: s.start.min(end), end: s.end.min(end) }).collect();
    }
    let mut cursor = Cursor { text: text.as_bytes(), unit, byte: 0, units: 0 };
    spans.iter().map(|s| Span { start: cursor.at(s.start), end: cursor.at(s.end) }).collect()
}

/// A position of a text in bytes and in `unit`, moved to and fro by counting what lies between.
struct Cursor<'a> {
    text: &'a [u8],
    unit: OffsetUnit,
    byte: usize,
    units: usize,
}

impl Cursor<'_> {
    fn at(&mut self, byte: usize) -> usize {
        let byte = byte.min(self.text.len());
        if byte == 0 {
            // the span of a special token is 0..0 wherever it stands: answering without moving keeps the whole linear
            return 0;
        }
        if byte >= self.byte {
            self.units += self.count(self.byte, byte);
        } else {
            self.units -= self.count(byte, self.byte);
        }
        self.byte = byte;
        self.units
    }

    /// Units of the characters whose first byte lies in `from..to`.
    ///
    /// A first byte is any byte but 0b10xxxxxx. From 0xF0 on it begins a character beyond the basic plane, which takes
    /// two units of UTF-16.
    fn count(&self, from: usize, to: usize) -> usize {
        let bytes = self.text[from..to].iter();
        match self.unit {
            OffsetUnit::Bytes => to - from,
            OffsetUnit::CodePoints => bytes.filter(|&&b| b & 0xC0 != 0x80).count(),
            OffsetUnit::Utf16 => bytes.map(|&b| usize::from(b & 0xC0 != 0x80) + usize::from(b >= 0xF0)).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive(text: &str, byte: usize, unit: OffsetUnit) -> usize {
        match unit {
            OffsetUnit::Bytes => byte,
            OffsetUnit::CodePoints => text[..byte].chars().count(),
            OffsetUnit::Utf16 => text[..byte].encode_utf16().count(),
        }
    }

    #[test]
    fn one_of_each_width() {
        let text = "aé漢😀z";
        let spans = [Span { start: 1, end: 3 }, Span { start: 3, end: 10 }, Span { start: 0, end: 11 }];
        let points = convert_offsets(text, &spans, OffsetUnit::CodePoints);
        assert_eq!(points, [Span { start: 1, end: 2 }, Span { start: 2, end: 4 }, Span { start: 0, end: 5 }]);
        let utf16 = convert_offsets(text, &spans, OffsetUnit::Utf16);
        assert_eq!(utf16, [Span { start: 1, end: 2 }, Span { start: 2, end: 5 }, Span { start: 0, end: 6 }]);
    }

    #[test]
    fn positions_outside_are_taken_to_the_end() {
        let spans = [Span { start: 2, end: 99 }];
        assert_eq!(convert_offsets("é!", &spans, OffsetUnit::CodePoints), [Span { start: 1, end: 2 }]);
        assert_eq!(convert_offsets("e!", &spans, OffsetUnit::Utf16), [Span { start: 2, end: 2 }]);
    }

    proptest! {
        #[test]
        fn agrees_with_counting_from_the_start(text in "\\PC{0,40}", picks in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 0..12)) {
            let mut places: Vec<usize> = text.char_indices().map(|(byte, _)| byte).collect();
            places.push(text.len());
            let spans: Vec<Span> = picks.iter().map(|(a, b)| {
                let (a, b) = (places[a.index(places.len())], places[b.index(places.len())]);
                Span { start: a.min(b), end: a.max(b) }
            }).collect();
            for unit in [OffsetUnit::Bytes, OffsetUnit::CodePoints, OffsetUnit::Utf16] {
                let expected: Vec<Span> = spans
                    .iter()
                    .map(|s| Span { start: naive(&text, s.start, unit), end: naive(&text, s.end, unit) })
                    .collect();
                prop_assert_eq!(convert_offsets(&text, &spans, unit), expected);
            }
        }
    }
}
