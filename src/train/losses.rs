//! What the heads made of some examples: losses, and how often the best guess was right.

/// Sums over predictions of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Σ losses.
    pub loss: f64,
    /// Predictions whose likeliest answer was the right one.
    pub correct: u64,
    /// Predictions.
    pub count: u64,
}

impl Tally {
    /// Adds the predictions of `other`.
    pub fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
        self.count += other.count;
    }

    /// Mean loss and share of right answers; `None` of nothing.
    pub fn mean(&self) -> Option<Mean> {
        let count = self.count as f64;
        (self.count > 0).then(|| Mean { loss: self.loss / count, accuracy: self.correct as f64 / count })
    }
}

/// Means over predictions of one kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// Of their losses.
    pub loss: f64,
    /// Share whose likeliest answer was the right one.
    pub accuracy: f64,
}

/// What a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Losses {
    /// The loss that is minimised: the mean over the batch, of pretraining the sum of both.
    pub loss: f64,
    /// Of words, where words are predicted.
    pub words: Tally,
    /// Of next sentences, where those are judged.
    pub next: Tally,
}

impl Losses {
    /// Adds those of `other`.
    pub fn add(&mut self, other: Self) {
        self.loss += other.loss;
        self.words.add(other.words);
        self.next.add(other.next);
    }
}
