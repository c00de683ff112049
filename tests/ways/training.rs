//! Everything that a user can ask of datasets and trainers, with as few words as a test needs.

use std::path::Path;

use cloze::engine::{DType, Example, Kind, Objective, TrainOptions};

use super::{Answer, Library};

/// One event of a fit.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    Step { step: u64, total: u64, epoch: f64, loss: f64, learning_rate: f64, gradient_norm: f64, examples: u64 },
    Evaluation { metrics: Vec<(String, f64)>, best: bool },
    Checkpoint { folder: String },
}

/// What happens while a fit runs, and what was told.
#[derive(Default)]
pub struct Observer {
    /// The cancel flag is set before the call.
    pub cancelled: bool,
    /// The callback asks to stop after this step.
    pub stop_at: Option<u64>,
    pub seen: Vec<News>,
}

impl Observer {
    /// Whether training may go on.
    pub fn told(&mut self, news: News) -> bool {
        let stops = matches!(news, News::Step { step, .. } if Some(step) == self.stop_at);
        self.seen.push(news);
        !stops
    }

    /// Numbers of the steps told.
    pub fn steps(&self) -> Vec<u64> {
        let step = |news: &News| if let News::Step { step, .. } = *news { Some(step) } else { None };
        self.seen.iter().filter_map(step).collect()
    }
}

/// What a trainer is and where it stands.
#[derive(Debug, PartialEq)]
pub struct Standing {
    pub labels: Vec<String>,
    pub tensors: Vec<(String, Vec<usize>)>,
    pub parameters: usize,
    pub planned_memory: u64,
    pub steps: u64,
    pub history: usize,
}

#[derive(Debug, PartialEq)]
pub struct Fit {
    pub steps: u64,
    pub best: Option<(u64, f64)>,
    pub stopped_early: bool,
}

pub type Metrics = Vec<(String, f64)>;

pub trait Learning: Library {
    type Data;
    type Trainer;

    fn data(&self, examples: &[Example]) -> Answer<Self::Data>;
    fn read(&self, file: &Path, kind: Kind) -> Answer<Self::Data>;
    fn select(&self, data: &Self::Data, numbers: &[usize]) -> Answer<Self::Data>;
    fn count(&self, data: &Self::Data) -> usize;

    fn trainer(
        &self,
        model: &Self::Model,
        options: &TrainOptions,
        labels_from: Option<&Self::Data>,
    ) -> Answer<Self::Trainer>;
    fn standing(&self, trainer: &Self::Trainer) -> Answer<Standing>;
    fn fit(
        &self,
        trainer: &mut Self::Trainer,
        train: &Self::Data,
        dev: Option<&Self::Data>,
        observer: &mut Observer,
    ) -> Answer<Fit>;
    fn checkpoint(&self, trainer: &mut Self::Trainer, folder: &Path) -> Answer<()>;
    fn resume(&self, trainer: &mut Self::Trainer, folder: &Path) -> Answer<()>;
    fn evaluate(&self, trainer: &mut Self::Trainer, data: &Self::Data) -> Answer<Metrics>;

    fn accumulate(&self, trainer: &mut Self::Trainer, batch: &Self::Data) -> Answer<f64>;
    fn apply(&self, trainer: &mut Self::Trainer, learning_rate: Option<f32>) -> Answer<f64>;
    fn parameters(&self, trainer: &Self::Trainer) -> Answer<Vec<f32>>;
    fn set_parameters(&self, trainer: &mut Self::Trainer, parameters: &[f32]) -> Answer<()>;
    fn gradients(&self, trainer: &mut Self::Trainer) -> Answer<Vec<f32>>;
    fn gradient_buffers(&self, trainer: &mut Self::Trainer) -> Answer<Vec<(*mut f32, usize)>>;
    fn set_gradients(&self, trainer: &mut Self::Trainer, gradients: &[f32]) -> Answer<()>;

    fn snapshot(&self, trainer: &Self::Trainer) -> Answer<Self::Model>;
    fn save(&self, trainer: &Self::Trainer, folder: &Path) -> Answer<()>;
    fn save_adapter(&self, trainer: &Self::Trainer, folder: &Path) -> Answer<()>;
    fn save_model(&self, model: &Self::Model, folder: &Path) -> Answer<()>;
    fn save_model_as(&self, model: &Self::Model, folder: &Path, dtype: DType) -> Answer<()>;
    fn adapt(&self, model: &Self::Model, folder: &Path) -> Answer<Self::Model>;
    fn use_head(&self, model: &Self::Model, name: &str) -> Answer<Self::Model>;
    fn heads(&self, model: &Self::Model) -> Vec<String>;
    fn evaluate_model(&self, model: &Self::Model, objective: Option<Objective>, data: &Self::Data) -> Answer<Metrics>;
}
