//! Models and trainings on a GPU: the CPU's answers and losses, and folders and checkpoints that either device takes up.

use std::path::{Path, PathBuf};

use cloze::batch::Tokens;
use cloze::engine::{
    Candidate, Dataset, DeviceChoice, EmbedOptions, Encoded, Every, Example, ExampleInput, FillOptions, FitEvent,
    FitRun, GenerateOptions, Input, LoraOptions, Memory, Method, Model, Objective, OpenOptions, Precision, Run,
    ScoreOptions, Target, Task, TextOptions, TrainOptions, Trainable, Trainer, devices,
};
use cloze::error::Status;

use crate::harness::{close, counts, identical, in_child, numbers, prepared};

const CPU: OpenOptions =
    OpenOptions { threads: 1, device: DeviceChoice::Cpu, precision: Precision::Auto, memory: Memory::Fast };

/// The CPU computes in this type.
const F32: OpenOptions = OpenOptions { device: DeviceChoice::Cuda(0), precision: Precision::F32, ..CPU };

fn golden(name: &str) -> PathBuf {
    crate::repository().join("tests/golden").join(name)
}

fn open(folder: &Path, options: &OpenOptions) -> Model {
    Model::open(folder, options).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
}

/// A golden model on both devices; `None`, and loudly, where there is no GPU.
fn pair(name: &str, options: &OpenOptions) -> Option<[Model; 2]> {
    prepared().then(|| [&CPU, options].map(|options| open(&golden(name), options)))
}

/// Token ids below 119, which all golden models have; `[CLS]` first, a mask third.
fn sequences(seed: u64, count: usize) -> Vec<Tokens> {
    let lengths = numbers(seed, count, 12);
    let one = |(index, length): (usize, usize)| {
        let mut ids: Vec<u32> = vec![2];
        ids.extend(numbers(seed + 1 + index as u64, 2 + length, 114).into_iter().map(|id| 5 + id as u32));
        ids[2] = 4;
        Tokens { types: vec![0; ids.len()], ids }
    };
    lengths.into_iter().enumerate().map(one).collect()
}

fn encode(model: &Model, task: Task, sequences: &[Tokens]) -> Encoded {
    let inputs: Vec<Input<'_>> = sequences.iter().map(|t| Input::Tokens { ids: &t.ids, types: &t.types }).collect();
    model.encode(&inputs, task, &TextOptions::default()).unwrap()
}

/// Every number that a model answers with for the tasks that it has.
fn answers(model: &Model) -> Vec<Vec<f32>> {
    let sequences = sequences(7, 3);
    let mut parts = Vec::new();
    for task in Task::ALL.into_iter().filter(|task| model.supports(*task).is_ok()) {
        let inputs = encode(model, task, &sequences);
        parts.extend(match task {
            Task::Fill => {
                let targets: Vec<u32> = (5..119).collect();
                let options = FillOptions { targets: &targets, top_k: targets.len(), mask: Some(4) };
                let filled = model.fill(&inputs, &options, Run::default()).unwrap();
                let by_id = |mut candidates: Vec<Candidate>| {
                    candidates.sort_by_key(|candidate| candidate.id);
                    candidates.iter().map(|candidate| candidate.probability).collect()
                };
                filled.into_iter().flatten().map(|mask| by_id(mask.candidates)).collect()
            }
            Task::Score => {
                let causal = model.supports(Task::Generate).is_ok();
                let method = if causal { Method::Causal } else { Method::PseudoLogLikelihood };
                let scores = model.score(&inputs, &ScoreOptions { method, mask: Some(4) }, Run::default()).unwrap();
                let each = |score: &cloze::engine::Score| score.tokens.iter().map(|t| t.log_probability).collect();
                scores.iter().map(each).collect()
            }
            Task::NextSentence => vec![model.next_sentence(&inputs, Run::default()).unwrap()],
            Task::Embed => model.embed(&inputs, &EmbedOptions::default(), Run::default()).unwrap(),
            Task::HiddenStates => {
                let layers: Vec<usize> = (0..=model.layers()).collect();
                model.hidden_states(&inputs, &layers, Run::default()).unwrap().concat()
            }
            Task::Classify => model.classify(&inputs, Run::default()).unwrap(),
            Task::Tag => {
                let tagged = model.tag(&inputs, Run::default()).unwrap();
                tagged.into_iter().flatten().map(|token| token.probabilities).collect()
            }
            Task::Generate => {
                let options = GenerateOptions { max_tokens: 3, ..GenerateOptions::default() };
                let texts = model.generate(&inputs, &options, Run::default()).unwrap();
                let each = |text: &cloze::engine::Continuation| {
                    text.tokens.iter().flat_map(|token| [token.id as f32, token.log_probability]).collect()
                };
                texts.iter().flatten().map(each).collect()
            }
        });
    }
    parts
}

