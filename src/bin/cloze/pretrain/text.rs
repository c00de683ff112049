//! How text becomes examples.

use clap::{Args, ValueEnum};
use cloze::engine::{Lines, MaskUnit, Recipe, Renewal, TrainOptions};

#[derive(Args, Clone)]
pub struct TextArgs {
    /// What a line of text is [default: paragraphs]
    #[arg(long, value_enum, help_heading = "Text")]
    lines: Option<LinesName>,

    /// Share of the tokens that are to be predicted [default: 0.15]
    #[arg(long, value_name = "P", help_heading = "Text")]
    mask: Option<f64>,

    /// Mask whole words, not single tokens of them
    #[arg(long, help_heading = "Text")]
    whole_words: bool,

    /// Share of the examples that are made shorter [default: 0.1]
    #[arg(long, value_name = "P", help_heading = "Text")]
    short: Option<f64>,

    /// Share of the pairs whose second text is from another document [default: 0.5]
    #[arg(long, value_name = "P", help_heading = "Text")]
    random_next: Option<f64>,
}

/// What a line of text is.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum LinesName {
    /// A paragraph of sentences
    Paragraphs,
    /// A sentence
    Sentences,
}

impl TextArgs {
    pub fn lines(&self) -> Lines {
        match self.lines {
            None | Some(LinesName::Paragraphs) => Lines::Paragraphs,
            Some(LinesName::Sentences) => Lines::Sentences,
        }
    }

    /// An option that was given.
    pub fn given(&self) -> Option<&'static str> {
        let given = [
            (self.lines.is_some(), "--lines"),
            (self.mask.is_some(), "--mask"),
            (self.whole_words, "--whole-words"),
            (self.short.is_some(), "--short"),
            (self.random_next.is_some(), "--random-next"),
        ];
        given.into_iter().find_map(|(is_given, option)| is_given.then_some(option))
    }

    pub fn put(&self, options: &mut TrainOptions) {
        let usual = Recipe::default();
        options.pretraining = Recipe {
            masked: self.mask.unwrap_or(usual.masked),
            unit: if self.whole_words { MaskUnit::WholeWord } else { usual.unit },
            short: self.short.unwrap_or(usual.short),
            random_next: self.random_next.unwrap_or(usual.random_next),
            ..options.pretraining
        };
    }
}

/// What is drawn of text while it is learned.
#[derive(Args, Clone)]
pub struct DrawArgs {
    /// Take the same pairs and masks in every epoch, instead of drawing them anew
    #[arg(long, help_heading = "Text")]
    same_masks: bool,

    /// Begin with the words' frequencies in the text as the bias of their logits: a new model learns sooner from context
    #[arg(long, help_heading = "Start")]
    unigram_bias: bool,

    /// Most examples of --dev that are evaluated [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), requires = "dev", help_heading = "Evaluation")]
    dev_examples: Option<u32>,
}

impl DrawArgs {
    /// An option that was given.
    pub fn given(&self) -> Option<&'static str> {
        let given = [
            (self.same_masks, "--same-masks"),
            (self.unigram_bias, "--unigram-bias"),
            (self.dev_examples.is_some(), "--dev-examples"),
        ];
        given.into_iter().find_map(|(is_given, option)| is_given.then_some(option))
    }

    pub fn put(&self, options: &mut TrainOptions) {
        if self.same_masks {
            options.pretraining.renewal = Renewal::Never;
        }
        options.unigram_bias = self.unigram_bias;
        options.dev_examples = self.dev_examples.map_or(0, |most| most as usize);
    }
}
