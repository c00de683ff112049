//! Words and numbers as HTML.

/// Text that can stand between tags and in a quoted attribute; control characters become spaces.
pub fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c if c.is_control() => html.push(' '),
            c => html.push(c),
        }
    }
    html
}

/// A metric: four digits behind the point.
pub fn value(value: f64) -> String {
    if value.is_finite() { format!("{value:.4}") } else { "–".to_owned() }
}

/// A part of 1 in percent.
pub fn percent(part: f64) -> String {
    format!("{:.1} %", 100.0 * part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_place() {
        assert_eq!(escaped("<b a='\"'>&amp;\n"), "&lt;b a=&#39;&quot;&#39;&gt;&amp;amp; ");
        assert_eq!((value(f64::NAN), value(0.5), percent(0.1234)), ("–".into(), "0.5000".into(), "12.3 %".into()));
    }
}