/// Sums are added in another order: a few units of f32's last place, after some layers.
const SAME: f32 = 2e-5;

#[test]
fn answers_are_those_of_the_cpu() {
    for name in ["pretraining", "sequence", "token", "causal", "sentence", "albert", "relative_key_query", "untied"] {
        let Some([cpu, gpu]) = pair(name, &F32) else { return };
        assert_eq!((gpu.info().device.id.as_str(), gpu.info().device.precision), ("cuda:0", Precision::F32));
        assert_eq!((cpu.info().tasks, cpu.info().parameters), (gpu.info().tasks, gpu.info().parameters), "{name}");
        let first = answers(&gpu);
        close(&answers(&cpu), &first, SAME);
        identical(&first, &answers(&gpu));
    }
}

/// Hidden states are rounded to 8 or 11 bits after every step: three layers of that add up to a few of these roundings.
#[test]
fn narrow_hidden_states_are_near() {
    for (precision, own, tolerance) in
        [(Precision::Auto, Precision::Bf16, 0.06), (Precision::F16, Precision::F16, 0.01)]
    {
        let options = OpenOptions { precision, ..F32 };
        for name in ["sequence", "sentence"] {
            let Some([cpu, gpu]) = pair(name, &options) else { return };
            assert_eq!(gpu.info().device.precision, own);
            close(&answers(&cpu), &answers(&gpu), tolerance);
        }
    }
}

#[test]
fn a_sequence_alone_and_in_company_has_the_same_bits() {
    let Some([_, gpu]) = pair("sentence", &F32) else { return };
    let embed = |sequences: &[Tokens]| {
        gpu.embed(&encode(&gpu, Task::Embed, sequences), &EmbedOptions::default(), Run::default()).unwrap()
    };
    let all = sequences(11, 4);
    let together = embed(&all);
    let alone: Vec<Vec<f32>> = all.iter().flat_map(|one| embed(std::slice::from_ref(one))).collect();
    identical(&together, &alone);
}

const LABELS: [&str; 3] = ["negative", "neutral", "positive"];

/// Labelled by their second token: something that can be learned.
fn examples(count: usize) -> Dataset {
    let mut data = Dataset::new();
    for tokens in sequences(23, count) {
        let target = Target::Label(LABELS[tokens.ids[1] as usize % 3].to_owned());
        data.push(Example { input: ExampleInput::Tokens(tokens), target }).unwrap();
    }
    data
}

/// Six steps of a batch of four, with the dropout that the folder has.
fn course(trainable: Trainable) -> TrainOptions {
    TrainOptions {
        labels: LABELS.map(str::to_owned).to_vec(),
        trainable,
        epochs: 2,
        batch_size: 4,
        learning_rate: 1e-3,
        weight_decay: 0.01,
        lora: LoraOptions { rank: 2, ..LoraOptions::default() },
        ..TrainOptions::default()
    }
}

