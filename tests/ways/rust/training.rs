//! Datasets and trainers through the Rust API.

use std::path::Path;

use cloze::engine::{
    Cancel, DType, Dataset, Example, FitEvent, FitRun, Kind, Metrics as Measured, Model, Objective, Run, TrainOptions,
    Trainer,
};

use super::{Rust, failure};
use crate::ways::Answer;
use crate::ways::training::{Fit, Learning, Metrics, News, Observer, Standing};

fn metrics(measured: &Measured) -> Metrics {
    measured.iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn news(event: &FitEvent<'_>) -> News {
    match *event {
        FitEvent::Step { record, total, size, .. } => News::Step {
            step: record.step,
            total,
            epoch: record.epoch,
            loss: record.loss,
            learning_rate: record.learning_rate,
            gradient_norm: record.gradient_norm,
            examples: size.examples as u64,
        },
        FitEvent::Evaluation { record, .. } => {
            News::Evaluation { metrics: metrics(&record.metrics), best: record.best }
        }
        FitEvent::Checkpoint { folder } => News::Checkpoint { folder: folder.to_str().unwrap().to_owned() },
    }
}

impl Learning for Rust {
    type Data = Dataset;
    type Trainer = Trainer;

    fn data(&self, examples: &[Example]) -> Answer<Dataset> {
        let mut data = Dataset::new();
        examples.iter().try_for_each(|example| data.push(example.clone())).map_err(failure)?;
        Ok(data)
    }

    fn read(&self, file: &Path, kind: Kind) -> Answer<Dataset> {
        Dataset::read(file, None, kind).map_err(failure)
    }

    fn select(&self, data: &Dataset, numbers: &[usize]) -> Answer<Dataset> {
        data.select(numbers).map_err(failure)
    }

    fn count(&self, data: &Dataset) -> usize {
        data.len()
    }

    fn trainer(&self, model: &Model, options: &TrainOptions, labels_from: Option<&Dataset>) -> Answer<Trainer> {
        Trainer::new(model, options, labels_from).map_err(failure)
    }

    fn standing(&self, trainer: &Trainer) -> Answer<Standing> {
        Ok(Standing {
            labels: trainer.labels().to_vec(),
            tensors: trainer.parameter_names().map_err(failure)?,
            parameters: trainer.parameter_count(),
            planned_memory: trainer.memory().total(),
            steps: trainer.position().step,
            history: trainer.position().history.len(),
        })
    }

    fn fit(
        &self,
        trainer: &mut Trainer,
        train: &Dataset,
        dev: Option<&Dataset>,
        observer: &mut Observer,
    ) -> Answer<Fit> {
        let cancel = Cancel::new();
        if observer.cancelled {
            cancel.set();
        }
        let mut observe = |event: &FitEvent<'_>| observer.told(news(event));
        let run = FitRun { cancel: Some(&cancel), observe: Some(&mut observe) };
        let fitted = trainer.fit(train, dev, run).map_err(failure)?;
        Ok(Fit { steps: fitted.steps, best: fitted.best, stopped_early: fitted.stopped_early })
    }

    fn checkpoint(&self, trainer: &mut Trainer, folder: &Path) -> Answer<()> {
        trainer.checkpoint(folder).map_err(failure)
    }

    fn resume(&self, trainer: &mut Trainer, folder: &Path) -> Answer<()> {
        trainer.resume(folder).map_err(failure)
    }

    fn evaluate(&self, trainer: &mut Trainer, data: &Dataset) -> Answer<Metrics> {
        trainer.evaluate(data, Run::default()).map(|measured| metrics(&measured)).map_err(failure)
    }

    fn accumulate(&self, trainer: &mut Trainer, batch: &Dataset) -> Answer<f64> {
        trainer.accumulate(batch, None).map_err(failure)
    }

    fn apply(&self, trainer: &mut Trainer, learning_rate: Option<f32>) -> Answer<f64> {
        trainer.apply(learning_rate).map_err(failure)
    }

    fn parameters(&self, trainer: &Trainer) -> Answer<Vec<f32>> {
        trainer.parameters().map_err(failure)
    }

    fn set_parameters(&self, trainer: &mut Trainer, parameters: &[f32]) -> Answer<()> {
        trainer.set_parameters(parameters).map_err(failure)
    }

    fn gradients(&self, trainer: &mut Trainer) -> Answer<Vec<f32>> {
        trainer.gradients().map_err(failure)
    }

    fn gradient_buffers(&self, trainer: &mut Trainer) -> Answer<Vec<(*mut f32, usize)>> {
        trainer.gradient_buffers().map_err(failure)
    }

    fn set_gradients(&self, trainer: &mut Trainer, gradients: &[f32]) -> Answer<()> {
        trainer.set_gradients(gradients).map_err(failure)
    }

    fn snapshot(&self, trainer: &Trainer) -> Answer<Model> {
        trainer.snapshot().map_err(failure)
    }

    fn save(&self, trainer: &Trainer, folder: &Path) -> Answer<()> {
        trainer.save(folder).map_err(failure)
    }

    fn save_adapter(&self, trainer: &Trainer, folder: &Path) -> Answer<()> {
        trainer.save_adapter(folder).map_err(failure)
    }

    fn save_model(&self, model: &Model, folder: &Path) -> Answer<()> {
        model.save(folder).map_err(failure)
    }

    fn save_model_as(&self, model: &Model, folder: &Path, dtype: DType) -> Answer<()> {
        model.save_as(folder, dtype).map_err(failure)
    }

    fn adapt(&self, model: &Model, folder: &Path) -> Answer<Model> {
        model.with_adapter(folder).map_err(failure)
    }

    fn use_head(&self, model: &Model, name: &str) -> Answer<Model> {
        model.with_head(name).map_err(failure)
    }

    fn heads(&self, model: &Model) -> Vec<String> {
        model.heads().into_iter().map(str::to_owned).collect()
    }

    fn evaluate_model(&self, model: &Model, objective: Option<Objective>, data: &Dataset) -> Answer<Metrics> {
        let objective = objective.map_or_else(|| model.objective(), Ok).map_err(failure)?;
        let found = model.evaluate(objective, data, 0, Run::default()).map_err(failure)?;
        Ok(metrics(&found.metrics))
    }
}
