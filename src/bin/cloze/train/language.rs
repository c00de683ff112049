//! `cloze train` on plain text, which is `cloze pretrain --model`.

use super::Train;
use crate::pretrain::start::StartArgs;
use crate::pretrain::{Language, Pretrain};
use crate::stop::Stop;

impl Train {
    /// The same as `cloze pretrain` has it.
    ///
    /// Fails on options that concern files of examples.
    pub fn pretraining(&self, language: Language) -> Result<Pretrain, Stop> {
        let others = [self.files.given(), self.labels.given(), self.head.given_for_labels()];
        let adapter = self.adapter_out.as_ref().map(|_| "--adapter-out");
        if let Some(option) = others.into_iter().chain([adapter]).flatten().next() {
            return Err(Stop::usage(format!(
                "{option} does not go with --task {}: it learns from text",
                self.task.name()
            )));
        }
        let out = self.out.clone().ok_or_else(|| Stop::usage("no folder for the model: give --out DIR"))?;
        let (folder, runs) = (self.model.folder()?, self.model.runs_on().clone());
        Ok(Pretrain {
            corpus: self.train.clone(),
            dev: self.dev.clone(),
            out,
            report: self.report.clone(),
            task: language,
            start: StartArgs::with_model(folder, runs, self.head.trains(), self.head.is_fresh()),
            max_tokens: self.head.max_tokens(),
            text: self.text.clone(),
            draw: self.draw.clone(),
            course: self.course.clone(),
            evaluation: self.evaluation.clone(),
            memory: self.memory.clone(),
            checkpoints: self.checkpoints.clone(),
            json: self.json,
            log_every: self.log_every,
        })
    }

    /// Fails on options that concern plain text.
    pub fn check_examples(&self) -> Result<(), Stop> {
        match self.text.given().or(self.draw.given()) {
            Some(option) => Err(Stop::usage(format!("{option} goes with --task mlm or mlm+nsp"))),
            None => Ok(()),
        }
    }
}