/// Losses of every step, and norms of its gradients.
fn fit(trainer: &mut Trainer, data: &Dataset) -> Vec<Vec<f32>> {
    let mut steps = Vec::new();
    let mut observe = |event: &FitEvent<'_>| {
        if let FitEvent::Step { record, .. } = event {
            steps.push(vec![record.loss as f32, record.gradient_norm as f32]);
        }
        true
    };
    trainer.fit(data, None, FitRun { observe: Some(&mut observe), ..FitRun::default() }).unwrap();
    steps
}

fn trainer(model: &Model, options: &TrainOptions) -> Trainer {
    Trainer::new(model, options, None).unwrap_or_else(|error| panic!("{error}"))
}

/// AdamW's first steps have the size of the learning rate whatever the gradient's: where that is nearly 0, its last places
/// decide the direction.
const LEARNED: f32 = 2e-3;

#[test]
fn training_goes_the_way_of_the_cpu() {
    for trainable in [Trainable::All, Trainable::Top(1), Trainable::Head, Trainable::Lora] {
        let Some([cpu, gpu]) = pair("sequence", &F32) else { return };
        let (options, data) = (course(trainable), examples(12));
        let mut trainers = [&cpu, &gpu, &gpu].map(|model| trainer(model, &options));
        let [expected, got, again] = trainers.each_mut().map(|trainer| fit(trainer, &data));
        assert_eq!(got.len(), 6);
        close(&expected, &got, LEARNED);
        identical(&got, &again);
        let parameters = trainers.each_ref().map(|trainer| trainer.parameters().unwrap());
        identical(&parameters[1..2], &parameters[2..]);
        // What the GPU learned is saved, and the CPU answers from it.
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("learned");
        trainers[1].save(&folder).unwrap();
        let (snapshot, saved) = (trainers[1].snapshot().unwrap(), open(&folder, &CPU));
        assert_eq!((snapshot.info().device.id.as_str(), saved.info().device.id.as_str()), ("cuda:0", "cpu"));
        close(&answers(&saved), &answers(&snapshot), SAME);
        if trainable == Trainable::Lora {
            let folder = place.path().join("adapter");
            trainers[1].save_adapter(&folder).unwrap();
            close(&answers(&saved), &answers(&cpu.with_adapter(&folder).unwrap()), SAME);
            close(&answers(&saved), &answers(&gpu.with_adapter(&folder).unwrap()), SAME);
        }
    }
}

#[test]
fn words_are_learned_as_on_the_cpu() {
    for (name, objective) in [("pretraining", Objective::MaskedLm), ("causal", Objective::CausalLm)] {
        let Some(models) = pair(name, &F32) else { return };
        let options = TrainOptions { objective, labels: Vec::new(), epochs: 1, ..course(Trainable::All) };
        let mut data = Dataset::new();
        for tokens in sequences(31, 8) {
            let learned = |(place, id): (usize, &u32)| if place % 3 == 2 { *id as i32 } else { -100 };
            let target = match objective {
                Objective::MaskedLm => Target::Ids(tokens.ids.iter().enumerate().map(learned).collect()),
                _ => Target::None,
            };
            data.push(Example { input: ExampleInput::Tokens(tokens), target }).unwrap();
        }
        let [expected, got] = models.each_ref().map(|model| fit(&mut trainer(model, &options), &data));
        close(&expected, &got, LEARNED);
    }
}

