//! Tables: which columns hold the texts and the label, by a header line or by their number.
//!
//! Without a header and without a choice, the columns are text and label, or text, second text and label; where no
//! target is wanted, text, or text and second text.

use super::{Kind, LABEL, TEXT, number, numbers, quoted, second};
use crate::error::{Error, Result};
use crate::train::examples::{Dataset, Example, Source, Target};

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// By its place, counted from 1.
    Number(usize),
    /// By its name in the header, case and all.
    Name(String),
}

/// Whether the first row names the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Header {
    /// It does if a column is chosen by name, or if a text and, where a target is wanted, a label go by a usual name.
    #[default]
    Detect,
    /// It does.
    Present,
    /// It does not.
    Absent,
}

/// The columns that count. By default they are found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    /// The text. Where it is chosen and `second` is not, there is no second text.
    pub text: Option<Column>,
    /// The second text.
    pub second: Option<Column>,
    /// The label or number.
    pub label: Option<Column>,
    /// Whether there is a header.
    pub header: Header,
}

/// A row: its line and its fields.
pub(super) type Row = (usize, Vec<String>);

/// Rows of fields between tabs; blank lines are none.
pub(super) fn tabs(text: &str) -> impl Iterator<Item = Row> {
    let rows = super::numbered(text).filter(|(_, line)| !line.is_empty());
    rows.map(|(line, text)| (line, text.split('\t').map(str::to_owned).collect()))
}

/// Rows of fields between commas; blank lines are none. Fails, naming the line, at a quote that is not closed.
pub(super) fn commas(text: &str) -> std::result::Result<Vec<Row>, (usize, Error)> {
    // A last row that the text cannot hold: an open quote swallows it.
    const END: &str = "\n\u{0}";
    let whole = [text, END].concat();
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(whole.as_bytes());
    let (mut rows, mut line, mut seen) = (Vec::new(), 1, 0);
    for record in reader.records() {
        let record = record.map_err(|error| (line, Error::file(error.to_string())))?;
        // The reader's own count is one short after "\r\n" and does not see blank lines.
        let from = record.position().map_or(0, |position| position.byte() as usize);
        let blank = whole[from..].bytes().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        line += whole[seen..from + blank].bytes().filter(|&byte| byte == b'\n').count();
        seen = from + blank;
        rows.push((line, record.iter().map(str::to_owned).collect::<Vec<_>>()));
    }
    match rows.pop() {
        Some((_, end)) if end == ["\u{0}"] => Ok(rows),
        Some((line, _)) => Err((line, Error::file("a quote in this row is not closed"))),
        None => Ok(rows),
    }
}

/// Appends an example for every row.
pub(super) fn read(
    dataset: &mut Dataset,
    name: &str,
    rows: impl Iterator<Item = Row>,
    columns: &Columns,
    kind: Kind,
) -> Result<()> {
    if matches!(kind, Kind::Tags | Kind::Span) {
        return Err(Error::argument(format!("{name}: a table, expected {}", kind.name())));
    }
    let mut rows = rows.peekable();
    let Some((first_line, first)) = rows.peek().cloned() else { return Ok(()) };
    let header = has_header(&first, columns, kind);
    let places =
        Places::find(&first, header, columns, kind).map_err(|error| error.within(format!("{name}:{first_line}")))?;
    for (line, row) in rows.skip(usize::from(header)) {
        let within = |error: Error| error.within(format!("{name}:{line}"));
        if row.len() != first.len() {
            let (found, expected) = (row.len(), first.len());
            return Err(within(Error::file(format!("{found} columns, line {first_line} has {expected}"))));
        }
        let example = places.example(row, kind).map_err(within)?;
        dataset.push_from(example, line)?;
    }
    Ok(())
}

fn has_header(first: &[String], columns: &Columns, kind: Kind) -> bool {
    let named =
        [&columns.text, &columns.second, &columns.label].into_iter().flatten().any(|c| matches!(c, Column::Name(_)));
    let label = kind == Kind::None || usual(first, LABEL).is_some();
    match columns.header {
        Header::Present => true,
        Header::Absent => false,
        Header::Detect => named || (usual(first, TEXT).is_some() && label),
    }
}

/// The first of `names` that the header has, and its place.
fn usual<'k>(header: &[String], names: &[&'k str]) -> Option<(&'k str, usize)> {
    let same = |cell: &String, name: &str| cell.trim().eq_ignore_ascii_case(name);
    names.iter().find_map(|name| Some((*name, header.iter().position(|cell| same(cell, name))?)))
}

