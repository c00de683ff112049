//! Sizes and offsets of the header's structs where pointers have 64 bits.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::header::{Item, Type};

/// Size and alignment of every struct, and offsets of fields.
pub struct Layouts {
    known: BTreeMap<String, (usize, usize)>,
    offsets: Vec<(String, Vec<(String, usize)>)>,
}

impl Layouts {
    pub fn of(items: &[Item]) -> Self {
        let mut layouts = Self { known: BTreeMap::new(), offsets: Vec::new() };
        for item in items {
            let Item::Struct { name, fields, .. } = item else { continue };
            let (mut end, mut alignment, mut offsets) = (0_usize, 1, Vec::new());
            for field in fields {
                let (size, own) = layouts.size(&field.kind);
                let start = end.next_multiple_of(own);
                offsets.push((field.name.clone(), start));
                (end, alignment) = (start + size, alignment.max(own));
            }
            layouts.known.insert(name.clone(), (end.next_multiple_of(alignment), alignment));
            layouts.offsets.push((name.clone(), offsets));
        }
        layouts
    }

    fn size(&self, kind: &Type) -> (usize, usize) {
        match kind {
            Type::Pointer { .. } | Type::Handle(_) | Type::Callback(_) => (8, 8),
            Type::Char => (1, 1),
            Type::Number(name) => match name.as_str() {
                "int" | "int32_t" | "uint32_t" | "float" => (4, 4),
                _ => (8, 8),
            },
            Type::Array { of, length } => (self.size(of).0 * length, self.size(of).1),
            Type::Struct(name) => self.known[name],
            Type::Void => panic!("void has no size"),
        }
    }

    /// For the tests of languages that lay out structs themselves.
    pub fn json(&self) -> Value {
        let object = |(name, offsets): &(String, Vec<(String, usize)>)| {
            let fields: Value = offsets.iter().map(|(field, offset)| (field.clone(), json!(offset))).collect();
            (name.clone(), json!({ "size": self.known[name].0, "fields": fields }))
        };
        self.offsets.iter().map(object).collect()
    }

    /// A C file that a compiler accepts where it lays out the same.
    pub fn assertions(&self) -> String {
        let mut c = String::from("#include <cloze.h>\n");
        for (name, offsets) in &self.offsets {
            c += &format!("_Static_assert(sizeof({name}) == {}, \"size of {name}\");\n", self.known[name].0);
            for (field, offset) in offsets {
                c += &format!("_Static_assert(offsetof({name}, {field}) == {offset}, \"{name}.{field}\");\n");
            }
        }
        c
    }
}
