//! Numbers with as many digits as they have, and JSON that a person can read.

use std::fmt::Write as _;

use serde_json::Value;

/// Most characters of a line, where one value does not take more.
const WIDTH: usize = 120;

/// The value with numbers of eight significant digits, more than the tolerances ask for.
pub fn rounded(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(rounded).collect(),
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), rounded(value))).collect(),
        Value::Number(number) if number.is_f64() => {
            let short: f64 = format!("{:.7e}", number.as_f64().unwrap()).parse().unwrap();
            Value::from(short)
        }
        other => other.clone(),
    }
}

/// What fits on a line stands on one; long lists of numbers fill lines.
pub fn pretty(value: &Value) -> String {
    let mut text = String::new();
    write(&mut text, value, 0);
    text.push('\n');
    text
}

fn write(text: &mut String, value: &Value, depth: usize) {
    let line = on_a_line(value);
    let used = text.len() - text.rfind('\n').map_or(0, |end| end + 1);
    // The outermost two levels always open up: a line for each model, dataset and case would be too long to compare.
    if depth > 1 && used + line.chars().count() < WIDTH || !value.is_array() && !value.is_object() {
        text.push_str(&line);
        return;
    }
    let indent = "  ".repeat(depth + 1);
    let (open, close) = if value.is_array() { ('[', ']') } else { ('{', '}') };
    text.push(open);
    match value {
        Value::Array(items) if items.iter().all(Value::is_number) => numbers(text, items, &indent),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let _ = write!(text, "{}\n{indent}", if index > 0 { "," } else { "" });
                write(text, item, depth + 1);
            }
        }
        Value::Object(fields) => {
            for (index, (name, value)) in fields.iter().enumerate() {
                let _ = write!(text, "{}\n{indent}{}: ", if index > 0 { "," } else { "" }, Value::from(name.as_str()));
                write(text, value, depth + 1);
            }
        }
        _ => {}
    }
    let _ = write!(text, "\n{}{close}", "  ".repeat(depth));
}

fn numbers(text: &mut String, items: &[Value], indent: &str) {
    let mut used = WIDTH;
    for (index, item) in items.iter().enumerate() {
        let item = format!("{item}{}", if index + 1 < items.len() { "," } else { "" });
        if used + item.len() + 1 > WIDTH {
            let _ = write!(text, "\n{indent}{item}");
            used = indent.len() + item.len();
        } else {
            let _ = write!(text, " {item}");
            used += item.len() + 1;
        }
    }
}

fn on_a_line(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(on_a_line).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) if fields.is_empty() => "{}".into(),
        Value::Object(fields) => {
            let field =
                |(name, value): (&String, &Value)| format!("{}: {}", Value::from(name.as_str()), on_a_line(value));
            format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