/// Places of the columns that count, all within a row.
struct Places {
    text: usize,
    second: Option<usize>,
    label: Option<usize>,
}

impl Places {
    fn find(first: &[String], header: bool, columns: &Columns, kind: Kind) -> Result<Self> {
        let chosen = |column: &Option<Column>| column.as_ref().map(|column| place(column, first, header)).transpose();
        let (text, second, label) = (chosen(&columns.text)?, chosen(&columns.second)?, chosen(&columns.label)?);
        let label = if kind == Kind::None { None } else { label };
        let found = match header {
            true => Self::by_name(first, text, second, label, kind)?,
            false => Self::by_order(first.len(), text, second, label, kind)?,
        };
        let mut places: Vec<usize> = [Some(found.text), found.second, found.label].into_iter().flatten().collect();
        places.sort_unstable();
        match places.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::argument(format!("column {} is chosen twice", pair[0] + 1))),
            None => Ok(found),
        }
    }

    fn by_name(
        header: &[String],
        text: Option<usize>,
        chosen: Option<usize>,
        label: Option<usize>,
        kind: Kind,
    ) -> Result<Self> {
        let absent = |what: &str, names: &[&str]| {
            let cells: Vec<&str> = header.iter().map(String::as_str).collect();
            Error::file(format!("no column of {what} among {}, expected one of {}", quoted(&cells), quoted(names)))
        };
        let (text, found) = match text {
            Some(text) => (text, None),
            None => {
                let (name, text) = usual(header, TEXT).ok_or_else(|| absent("text", TEXT))?;
                (text, usual(header, second(name)).map(|(_, place)| place))
            }
        };
        let label = match (label, kind) {
            (None, Kind::None) => None,
            (Some(label), _) => Some(label),
            (None, _) => Some(usual(header, LABEL).ok_or_else(|| absent("labels", LABEL))?.1),
        };
        // a header may call the label by a name of a second text
        let found = found.filter(|found| Some(*found) != label && *found != text);
        Ok(Self { text, second: chosen.or(found), label })
    }

    fn by_order(
        width: usize,
        text: Option<usize>,
        second: Option<usize>,
        label: Option<usize>,
        kind: Kind,
    ) -> Result<Self> {
        let unclear = |expected: &str| {
            Error::file(format!("{width} columns without a header, expected {expected}; choose columns by number"))
        };
        let wants_label = kind != Kind::None;
        if let Some(text) = text {
            return match label.is_some() == wants_label {
                true => Ok(Self { text, second, label }),
                false => Err(Error::argument("the column of the text is chosen, that of the label is not")),
            };
        }
        let taken = [second, label];
        let mut free = (0..width).filter(|place| !taken.contains(&Some(*place)));
        let missing = usize::from(wants_label && label.is_none());
        let texts = free.clone().count().saturating_sub(missing);
        let most = if second.is_some() { 1 } else { 2 };
        if texts == 0 || texts > most {
            return Err(unclear(if wants_label { "text, label or text, text, label" } else { "text or text, text" }));
        }
        let text = free.next().unwrap_or_default();
        let second = if texts == 2 { free.next() } else { second };
        let label = if missing == 1 { free.next() } else { label };
        Ok(Self { text, second, label })
    }

    fn example(&self, mut row: Vec<String>, kind: Kind) -> Result<Example> {
        let mut take = |place: usize| std::mem::take(&mut row[place]);
        let target = match self.label.map(&mut take) {
            Some(cell) => target(&cell, kind)?,
            None => Target::None,
        };
        let text = take(self.text);
        let input = match self.second {
            Some(second) => Source::Pair(text, take(second)),
            None => Source::Text(text),
        };
        Ok(Example { input, target })
    }
}

/// The place of a chosen column.
fn place(column: &Column, first: &[String], header: bool) -> Result<usize> {
    match column {
        Column::Number(number) => match number.checked_sub(1).filter(|place| *place < first.len()) {
            Some(place) => Ok(place),
            None => Err(Error::argument(format!("column {number}, expected 1 to {}", first.len()))),
        },
        Column::Name(name) if !header => {
            Err(Error::argument(format!("column \"{name}\" is chosen by name, but there is no header")))
        }
        Column::Name(name) => first.iter().position(|cell| cell == name).ok_or_else(|| {
            let cells: Vec<&str> = first.iter().map(String::as_str).collect();
            Error::argument(format!("column \"{name}\", expected one of {}", quoted(&cells)))
        }),
    }
}

