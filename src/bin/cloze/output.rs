//! What goes to stdout: JSON lines for programs, tables for people.

use std::io::{IsTerminal, Write, stdout};

use indicatif::ProgressBar;
use serde_json::Value;

use crate::stop::Stop;

/// Collects lines and writes them a chunk of work at a time, so that they and the progress bar do not mix.
pub struct Output {
    lines: String,
    terminal: bool,
    bar: ProgressBar,
}

impl Output {
    /// Stdout beside `bar`.
    pub fn new(bar: &ProgressBar) -> Self {
        Self { lines: String::new(), terminal: stdout().is_terminal(), bar: bar.clone() }
    }

    pub fn line(&mut self, line: impl AsRef<str>) {
        self.lines.push_str(line.as_ref().trim_end());
        self.lines.push('\n');
    }

    pub fn json(&mut self, value: &Value) {
        self.lines.push_str(&value.to_string());
        self.lines.push('\n');
    }

    /// A bar of ten characters for a probability; nothing unless people watch.
    pub fn bar(&self, probability: f32) -> String {
        if !self.terminal || !(0.0..=1.0).contains(&probability) {
            return String::new();
        }
        let eighths = (probability * 80.0).round() as usize;
        let rest = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
        format!("{:<10}", "█".repeat(eighths / 8) + rest)
    }

    /// Writes what was collected.
    pub fn flush(&mut self) -> Result<(), Stop> {
        let lines = std::mem::take(&mut self.lines);
        let write = || {
            let mut out = stdout().lock();
            out.write_all(lines.as_bytes()).and_then(|()| out.flush())
        };
        self.bar.suspend(write).map_err(|error| Stop::stdout(&error))
    }
}

/// An f32 as JSON with no more digits than tell it from its neighbours.
pub fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

/// Text that cannot break a table or command a terminal: control characters become spaces.
pub fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// 1234567 as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The widest of `cells` in characters.
pub fn width<'a>(cells: impl IntoIterator<Item = &'a str>) -> usize {
    cells.into_iter().map(|cell| cell.chars().count()).max().unwrap_or(0)
}
