//! What a training did, as one HTML page that needs nothing else: no network, no scripts, no files beside it.

mod confusion;
mod curves;
mod html;

use cloze::engine::{Confusion, EvaluationRecord, Metrics, Record, StepRecord};
use cloze::error::Result;

use curves::{Curve, Ink, draw};
use html::{escaped, value};

const STYLE: &str = include_str!("style.css");
/// Metric that is drawn with the loss of training.
const LOSS: &str = "loss";

/// What the page tells.
pub struct Report<'a> {
    /// What was trained on what.
    pub title: String,
    /// Names and values: the model, the data, every option that matters.
    pub facts: Vec<(&'static str, String)>,
    /// Steps and evaluations, in order.
    pub history: &'a [Record],
    /// Name of the metric that decides which parameters are kept.
    pub metric: &'a str,
    /// Metrics of the parameters that were kept, where there is a development set.
    pub kept: Option<&'a Metrics>,
    /// What those parameters take for what, where examples have one label each.
    pub confusion: Option<&'a Confusion>,
    /// Names of the labels.
    pub labels: &'a [String],
}

impl Report<'_> {
    /// The page.
    pub fn html(&self) -> Result<String> {
        let parts = [
            head(&self.title),
            self.tiles(),
            self.figures()?,
            self.evaluations(),
            self.confusion.map(|confusion| confusion::section(confusion, self.labels)).unwrap_or_default(),
            self.facts(),
            format!("<footer>Written by cloze {}.</footer>\n</body>\n</html>\n", env!("CARGO_PKG_VERSION")),
        ];
        Ok(parts.concat())
    }

    fn steps(&self) -> impl Iterator<Item = &StepRecord> {
        self.history.iter().filter_map(|record| match record {
            Record::Step(step) => Some(step),
            Record::Evaluation(_) => None,
        })
    }

    fn evaluated(&self) -> impl Iterator<Item = &EvaluationRecord> {
        self.history.iter().filter_map(|record| match record {
            Record::Evaluation(evaluation) => Some(evaluation),
            Record::Step(_) => None,
        })
    }

    fn losses(&self) -> Vec<(f64, f64)> {
        self.steps().map(|step| (step.step as f64, step.loss)).collect()
    }

    /// The loss of training without what single batches add.
    fn smoothed(&self) -> Curve {
        let losses = self.losses();
        let span = (losses.len() / 40).clamp(5, 100);
        Curve::smooth(format!("training, over {span} steps"), &losses, span)
    }

    fn tiles(&self) -> String {
        let mut tiles = Vec::new();
        if let Some(kept) = self.kept.and_then(|metrics| metrics.get(self.metric)) {
            tiles.push((self.metric, value(kept)));
        }
        if let Some(last) = self.steps().last() {
            tiles.push(("steps", last.step.to_string()));
            tiles.push(("epochs", format!("{:.2}", last.epoch)));
            let end = self.smoothed().points.last().map_or(f64::NAN, |(_, loss)| *loss);
            tiles.push(("training loss", value(end)));
        }
        let tile = |(name, value): &(&str, String)| format!("<li><b>{value}</b><span>{}</span></li>", escaped(name));
        format!("<ul class=\"tiles\">{}</ul>\n", tiles.iter().map(tile).collect::<String>())
    }

    fn figures(&self) -> Result<String> {
        let losses = self.losses();
        let mut loss = vec![
            Curve { name: "training, each step".to_owned(), ink: Ink::Pale, dotted: false, points: losses.clone() },
            self.smoothed(),
        ];
        let found = |name: &str| {
            let point = |e: &EvaluationRecord| Some((e.step as f64, e.metrics.get(name)?));
            self.evaluated().filter_map(point).collect::<Vec<_>>()
        };
        let dev = |name: &str| Curve { name: format!("dev {name}"), ink: Ink::Dev, dotted: true, points: found(name) };
        if !found(LOSS).is_empty() {
            loss.push(dev(LOSS));
        }
        let rates = self.steps().map(|step| (step.step as f64, step.learning_rate)).collect();
        let rate = Curve { name: "learning rate".to_owned(), ink: Ink::Train, dotted: false, points: rates };
        let last = losses.last().map_or(0.0, |(step, _)| *step);
        let mut html = figure("Loss", &loss, last)?;
        if self.metric != LOSS && !found(self.metric).is_empty() {
            html += &figure(&spelled(self.metric), &[dev(self.metric)], last)?;
        }
        Ok(html + &figure("Learning rate", &[rate], last)?)
    }

    fn evaluations(&self) -> String {
        let Some(first) = self.evaluated().next() else { return String::new() };
        let names: Vec<&str> = first.metrics.iter().map(|(name, _)| name).collect();
        let mut html = "<h2>Evaluations</h2>\n<div class=\"wide\"><table>\n<thead><tr>".to_owned();
        for name in ["epoch", "step", "training loss"].into_iter().chain(names.iter().map(|name| dev_name(name))) {
            html += &format!("<th class=\"number\">{}</th>", escaped(&spelled(name)));
        }
        html += "</tr></thead>\n<tbody>\n";
        let kept = self.evaluated().filter(|e| e.best).last().map(|e| e.step);
        let (mut sum, mut count) = (0.0, 0u32);
        for record in self.history {
            let evaluation = match record {
                Record::Step(step) => {
                    (sum, count) = (sum + step.loss, count + 1);
                    continue;
                }
                Record::Evaluation(evaluation) => evaluation,
            };
            let class = if Some(evaluation.step) == kept { " class=\"best\"" } else { "" };
            let loss = value(sum / f64::from(count));
            let cells = [format!("{:.2}", evaluation.epoch), evaluation.step.to_string(), loss];
            let found = names.iter().map(|name| evaluation.metrics.get(name).map_or_else(String::new, value));
            let cells = cells.into_iter().chain(found).map(|cell| format!("<td class=\"number\">{cell}</td>"));
            html += &format!("<tr{class}>{}</tr>\n", cells.collect::<String>());
            (sum, count) = (0.0, 0);
        }
        html + "</tbody>\n</table></div>\n"
    }

    fn facts(&self) -> String {
        let row = |(name, value): &(&str, String)| {
            format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escaped(name), escaped(value))
        };
        let rows: String = self.facts.iter().map(row).collect();
        format!("<h2>Options</h2>\n<table class=\"facts\">\n<tbody>\n{rows}</tbody>\n</table>\n")
    }
}

