//! `include/cloze.h` as data. Reads the style that the header is written in, and refuses everything else with its line.

use std::collections::BTreeMap;
use std::iter::Peekable;

/// A C type.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    Void,
    Char,
    /// `int`, `int32_t`, `uint64_t`, `size_t`, `float`, `double` ...
    Number(String),
    /// A struct of this header.
    Struct(String),
    /// A pointer to a struct that only the library can look into.
    Handle(String),
    /// A pointer to a function of a type of this header.
    Callback(String),
    Pointer {
        to: Box<Type>,
        constant: bool,
    },
    Array {
        of: Box<Type>,
        length: usize,
    },
}

/// A field or a parameter.
#[derive(Debug, PartialEq)]
pub struct Variable {
    pub name: String,
    pub kind: Type,
    pub doc: String,
}

#[derive(Debug, PartialEq)]
pub enum Value {
    Int(i32),
    Unsigned(u32),
    /// The greatest `size_t`.
    Greatest,
}

#[derive(Debug, PartialEq)]
pub enum Item {
    /// The title of a section.
    Section(String),
    /// What is said of the constants that follow.
    Remark(String),
    Constant {
        name: String,
        value: Value,
        doc: String,
    },
    /// A struct that only the library can look into.
    Opaque {
        name: String,
        doc: String,
    },
    Struct {
        name: String,
        fields: Vec<Variable>,
        doc: String,
    },
    Callback {
        name: String,
        result: Type,
        parameters: Vec<Variable>,
        doc: String,
    },
    Function {
        name: String,
        result: Type,
        parameters: Vec<Variable>,
        doc: String,
    },
}

/// What is wrong, with its line.
pub type Result<T> = std::result::Result<T, String>;

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Comment(String),
    Directive(String),
    Word(String),
    Mark(char),
}

#[derive(Clone, Debug)]
struct Token {
    line: usize,
    kind: Kind,
}

/// All items, in their order.
pub fn parse(header: &str) -> Result<Vec<Item>> {
    let tokens = tokens(header)?;
    let mut parser = Parser {
        tokens: tokens.into_iter().peekable(),
        items: Vec::new(),
        types: BTreeMap::new(),
        inits: BTreeMap::new(),
    };
    parser.run()?;
    for (name, (line, count)) in &parser.inits {
        let fields = parser.items.iter().find_map(|item| match item {
            Item::Struct { name: own, fields, .. } if own == name => Some(fields.len()),
            _ => None,
        });
        if fields != Some(*count) {
            return Err(format!("line {line}: {count} values for {name}, which has {fields:?} fields"));
        }
    }
    Ok(parser.items)
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut found = Vec::new();
    let (mut rest, mut line) = (text, 1);
    while let Some(first) = rest.chars().next() {
        let (kind, length) = if let Some(comment) = rest.strip_prefix("/*") {
            let end = comment.find("*/").ok_or_else(|| format!("line {line}: a comment without end"))?;
            (Some(Kind::Comment(prose(&comment[..end]))), end + 4)
        } else if first == '#' {
            let mut end = 0;
            for part in rest.split_inclusive('\n') {
                end += part.len();
                if !part.trim_end().ends_with('\\') {
                    break;
                }
            }
            // A comment behind the directive is a token of its own.
            let end = rest[..end].find("/*").unwrap_or(rest[..end].trim_end().len());
            (Some(Kind::Directive(rest[..end].replace('\\', " ").trim().to_owned())), end)
        } else if first.is_ascii_alphanumeric() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            (Some(Kind::Word(rest[..end].to_owned())), end)
        } else if first == '"' {
            let end = rest[1..].find('"').ok_or_else(|| format!("line {line}: a string without end"))? + 2;
            (Some(Kind::Word(rest[..end].to_owned())), end)
        } else if first.is_whitespace() {
            (None, first.len_utf8())
        } else if "*(){}[];,=".contains(first) {
            (Some(Kind::Mark(first)), 1)
        } else {
            return Err(format!("line {line}: {first:?} is not understood"));
        };
        found.extend(kind.map(|kind| Token { line, kind }));
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    Ok(found)
}

