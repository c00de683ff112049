//! Which labels are taken for which: a table with the counts, or, of many labels, the pairs that are confused most.

use cloze::engine::Confusion;

use super::html::{escaped, percent};

/// Labels beyond which a table is no longer readable.
const MOST_LABELS: usize = 30;
/// Labels from which on the names above the columns stand upright.
const UPRIGHT: usize = 7;
/// Pairs listed in the place of a table.
const PAIRS: usize = 25;

/// The section of the page.
pub fn section(confusion: &Confusion, labels: &[String]) -> String {
    let name = |label: usize| labels.get(label).map_or_else(|| format!("label {label}"), |name| escaped(name));
    if confusion.labels() <= MOST_LABELS {
        format!("<h2>Confusion matrix</h2>\n{}", table(confusion, &name))
    } else {
        format!("<h2>Labels confused most</h2>\n{}", list(confusion, &name))
    }
}

fn table(confusion: &Confusion, name: &dyn Fn(usize) -> String) -> String {
    let labels = confusion.labels();
    let upright = if labels >= UPRIGHT { " upright" } else { "" };
    let mut html = format!(
        "<p class=\"note\">Rows are the right labels, columns the predicted ones. The shade is the part of the row.</p>\n\
         <div class=\"wide\"><table class=\"confusion{upright}\">\n<thead><tr><th></th>"
    );
    for label in 0..labels {
        html += &format!("<th scope=\"col\"><span>{}</span></th>", name(label));
    }
    html += "<th scope=\"col\" class=\"edge\"><span>recall</span></th></tr></thead>\n<tbody>\n";
    let counts = confusion.per_label();
    for (actual, row) in counts.iter().enumerate() {
        html += &format!("<tr><th scope=\"row\">{}</th>", name(actual));
        for predicted in 0..labels {
            html += &cell(confusion.count(actual, predicted), row.actual, actual == predicted);
        }
        html += &format!("<td class=\"edge\">{}</td></tr>\n", share(row.hits, row.actual));
    }
    html += "</tbody>\n<tfoot><tr><th scope=\"row\">precision</th>";
    for column in &counts {
        html += &format!("<td class=\"edge\">{}</td>", share(column.hits, column.predicted));
    }
    let (hits, all) = counts.iter().fold((0, 0), |(hits, all), row| (hits + row.hits, all + row.actual));
    html += &format!("<td class=\"edge\"><b>{}</b></td></tr></tfoot>\n</table></div>\n", share(hits, all));
    html
}

fn cell(count: u64, of: u64, right: bool) -> String {
    if count == 0 {
        return format!("<td class=\"zero{}\">0</td>", if right { " right" } else { "" });
    }
    let part = count as f64 / of as f64;
    let shade = if right { "right" } else { "wrong" };
    let strong = if part > 0.55 { " strong" } else { "" };
    format!("<td class=\"{shade}{strong}\" style=\"--part:{part:.3}\">{count}</td>")
}

fn list(confusion: &Confusion, name: &dyn Fn(usize) -> String) -> String {
    let counts = confusion.per_label();
    let labels = confusion.labels();
    let every = (0..labels).flat_map(|actual| (0..labels).map(move |predicted| (actual, predicted)));
    let mut pairs: Vec<(usize, usize)> =
        every.filter(|&(actual, predicted)| actual != predicted && confusion.count(actual, predicted) > 0).collect();
    let wrong: u64 = pairs.iter().map(|&(actual, predicted)| confusion.count(actual, predicted)).sum();
    pairs.sort_by_key(|&(actual, predicted)| std::cmp::Reverse(confusion.count(actual, predicted)));
    let mut html = format!(
        "<p class=\"note\">{labels} labels; {wrong} wrong answers in {} pairs, the {} most frequent of them.</p>\n\
         <div class=\"wide\"><table>\n<thead><tr><th>right</th><th>predicted</th><th class=\"number\">count</th>\
         <th class=\"number\">of the right</th></tr></thead>\n<tbody>\n",
        pairs.len(),
        pairs.len().min(PAIRS)
    );
    for &(actual, predicted) in pairs.iter().take(PAIRS) {
        let count = confusion.count(actual, predicted);
        html += &format!(
            "<tr><td>{}</td><td>{}</td><td class=\"number\">{count}</td><td class=\"number\">{}</td></tr>\n",
            name(actual),
            name(predicted),
            share(count, counts[actual].actual)
        );
    }
    html + "</tbody>\n</table></div>\n"
}

/// `count` of `of` in percent; a dash of none.
fn share(count: u64, of: u64) -> String {
    if of == 0 { "–".to_owned() } else { percent(count as f64 / of as f64) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|label| format!("<{label}>")).collect()
    }

    #[test]
    fn few_labels_have_a_table_with_every_count() {
        let confusion = Confusion::of(&[0, 1, 1, 1], &[0, 0, 1, 1], 3).unwrap();
        let html = section(&confusion, &names(3));
        assert_eq!(html.matches("<td class=\"zero").count(), 6);
        assert_eq!(html.matches("--part:0.500").count(), 2); // label 0 was taken for 0 and for 1
        assert_eq!(html.matches("--part:1.000\">2</td>").count(), 1);
        assert!(html.contains("&lt;2&gt;") && !html.contains("<2>"));
        assert!(html.contains("<td class=\"edge\">–</td>"), "label 2 has no recall");
    }

    #[test]
    fn many_labels_have_a_list_of_the_pairs_confused_most() {
        // label a is right three times, and said to be its successor as often as its number modulo three
        let pairs: Vec<(usize, usize)> = (0..40)
            .flat_map(|a| std::iter::repeat_n((a, a), 3).chain(std::iter::repeat_n((a, (a + 1) % 40), a % 3)))
            .collect();
        let (actual, predicted): (Vec<usize>, Vec<usize>) = pairs.into_iter().unzip();
        let html = section(&Confusion::of(&predicted, &actual, 40).unwrap(), &names(40));
        assert!(html.contains("40 labels; 39 wrong answers in 26 pairs, the 25 most frequent of them."), "{html}");
        let rows: Vec<&str> = html.split("<tr>").skip(2).collect();
        assert_eq!(rows.len(), PAIRS);
        assert!(rows[0].starts_with("<td>&lt;2&gt;</td><td>&lt;3&gt;</td><td class=\"number\">2</td>"), "{}", rows[0]);
        assert!(rows[0].contains("40.0 %") && rows[PAIRS - 1].contains("25.0 %"));
    }
}