/// The numbers that train come out and go in as they are.
#[test]
fn parameters_and_gradients_are_flat_buffers() {
    let Some([cpu, gpu]) = pair("sequence", &F32) else { return };
    let (options, data) = (course(Trainable::Top(1)), examples(4));
    let mut trainers = [&cpu, &gpu].map(|model| trainer(model, &options));
    let parameters = trainers.each_ref().map(|trainer| trainer.parameters().unwrap());
    identical(&parameters[..1], &parameters[1..]);
    trainers.iter_mut().for_each(|trainer| _ = trainer.accumulate(&data, None).unwrap());
    let gradients = trainers.each_mut().map(|trainer| trainer.gradients().unwrap());
    close(&gradients[..1], &gradients[1..], LEARNED);
    let [cpu, gpu] = &mut trainers;
    gpu.set_gradients(&gradients[0]).unwrap();
    gpu.set_parameters(&parameters[0]).unwrap();
    identical(&[gpu.gradients().unwrap()], &gradients[..1]);
    let buffers = gpu.gradient_buffers().unwrap();
    let names = gpu.parameter_names().unwrap();
    let sizes: Vec<usize> = names.iter().map(|(_, shape)| shape.iter().product()).collect();
    assert_eq!(buffers.iter().map(|(_, count)| *count).collect::<Vec<_>>(), sizes);
    let mut addresses: Vec<usize> = buffers.iter().map(|(data, _)| *data as usize).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), sizes.len());
    assert!(addresses[0] > 0);
    cpu.apply(None).unwrap();
    gpu.apply(None).unwrap();
    close(&[cpu.parameters().unwrap()], &[gpu.parameters().unwrap()], 1e-6);
}

#[test]
fn a_checkpoint_of_one_device_goes_on_on_the_other() {
    let Some([cpu, gpu]) = pair("sequence", &F32) else { return };
    let data = examples(12);
    for (first, second) in [(&gpu, &cpu), (&cpu, &gpu)] {
        let place = tempfile::tempdir().unwrap();
        let options = TrainOptions {
            checkpoints: Some(place.path().to_owned()),
            checkpoint: Every::Steps(2),
            ..course(Trainable::Top(1))
        };
        let mut begun = trainer(first, &options);
        let mut stop = |event: &FitEvent<'_>| !matches!(event, FitEvent::Checkpoint { .. });
        let stopped = begun.fit(&data, None, FitRun { observe: Some(&mut stop), ..FitRun::default() });
        assert_eq!(stopped.err().map(|error| error.status()), Some(Status::Cancelled));
        let mut other = trainer(second, &options);
        other.resume(place.path()).unwrap();
        assert_eq!(other.position().step, 2);
        identical(&[begun.parameters().unwrap()], &[other.parameters().unwrap()]);
        let (own, others) = (fit(&mut begun, &data), fit(&mut other, &data));
        assert_eq!(own.len(), 4);
        close(&own, &others, LEARNED);
    }
}

#[test]
fn f16_answers_but_does_not_train() {
    let Some([_, gpu]) = pair("sequence", &OpenOptions { precision: Precision::F16, ..F32 }) else { return };
    let error = Trainer::new(&gpu, &course(Trainable::Head), None).err().unwrap();
    assert_eq!(error.status(), Status::Unsupported);
    assert!(error.message().starts_with("training in f16"), "{error}");
}

#[test]
fn bf16_trains() {
    let Some([cpu, gpu]) = pair("sequence", &OpenOptions { precision: Precision::Bf16, ..F32 }) else { return };
    let (options, data) = (course(Trainable::All), examples(12));
    let [expected, got] = [&cpu, &gpu].map(|model| fit(&mut trainer(model, &options), &data));
    close(&expected, &got, 0.1);
}

#[test]
fn what_is_closed_leaves_nothing_on_the_gpu() {
    in_child(&[], || {
        let model = open(&golden("sequence"), &F32);
        // often enough for graphs to be recorded and replayed
        for _ in 0..4 {
            model.classify(&encode(&model, Task::Classify, &sequences(7, 2)), Run::default()).unwrap();
        }
        let mut trainer = trainer(&model, &course(Trainable::Top(1)));
        fit(&mut trainer, &examples(8));
        let snapshot = trainer.snapshot().unwrap();
        drop((model, trainer));
        assert!(counts().blocks > 0);
        drop(snapshot);
        assert_eq!((counts().blocks, counts().bytes), (0, 0));
    });
}