/// The text of a comment without the stars at its left; empty lines separate paragraphs.
fn prose(comment: &str) -> String {
    let lines = comment.lines().map(|line| line.trim().strip_prefix('*').unwrap_or(line).trim());
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

struct Parser<I: Iterator<Item = Token>> {
    tokens: Peekable<I>,
    items: Vec<Item>,
    /// What names mean; an opaque struct is the handle that points to it.
    types: BTreeMap<String, Type>,
    /// Values that an INIT macro gives its struct: where it stands, and how many.
    inits: BTreeMap<String, (usize, usize)>,
}

impl<I: Iterator<Item = Token>> Parser<I> {
    fn run(&mut self) -> Result<()> {
        let mut doc = String::new();
        while let Some(token) = self.tokens.next() {
            match token.kind {
                Kind::Comment(text) => {
                    if let Some(title) = text.strip_prefix("-----").map(|rest| rest.trim_start_matches('-').trim()) {
                        self.items.push(Item::Section(title.lines().next().unwrap_or_default().to_owned()));
                        doc.clear();
                    } else {
                        doc = text;
                    }
                    continue;
                }
                Kind::Directive(text) => self.directive(token.line, &text, std::mem::take(&mut doc))?,
                Kind::Word(word) => self.declaration(token.line, &word, std::mem::take(&mut doc))?,
                Kind::Mark('}') => {} // of extern "C"
                Kind::Mark(mark) => return Err(format!("line {}: {mark:?} begins nothing", token.line)),
            }
            doc.clear();
        }
        Ok(())
    }

    fn directive(&mut self, line: usize, text: &str, before: String) -> Result<()> {
        let Some(definition) = text.strip_prefix("#define ") else {
            let known = ["#ifndef", "#ifdef", "#if", "#else", "#endif", "#include"];
            let is_known = known.contains(&text.split_whitespace().next().unwrap_or_default());
            return if is_known { Ok(()) } else { Err(format!("line {line}: {text} is not understood")) };
        };
        let (name, value) = definition.split_once(' ').unwrap_or((definition, ""));
        let value = value.trim();
        if matches!(name, "CLOZE_H" | "CLOZE_API") {
            return Ok(());
        }
        if let Some(name) = name.strip_suffix("_INIT") {
            let inside = value.strip_prefix('{').and_then(|value| value.strip_suffix('}'));
            let inside = inside.ok_or_else(|| format!("line {line}: {name}_INIT is not in braces"))?;
            let expected = format!("sizeof({})", name.to_lowercase());
            if inside.split(',').next().map(str::trim) != Some(&expected) {
                return Err(format!("line {line}: {name}_INIT does not begin with {expected}"));
            }
            self.inits.insert(name.to_lowercase(), (line, inside.split(',').count()));
            return Ok(());
        }
        let number = value.strip_prefix('(').and_then(|value| value.strip_suffix(')')).unwrap_or(value);
        let value = if number == "(size_t)-1" {
            Value::Greatest
        } else if let Some(number) = number.strip_suffix('u') {
            Value::Unsigned(number.parse().map_err(|_| format!("line {line}: {name} is no number: {value}"))?)
        } else {
            Value::Int(number.parse().map_err(|_| format!("line {line}: {name} is no number: {value}"))?)
        };
        if !before.is_empty() {
            self.items.push(Item::Remark(before));
        }
        let doc = self.comment_behind(line);
        self.items.push(Item::Constant { name: name.to_owned(), value, doc });
        Ok(())
    }

    fn declaration(&mut self, line: usize, word: &str, doc: String) -> Result<()> {
        match word {
            "extern" => {
                self.expect_word("\"C\"")?;
                self.expect('{')
            }
            "static" => self.skip_inline(),
            "typedef" => self.typedef(doc),
            "CLOZE_API" => {
                let (kind, name) = self.variable()?;
                let parameters = self.parameters()?;
                self.expect(';')?;
                self.items.push(Item::Function { name, result: kind, parameters, doc });
                Ok(())
            }
            other => Err(format!("line {line}: {other:?} begins nothing that is understood")),
        }
    }

    /// A function that C has in the header; other languages write it themselves.
    fn skip_inline(&mut self) -> Result<()> {
        self.expect_word("inline")?;
        let mut depth = 0;
        for token in self.tokens.by_ref() {
            match token.kind {
                Kind::Mark('{') => depth += 1,
                Kind::Mark('}') => depth -= 1,
                Kind::Directive(text) => return Err(format!("line {}: {text} within a function", token.line)),
                _ => continue,
            }
            if depth == 0 {
                return Ok(());
            }
        }
        Err("a function without end".into())
    }

    fn typedef(&mut self, doc: String) -> Result<()> {
        if self.peek_word("struct") {
            self.tokens.next();
            let name = self.word()?;
            if self.peek_mark('{') {
                return self.structure(name, doc);
            }
            self.expect_word(&name)?;
            self.expect(';')?;
            self.types.insert(name.clone(), Type::Handle(name.clone()));
            self.items.push(Item::Opaque { name, doc });
            return Ok(());
        }
        let kind = self.kind()?;
        if self.peek_mark('(') {
            self.expect('(')?;
            self.expect('*')?;
            let name = self.word()?;
            self.expect(')')?;
            let parameters = self.parameters()?;
            self.expect(';')?;
            self.types.insert(name.clone(), Type::Callback(name.clone()));
            self.items.push(Item::Callback { name, result: kind, parameters, doc });
            return Ok(());
        }
        let name = self.word()?;
        self.expect(';')?;
        self.types.insert(name, kind);
        Ok(())
    }

    fn structure(&mut self, name: String, doc: String) -> Result<()> {
        self.expect('{')?;
        let mut fields = Vec::new();
        while !self.peek_mark('}') {
            let (mut kind, field) = self.variable()?;
            if self.peek_mark('[') {
                self.expect('[')?;
                let length = self.word()?;
                let length = length.parse().map_err(|_| format!("{name}.{field}: {length} is no length"))?;
                self.expect(']')?;
                kind = Type::Array { of: Box::new(kind), length };
            }
            let line = self.line();
            self.expect(';')?;
            let doc = self.comment_behind(line);
            fields.push(Variable { name: field, kind, doc });
        }
        self.expect('}')?;
        self.expect_word(&name)?;
        self.expect(';')?;
        self.types.insert(name.clone(), Type::Struct(name.clone()));
        self.items.push(Item::Struct { name, fields, doc });
        Ok(())
    }

    fn parameters(&mut self) -> Result<Vec<Variable>> {
        self.expect('(')?;
        let mut found = Vec::new();
        loop {
            if found.is_empty() && self.peek_word("void") {
                let kind = self.kind()?;
                if kind == Type::Void {
                    break;
                }
                found.push(Variable { name: self.word()?, kind, doc: String::new() });
            } else {
                let (kind, name) = self.variable()?;
                found.push(Variable { name, kind, doc: String::new() });
            }
            if self.peek_mark(')') {
                break;
            }
            self.expect(',')?;
        }
        self.expect(')')?;
        Ok(found)
    }

    fn variable(&mut self) -> Result<(Type, String)> {
        Ok((self.kind()?, self.word()?))
    }

    /// `const char *const *`: what stands before a name.
    fn kind(&mut self) -> Result<Type> {
        let mut constant = self.constant();
        let line = self.line();
        let word = self.word()?;
        let numbers = ["int", "int32_t", "uint32_t", "int64_t", "uint64_t", "size_t", "float", "double"];
        let mut kind = match (word.as_str(), self.types.get(&word)) {
            ("void", _) => Type::Void,
            ("char", _) => Type::Char,
            (number, _) if numbers.contains(&number) => Type::Number(word),
            (_, Some(Type::Handle(name))) => {
                let handle = Type::Handle(name.clone());
                self.expect('*')?;
                constant = self.constant();
                handle
            }
            (_, Some(known)) => known.clone(),
            _ => return Err(format!("line {line}: {word} is no known type")),
        };
        while self.peek_mark('*') {
            self.expect('*')?;
            kind = Type::Pointer { to: Box::new(kind), constant };
            constant = self.constant();
        }
        Ok(kind)
    }

    fn constant(&mut self) -> bool {
        let found = self.peek_word("const");
        if found {
            self.tokens.next();
        }
        found
    }

    /// A comment that begins on the line.
    fn comment_behind(&mut self, line: usize) -> String {
        let behind = |token: &Token| token.line == line && matches!(token.kind, Kind::Comment(_));
        match self.tokens.next_if(behind) {
            Some(Token { kind: Kind::Comment(text), .. }) => text,
            _ => String::new(),
        }
    }

    fn line(&mut self) -> usize {
        self.tokens.peek().map_or(0, |token| token.line)
    }

    fn peek_mark(&mut self, mark: char) -> bool {
        self.tokens.peek().is_some_and(|token| token.kind == Kind::Mark(mark))
    }

    fn peek_word(&mut self, word: &str) -> bool {
        self.tokens.peek().is_some_and(|token| token.kind == Kind::Word(word.to_owned()))
    }

    fn word(&mut self) -> Result<String> {
        match self.tokens.next() {
            Some(Token { kind: Kind::Word(word), .. }) => Ok(word),
            Some(token) => Err(format!("line {}: {:?}, expected a name", token.line, token.kind)),
            None => Err("the header ends, expected a name".into()),
        }
    }

    fn expect_word(&mut self, expected: &str) -> Result<()> {
        let line = self.line();
        let found = self.word()?;
        if found == expected { Ok(()) } else { Err(format!("line {line}: {found}, expected {expected}")) }
    }

    fn expect(&mut self, mark: char) -> Result<()> {
        match self.tokens.next() {
            Some(token) if token.kind == Kind::Mark(mark) => Ok(()),
            Some(token) => Err(format!("line {}: {:?}, expected {mark:?}", token.line, token.kind)),
            None => Err(format!("the header ends, expected {mark:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Item, Type, Value, parse};

    #[test]
    fn what_a_header_says_is_understood() {
        let header = "#define A 1u /* one */\n/* Many\n * lines. */\ntypedef struct h h;\n\
            typedef struct s {\n int32_t a; /* first */\n const char *const *b;\n char c[4];\n} s;\n\
            CLOZE_API int32_t f(const s *in, h **out);\nCLOZE_API void g(void);\n";
        let items = parse(header).unwrap();
        assert_eq!(items[0], Item::Constant { name: "A".into(), value: Value::Unsigned(1), doc: "one".into() });
        assert_eq!(items[1], Item::Opaque { name: "h".into(), doc: "Many\nlines.".into() });
        let Item::Struct { fields, .. } = &items[2] else { panic!("{:?}", items[2]) };
        let text = Type::Pointer { to: Box::new(Type::Char), constant: true };
        assert_eq!(fields[0].doc, "first");
        assert_eq!(fields[1].kind, Type::Pointer { to: Box::new(text), constant: true });
        assert_eq!(fields[2].kind, Type::Array { of: Box::new(Type::Char), length: 4 });
        let Item::Function { parameters, result, .. } = &items[3] else { panic!("{:?}", items[3]) };
        assert_eq!((parameters.len(), result), (2, &Type::Number("int32_t".into())));
        assert!(matches!(&items[4], Item::Function { parameters, result: Type::Void, .. } if parameters.is_empty()));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for (header, message) in [
            ("\nunion u { int a; };", "line 2: \"union\" begins nothing"),
            ("typedef struct s { long a; } s;", "line 1: long is no known type"),
            ("typedef struct s { int a : 3; } s;", "':' is not understood"),
            ("typedef struct s { int a, b; } s;", "line 1: Mark(',')"),
            ("CLOZE_API unknown *f(void);", "unknown is no known type"),
            ("#pragma pack(1)", "#pragma pack(1) is not understood"),
            ("#define A \"text\"", "A is no number"),
            ("#define A 0x10", "A is no number"),
            ("typedef struct s { uint32_t size; } s;\n#define S_INIT { sizeof(s), 0 }", "2 values for s"),
            ("#define S_INIT { 1, 0 }", "does not begin with sizeof(s)"),
            ("typedef struct h h;\nCLOZE_API void f(h by_value);", "line 2: Word(\"by_value\"), expected '*'"),
            ("/* open", "a comment without end"),
            ("CLOZE_API int f(int a", "the header ends"),
        ] {
            let refused = parse(header).unwrap_err();
            assert!(refused.contains(message), "{refused}, expected {message}");
        }
    }
}