fn target(cell: &str, kind: Kind) -> Result<Target> {
    let parts = || cell.split(',').map(str::trim);
    match kind {
        Kind::Labels if cell.trim().is_empty() => Ok(Target::Labels(Vec::new())),
        Kind::Labels => Ok(Target::Labels(parts().map(str::to_owned).collect())),
        Kind::Numbers => Ok(numbers(parts().map(number).collect::<Result<_>>()?)),
        Kind::Label => Ok(Target::Label(cell.trim().to_owned())),
        Kind::None | Kind::Tags | Kind::Span => Ok(Target::None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::*;

    fn tsv(text: &str, columns: &Columns, kind: Kind) -> Result<Dataset> {
        Dataset::parse("t.tsv", text.as_bytes(), &Format::Tsv(columns.clone()), kind)
    }

    fn csv(text: &str, kind: Kind) -> Result<Dataset> {
        Dataset::parse("t.csv", text.as_bytes(), &Format::Csv(Columns::default()), kind)
    }

    fn text(text: &str, label: &str) -> Example {
        Example { input: Source::Text(text.to_owned()), target: Target::Label(label.to_owned()) }
    }

    fn pair(a: &str, b: &str, target: Target) -> Example {
        Example { input: Source::Pair(a.to_owned(), b.to_owned()), target }
    }

    fn number_of(column: usize) -> Option<Column> {
        Some(Column::Number(column))
    }

    fn name_of(column: &str) -> Option<Column> {
        Some(Column::Name(column.to_owned()))
    }

    #[test]
    fn without_a_header_columns_go_by_order() {
        let columns = Columns::default();
        let two = tsv("a \"b\" \"c\t1\r\n\nd\t0\n", &columns, Kind::Label).unwrap();
        assert_eq!(two.examples(), [text("a \"b\" \"c", "1"), text("d", "0")]);
        assert_eq!((two.place(0), two.place(1)), ("t.tsv:1".to_owned(), "t.tsv:3".to_owned()));
        let three = csv("\"a, b\",c,4.5\n", Kind::Numbers).unwrap();
        assert_eq!(three.examples(), [pair("a, b", "c", Target::Number(4.5))]);
        let none = tsv("a\tb\n", &columns, Kind::None).unwrap();
        assert_eq!(none.examples(), [pair("a", "b", Target::None)]);
    }

    #[test]
    fn a_header_is_known_by_its_names() {
        for header in ["text\tcategory", "Sentence\tLABEL", " review \tsentiment"] {
            let dataset = tsv(&format!("{header}\na\tx\n"), &Columns::default(), Kind::Label).unwrap();
            assert_eq!((dataset.examples(), dataset.place(0)), (&[text("a", "x")][..], "t.tsv:2".to_owned()));
        }
        let label = || Target::Label("x".to_owned());
        for (header, row) in [
            ("id\tlabel\tsentence1\tsentence2", "7\tx\ta\tb"),
            ("index\tsentence\tquestion\tlabel", "7\tb\ta\tx"),
            ("hypothesis\tpremise\tlabel", "b\ta\tx"),
        ] {
            let dataset = tsv(&format!("{header}\n{row}\n"), &Columns::default(), Kind::Label).unwrap();
            assert_eq!(dataset.examples(), [pair("a", "b", label())], "{header}");
        }
        let texts = tsv("id\ttext\n7\ta\n", &Columns::default(), Kind::None).unwrap();
        assert_eq!(texts.examples()[0].input, Source::Text("a".to_owned()));
    }

    #[test]
    fn columns_can_be_chosen() {
        let cola = Columns { text: number_of(4), label: number_of(2), ..Columns::default() };
        let dataset = tsv("gj04\t1\t\ta\ngj04\t0\t*\tb\n", &cola, Kind::Label).unwrap();
        assert_eq!(dataset.examples(), [text("a", "1"), text("b", "0")]);
        let mrpc = Columns { text: name_of("#1"), second: name_of("#2"), label: name_of("Quality"), ..cola.clone() };
        let dataset = tsv("Quality\t#1\t#2\nx\ta\tb\n", &mrpc, Kind::Label).unwrap();
        assert_eq!(dataset.examples(), [pair("a", "b", Target::Label("x".to_owned()))]);
        let last = Columns { label: number_of(1), ..Columns::default() };
        assert_eq!(tsv("x\ta\n", &last, Kind::Label).unwrap().examples(), [text("a", "x")]);
        let absent = Columns { header: Header::Absent, ..Columns::default() };
        assert_eq!(tsv("text\tlabel\n", &absent, Kind::Label).unwrap().examples(), [text("text", "label")]);
        let present = Columns { text: number_of(1), label: number_of(2), header: Header::Present, ..absent };
        assert_eq!(tsv("u\tv\na\tx\n", &present, Kind::Label).unwrap().examples(), [text("a", "x")]);
    }

    #[test]
    fn a_cell_may_hold_several_labels_or_numbers() {
        let labels = |cell: &str| csv(&format!("a,\"{cell}\"\n"), Kind::Labels).unwrap().examples()[0].target.clone();
        assert_eq!(labels("x, y"), Target::Labels(vec!["x".to_owned(), "y".to_owned()]));
        assert_eq!(labels(" "), Target::Labels(vec![]));
        let numbers = csv("a,\"1, -2.5\"\n", Kind::Numbers).unwrap();
        assert_eq!(numbers.examples()[0].target, Target::Numbers(vec![1.0, -2.5]));
    }

    #[test]
    fn lines_are_counted_through_quotes_and_blank_lines() {
        let text = "text,label\r\n\r\n\"a\r\nb \"\"c\"\"\",x\r\n\r\n\nd,y\n\"e\",";
        let error = csv(text, Kind::Label).unwrap_err();
        assert_eq!(error.message(), "t.csv:8: the label is empty");
        let dataset = csv(&text[..text.len() - 5], Kind::Label).unwrap();
        assert_eq!(dataset.examples()[0].input, Source::Text("a\r\nb \"c\"".to_owned()));
        assert_eq!((dataset.place(0), dataset.place(1)), ("t.csv:3".to_owned(), "t.csv:7".to_owned()));
    }

    #[test]
    fn broken_rows_are_named() {
        for (text, kind, message) in [
            ("a,x\nb\n", Kind::Label, "t.csv:2: 1 columns, line 1 has 2"),
            ("text,label\nb,x,y\n", Kind::Label, "t.csv:2: 3 columns, line 1 has 2"),
            (
                "a,b,c,d\n",
                Kind::Label,
                "t.csv:1: 4 columns without a header, expected text, label or text, text, label; choose columns by number",
            ),
            (
                "a\n",
                Kind::Label,
                "t.csv:1: 1 columns without a header, expected text, label or text, text, label; choose columns by number",
            ),
            (
                "a,b,c\n",
                Kind::None,
                "t.csv:1: 3 columns without a header, expected text or text, text; choose columns by number",
            ),
            ("a,0.5\nb,half\n", Kind::Numbers, "t.csv:2: \"half\", expected a number"),
            ("a,nan\n", Kind::Numbers, "t.csv:1: NaN, expected a finite number"),
            (",x\n", Kind::Label, "t.csv:1: the text is empty"),
            ("a,x\n\"b,x\nc,x\n", Kind::Label, "t.csv:2: a quote in this row is not closed"),
            ("a,\"x\"\nb,\"x", Kind::Label, "t.csv:2: a quote in this row is not closed"),
            ("a,x\n", Kind::Tags, "t.csv: a table, expected words with tags"),
            ("text,label\n", Kind::Label, "t.csv: no examples"),
        ] {
            assert_eq!(csv(text, kind).unwrap_err().message(), message, "{text:?}");
        }
    }

    #[test]
    fn columns_that_do_not_exist_are_named() {
        let columns = |text, label, header| Columns { text, second: None, label, header };
        for (columns, message) in [
            (columns(number_of(3), number_of(2), Header::Detect), "column 3, expected 1 to 2"),
            (columns(number_of(0), number_of(2), Header::Detect), "column 0, expected 1 to 2"),
            (columns(number_of(2), number_of(2), Header::Absent), "column 2 is chosen twice"),
            (columns(name_of("no"), None, Header::Detect), "column \"no\", expected one of \"a\", \"b\""),
            (columns(name_of("a"), None, Header::Absent), "column \"a\" is chosen by name, but there is no header"),
            (columns(number_of(1), None, Header::Absent), "the column of the text is chosen, that of the label is not"),
        ] {
            let error = tsv("a\tb\n", &columns, Kind::Label).unwrap_err();
            assert_eq!(error.message(), format!("t.tsv:1: {message}"));
        }
        let error = tsv("a\tb\nc\td\n", &columns(name_of("a"), None, Header::Detect), Kind::Label).unwrap_err();
        assert!(
            error.message().starts_with("t.tsv:1: no column of labels among \"a\", \"b\", expected one of \"label\", ")
        );
    }
}