fn head(title: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <p class=\"under\">Training report</p>\n<h1>{title}</h1>\n"
    )
}

/// A chart under its heading, with what each colour means; nothing where there are no points.
fn figure(heading: &str, curves: &[Curve], last: f64) -> Result<String> {
    let Some(svg) = draw(curves, last)? else { return Ok(String::new()) };
    let heading = escaped(heading);
    let svg = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{heading} over steps\" "), 1);
    let meaning = |curve: &Curve| {
        let ink = match curve.ink {
            Ink::Pale => "pale",
            Ink::Dev => "dev",
            _ => "train",
        };
        format!("<span><i class=\"{ink}\"></i>{}</span>", escaped(&curve.name))
    };
    let meanings: String = curves.iter().map(meaning).collect();
    Ok(format!("<h2>{heading}</h2>\n<figure>{svg}<figcaption>{meanings}</figcaption></figure>\n"))
}

/// The heading of a metric beside the loss of training.
fn dev_name(metric: &str) -> &str {
    if metric == LOSS { "dev loss" } else { metric }
}

/// `macro_f1` for reading, `Macro f1`; names made of initials are capitals, `MLM loss`.
fn spelled(metric: &str) -> String {
    for initials in ["mlm", "nsp", "f1"] {
        if let Some(rest) = metric.strip_prefix(initials) {
            return initials.to_uppercase() + &rest.replace('_', " ");
        }
    }
    let (first, rest) = metric.split_at(metric.chars().next().map_or(0, char::len_utf8));
    first.to_uppercase() + &rest.replace('_', " ")
}