#[test]
fn auto_takes_the_gpu() {
    let Some([_, model]) = pair("sentence", &OpenOptions { device: DeviceChoice::Auto, ..CPU }) else { return };
    let info = model.info();
    assert_eq!((info.device.id.as_str(), info.device.precision, info.device_note), ("cuda:0", Precision::Bf16, None));
}

#[test]
fn every_device_is_listed() {
    in_child(&[("CLOZE_EMULATED_DEVICES", "2")], || {
        let list = devices();
        assert_eq!(list.iter().map(|device| device.id.as_str()).collect::<Vec<_>>(), ["cpu", "cuda:0", "cuda:1"]);
        let second = &list[2];
        assert_eq!(
            (second.name.as_str(), second.precision, &second.unusable),
            ("Emulated GPU 1", Precision::Bf16, &None)
        );
        assert!(second.capability.is_some() && second.free_memory > 0 && second.free_memory <= second.memory);
        let model = open(&golden("sentence"), &OpenOptions { device: DeviceChoice::Cuda(1), ..CPU });
        assert_eq!(model.info().device.id, "cuda:1");
    });
}

#[test]
fn an_old_gpu_is_listed_and_passed_over() {
    in_child(&[("CLOZE_EMULATED_CAPABILITY", "75")], || {
        let list = devices();
        assert_eq!((list.len(), list[1].capability), (2, Some((7, 5))));
        assert!(list[1].unusable.as_ref().unwrap().contains("compute capability 7.5, need 8.0"), "{list:?}");
        let info = open(&golden("sentence"), &OpenOptions { device: DeviceChoice::Auto, ..CPU }).info();
        assert_eq!(info.device.id, "cpu");
        assert!(info.device_note.as_ref().unwrap().contains("compute capability 7.5"), "{info:?}");
    });
}

#[test]
fn a_model_that_does_not_fit_goes_to_the_cpu_where_that_is_left_open() {
    in_child(&[("CLOZE_EMULATED_MEMORY", "20000")], || {
        let folder = golden("sentence");
        let on = |device| OpenOptions { device, ..CPU };
        let error = Model::open(&folder, &on(DeviceChoice::Cuda(0))).err().unwrap();
        assert_eq!(error.status(), Status::OutOfMemory);
        let info = open(&folder, &on(DeviceChoice::Auto)).info();
        assert_eq!(info.device.id, "cpu");
        assert!(info.device_note.as_ref().unwrap().contains("cannot allocate"), "{info:?}");
        let narrow = OpenOptions { precision: Precision::Bf16, ..on(DeviceChoice::Auto) };
        let device = open(&folder, &narrow).info().device;
        assert_eq!((device.id.as_str(), device.precision), ("cpu", Precision::Bf16));
        // What only CUDA has is not silently left out.
        let half = OpenOptions { precision: Precision::F16, ..on(DeviceChoice::Auto) };
        let error = Model::open(&folder, &half).err().unwrap();
        assert_eq!(error.status(), Status::Unsupported);
        assert!(error.message().contains("cannot allocate"), "{error}");
    });
}

#[test]
fn training_plans_with_what_is_free() {
    in_child(&[("CLOZE_EMULATED_MEMORY", "200000")], || {
        // room for the weights, not for what trains
        let [cpu, gpu] = [&CPU, &F32].map(|options| open(&golden("sequence"), options));
        let options = course(Trainable::All);
        let need = trainer(&cpu, &options).memory().parameters;
        let error = Trainer::new(&gpu, &options, None).err().unwrap();
        assert_eq!(error.status(), Status::OutOfMemory);
        let budget = gpu.info().device.free_memory / 20 * 19;
        assert!(error.message().contains(&format!("({need} for what trains")), "{error}");
        assert!(error.message().contains(&format!("the budget is {}", budget / 1000)), "{error}");
    });
}
