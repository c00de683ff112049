//! `cloze score`: how well a text reads to the model.

use clap::{Args, ValueEnum};
use cloze::engine::{Direction, Method, Model, Score as Scored, ScoreOptions, Task, TextOptions, perplexity};
use serde_json::{Value, json};

use crate::model::{ModelArgs, spelling};
use crate::output::{Output, number, one_line, width};
use crate::stop::Done;
use crate::texts::{LengthArgs, Shape, Text, TextArgs};
use crate::work::Work;

/// Measure how likely the model finds a text
///
/// The score is the pseudo-log-likelihood: every token is masked in turn, and the natural logarithms of the
/// probabilities that the model gives to the hidden tokens are added up. Of a causal model it is the log-likelihood:
/// every token is predicted from those before it, [SEP] too. Closer to 0 is likelier. The perplexity is
/// e^(-score / tokens): lower is likelier, and texts of different length compare.
#[derive(Args)]
#[command(after_help = "\
Example:
  cloze score --model bert-base-uncased 'The cat sat on the mat.' 'The cat sat in the mat.'

JSON: text, score, tokens: [{token, log_probability}], perplexity
  text is null with --ids")]
pub struct Score {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    texts: TextArgs,
    #[command(flatten)]
    length: LengthArgs,

    /// Take special tokens such as [MASK] inside a text as plain text
    #[arg(long)]
    plain: bool,

    /// What is added up [default: causal of a causal model, else pll]
    #[arg(long, value_enum)]
    method: Option<MethodName>,

    /// Show every token's logarithm too (JSON always has them)
    #[arg(long)]
    per_token: bool,

    /// With --json, end with a line {"corpus": {texts, tokens, score, perplexity}} over all texts
    #[arg(long, requires = "json")]
    corpus: bool,

    /// Id of the mask token, for a folder without tokenizer
    #[arg(long, value_name = "ID")]
    mask_id: Option<u32>,

    /// Print JSON, one object a text
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum MethodName {
    /// Each token is masked by itself (Salazar et al. 2020)
    Pll,
    /// With it, the later pieces of the same word are (Kauf and Ivanova 2023)
    PllWordL2r,
    /// Each token is predicted from those before it: causal models only
    Causal,
}

/// The method that suits the model.
pub fn own(model: &Model) -> Method {
    match model.info().direction {
        Direction::Bidirectional => Method::PseudoLogLikelihood,
        Direction::Causal => Method::Causal,
    }
}

#[derive(Default)]
struct Corpus {
    texts: usize,
    tokens: usize,
    score: f64,
}

impl Score {
    pub fn run(&self) -> Done {
        let texts = self.texts.open(Shape::Single, None)?;
        let model = self.model.open()?;
        let method = match self.method {
            None => own(&model),
            Some(MethodName::Pll) => Method::PseudoLogLikelihood,
            Some(MethodName::PllWordL2r) => Method::WordLeftToRight,
            Some(MethodName::Causal) => Method::Causal,
        };
        let options = ScoreOptions { method, mask: self.mask_id };
        let reading = TextOptions { plain: self.plain, ..self.length.options() };
        let mut work = Work::new(&model, texts, Task::Score, reading);
        let mut out = work.output();
        let mut corpus = Corpus::default();
        while let Some(batch) = work.next()? {
            let scores = work.ask(&batch, |run| model.score(&batch.encoded, &options, run))?;
            if !self.json && corpus.texts == 0 {
                out.line(format!("{:>10}  {:>6}  {:>10}  text", "score", "tokens", "perplexity"));
            }
            for (text, score) in batch.texts().iter().zip(&scores) {
                corpus.add(score);
                if self.json {
                    out.json(&object(&model, text, score));
                } else {
                    self.read(&model, text, score, &mut out);
                }
            }
            out.flush()?;
        }
        if self.corpus {
            out.json(&json!({"corpus": {
                "texts": corpus.texts,
                "tokens": corpus.tokens,
                "score": corpus.score,
                "perplexity": corpus.perplexity(),
            }}));
        } else if !self.json && corpus.texts > 1 {
            out.line(row(corpus.score, corpus.tokens, corpus.perplexity(), &format!("all {} texts", corpus.texts)));
        }
        out.flush()
    }

    fn read(&self, model: &Model, text: &Text, score: &Scored, out: &mut Output) {
        out.line(row(score.total, score.tokens.len(), perplexity(std::slice::from_ref(score)), &text.label()));
        if self.per_token {
            let tokens: Vec<String> = score.tokens.iter().map(|t| one_line(&spelling(model, t.id))).collect();
            let column = width(tokens.iter().map(String::as_str));
            for (token, name) in score.tokens.iter().zip(&tokens) {
                let bar = out.bar(token.log_probability.exp());
                out.line(format!("{:>10.4}  {name:<column$}  {bar}", token.log_probability));
            }
        }
    }
}

impl Corpus {
    fn add(&mut self, score: &Scored) {
        self.texts += 1;
        self.tokens += score.tokens.len();
        self.score += score.total;
    }

    fn perplexity(&self) -> f64 {
        if self.tokens == 0 { 1.0 } else { (-self.score / self.tokens as f64).exp() }
    }
}

fn row(score: f64, tokens: usize, perplexity: f64, text: &str) -> String {
    let perplexity = if perplexity < 1e6 { format!("{perplexity:.2}") } else { format!("{perplexity:.3e}") };
    format!("{score:>10.3}  {tokens:>6}  {perplexity:>10}  {text}")
}

fn object(model: &Model, text: &Text, score: &Scored) -> Value {
    let token = |t: &cloze::engine::TokenScore| json!({"token": spelling(model, t.id), "log_probability": number(t.log_probability)});
    json!({
        "text": text.first(),
        "score": score.total,
        "tokens": score.tokens.iter().map(token).collect::<Vec<_>>(),
        "perplexity": perplexity(std::slice::from_ref(score)),
    })
}
