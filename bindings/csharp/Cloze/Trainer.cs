using System;
using System.Collections.Generic;
using System.Threading;

namespace Cloze
{
    /// <summary>What a trainer is and where it stands.</summary>
    public sealed unsafe class TrainerInfo
    {
        internal TrainerInfo(Raw.cloze_trainer_state* state)
        {
            Objective = (Objective)state->objective;
            Labels = (int)state->labels;
            Parameters = (long)state->parameters;
            PlannedMemory = (long)state->planned_memory;
            Steps = (long)state->steps;
            Epochs = state->epochs;
        }

        /// <summary>What is learned.</summary>
        public Objective Objective { get; }

        /// <summary>Number of labels.</summary>
        public int Labels { get; }

        /// <summary>Numbers that train.</summary>
        public long Parameters { get; }

        /// <summary>Bytes that training takes beside the mapped weights and the cache.</summary>
        public long PlannedMemory { get; }

        /// <summary>Optimizer steps done.</summary>
        public long Steps { get; }

        /// <summary>Passes over the examples done, in part.</summary>
        public double Epochs { get; }
    }

    /// <summary>What a fit came to.</summary>
    public sealed unsafe class FitResult
    {
        internal FitResult(Raw.cloze_fit_result* result)
        {
            StoppedEarly = result->stopped_early != 0;
            Steps = (long)result->steps;
            Epochs = result->epochs;
            BestStep = (long)result->best_step;
            BestValue = result->best_value;
        }

        /// <summary>Whether patience ended it.</summary>
        public bool StoppedEarly { get; }

        /// <summary>Optimizer steps done, since the trainer was new.</summary>
        public long Steps { get; }

        /// <summary>Passes over the examples done, in part.</summary>
        public double Epochs { get; }

        /// <summary>Of the best evaluation; 0 where there was none.</summary>
        public long BestStep { get; }

        /// <summary>Of the metric that decides.</summary>
        public double BestValue { get; }
    }

    /// <summary>A model that learns: the parameters that train, their gradients, and how far training has come. It
    /// works for one call at a time: another throws <see cref="Status.Busy"/>, also from a callback of the first. Its
    /// model never changes. Results have the same bits on any number of threads.</summary>
    public sealed unsafe partial class Trainer : IDisposable
    {
        private delegate int Fitting(Call call, Raw.cloze_fit_options* options, Raw.cloze_fit_result* result);

        internal Handle Handle { get; }

        /// <summary>A trainer of a model. Labels come from the options, else from the examples, sorted, else from the
        /// model's own head. That head is taken over if it fits; else there is a new one.</summary>
        /// <param name="model">What it starts from; it may be disposed of before the trainer.</param>
        /// <param name="options">What is learned and how.</param>
        /// <param name="labelsFrom">Examples that have the labels; may be null.</param>
        /// <exception cref="ClozeException"><see cref="Status.OutOfMemory"/> names the bytes that are needed where
        /// <see cref="TrainOptions.Memory"/> is too little.</exception>
        public Trainer(Model model, TrainOptions options = null, Dataset labelsFrom = null)
        {
            if (model == null)
            {
                throw new ArgumentNullException(nameof(model));
            }
            using (var call = new Call(CancellationToken.None, model.Handle, labelsFrom?.Handle))
            {
                Raw.cloze_train_options o = call.Options(options);
                IntPtr made;
                call.Check(Raw.cloze_trainer_new(model.Handle.Value, &o, Of(labelsFrom?.Handle), &made, call.Error));
                Handle = new Handle(Kind.Trainer, made, model.Handle.Memory);
            }
        }

        private static IntPtr Of(Handle handle)
        {
            return handle == null ? IntPtr.Zero : handle.Value;
        }

        /// <summary>What the trainer is and where it stands.</summary>
        public TrainerInfo Info
        {
            get
            {
                using (var call = new Call(CancellationToken.None, Handle))
                {
                    var state = new Raw.cloze_trainer_state { size = (uint)sizeof(Raw.cloze_trainer_state) };
                    call.Check(Raw.cloze_trainer_info(Handle.Value, &state, call.Error));
                    return new TrainerInfo(&state);
                }
            }
        }

        /// <summary>One line of JSON: "labels"; "fresh", names of tensors that began at random; "tensors", name and
        /// shape of each that trains, in the order of <see cref="Parameters()"/>; and "history", loss and learning rate
        /// of every step, metrics of every evaluation.</summary>
        public string Report()
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                return call.Text((to, capacity, size) =>
                    Raw.cloze_trainer_report(Handle.Value, (byte*)to, capacity, size, call.Error));
            }
        }

        /// <summary>The names of the labels, by their numbers.</summary>
        public IReadOnlyList<string> Labels
        {
            get
            {
                var labels = new string[Info.Labels];
                using (var call = new Call(CancellationToken.None, Handle))
                {
                    for (int i = 0; i < labels.Length; i++)
                    {
                        uint number = (uint)i;
                        labels[i] = call.Text((to, capacity, size) =>
                            Raw.cloze_trainer_label(Handle.Value, number, (byte*)to, capacity, size, call.Error));
                    }
                }
                return labels;
            }
        }

        /// <summary>Trains to the end of the options' epochs or steps, from where the trainer stands: a fit that was
        /// stopped goes on with the next step, to the same bits as one that was not.</summary>
        /// <param name="train">Examples to learn from. <see cref="Status.InvalidInput"/> names one that cannot be used,
        /// before the first step.</param>
        /// <param name="dev">Examples to evaluate on; may be null.</param>
        /// <param name="progress">Told as the fit goes on, on this thread. It may use any model, and read any
        /// dataset.</param>
        /// <param name="cancellationToken">Stops the fit within about 50 ms.</param>
        /// <exception cref="OperationCanceledException">The parameters are those of the last whole step.</exception>
        /// <exception cref="ClozeException"><see cref="Status.NotFinite"/> names the step and its examples; the
        /// parameters are those of the last whole step.</exception>
        public FitResult Fit(
            Dataset train,
            Dataset dev = null,
            IProgress<TrainEvent> progress = null,
            CancellationToken cancellationToken = default)
        {
            if (train == null)
            {
                throw new ArgumentNullException(nameof(train));
            }
            return Fit(train.Handle, dev?.Handle, progress, cancellationToken, (call, options, result) =>
                Raw.cloze_trainer_fit(
                    Handle.Value, train.Handle.Value, Of(dev?.Handle), options, result, call.Error));
        }

        /// <summary>As <see cref="Fit(Dataset, Dataset, IProgress{TrainEvent}, CancellationToken)"/>, with examples
        /// made of text: pairs of segments, half of which follow each other, and masks, both anew in every epoch, from
        /// the trainer's seed alone.</summary>
        /// <param name="train">Text to learn from; <see cref="Objective.Pretraining"/> refuses one document.</param>
        /// <param name="dev">Text to evaluate on; may be null.</param>
        /// <param name="progress">Told as it goes on, on this thread.</param>
        /// <param name="cancellationToken">Stops it within about 50 ms.</param>
        public FitResult Pretrain(
            Corpus train,
            Corpus dev = null,
            IProgress<TrainEvent> progress = null,
            CancellationToken cancellationToken = default)
        {
            if (train == null)
            {
                throw new ArgumentNullException(nameof(train));
            }
            return Fit(train.Handle, dev?.Handle, progress, cancellationToken, (call, options, result) =>
                Raw.cloze_trainer_pretrain(
                    Handle.Value, train.Handle.Value, Of(dev?.Handle), options, result, call.Error));
        }

        private FitResult Fit(
            Handle train, Handle dev, IProgress<TrainEvent> progress, CancellationToken token, Fitting fit)
        {
            using (var call = new Call(token, Handle, train, dev))
            {
                var options = new Raw.cloze_fit_options
                {
                    size = (uint)sizeof(Raw.cloze_fit_options),
                    cancel = call.Flag(),
                    observe = call.Observe(progress),
                    user = call.User(),
                };
                var result = new Raw.cloze_fit_result { size = (uint)sizeof(Raw.cloze_fit_result) };
                call.Check(fit(call, &options, &result));
                return new FitResult(&result);
            }
        }

        /// <summary>Writes a checkpoint of this moment, in one step: parameters, moments, steps done. Between the steps
        /// of a loop of your own too.</summary>
        /// <exception cref="ClozeException"><see cref="Status.InvalidArgument"/>: between <see cref="Accumulate"/> and
        /// <see cref="Apply()"/>.</exception>
        public void Checkpoint(string folder)
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                call.Check(Raw.cloze_trainer_checkpoint(Handle.Value, call.Required(folder, nameof(folder)), call.Error));
            }
        }

        /// <summary>Takes over a checkpoint of a trainer with the same options; a fit then goes on to the same bits as
        /// the run that wrote it.</summary>
        /// <param name="folder">A checkpoint, or the folder of checkpoints for its newest.</param>
        public void Resume(string folder)
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                call.Check(Raw.cloze_trainer_resume(Handle.Value, call.Required(folder, nameof(folder)), call.Error));
            }
        }

        /// <summary>Metrics of the parameters as they are: "loss", and fractions of 1: "accuracy", "macro_f1" ...; NaN
        /// where one is not defined.</summary>
        /// <param name="data">Examples.</param>
        /// <param name="options">Text and MaxTokens stay at their defaults: the trainer's count.</param>
        /// <param name="cancellationToken">Stops the call.</param>
        public IReadOnlyDictionary<string, double> Evaluate(
            Dataset data, CallOptions options = null, CancellationToken cancellationToken = default)
        {
            if (data == null)
            {
                throw new ArgumentNullException(nameof(data));
            }
            using (var call = new Call(cancellationToken, Handle, data.Handle))
            {
                Raw.cloze_call_options o = call.Options(options);
                Raw.cloze_call_options* at = &o;
                return call.Metrics((to, capacity, count) => Raw.cloze_trainer_evaluate(
                    Handle.Value, data.Handle.Value, at, (Raw.cloze_metric*)to, capacity, count, call.Error));
            }
        }

        /// <summary>The parameters as they are, as a model of its own: to answer from while training goes on.</summary>
        public Model Snapshot()
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                IntPtr made;
                call.Check(Raw.cloze_trainer_snapshot(Handle.Value, &made, call.Error));
                return Model.Take(call, made, Handle.Memory);
            }
        }

        /// <summary>Writes a HuggingFace folder as <see cref="Model.Save(string)"/> does. Low-rank pairs are merged
        /// into the weights.</summary>
        public void Save(string folder)
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                call.Check(Raw.cloze_trainer_save(Handle.Value, call.Required(folder, nameof(folder)), call.Error));
            }
        }

        /// <summary>Writes a PEFT folder: the low-rank pairs and the head.</summary>
        /// <exception cref="ClozeException"><see cref="Status.InvalidArgument"/>: the trainer has no low-rank
        /// pairs.</exception>
        public void SaveAdapter(string folder)
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                byte* path = call.Required(folder, nameof(folder));
                call.Check(Raw.cloze_trainer_save_adapter(Handle.Value, path, call.Error));
            }
        }

        /// <summary>Frees the trainer, as soon as no call uses it. Its model, snapshots and datasets stay. Again does
        /// nothing.</summary>
        public void Dispose()
        {
            Handle.Dispose();
        }
    }

    public sealed unsafe partial class Model
    {
        /// <summary>Metrics on examples: "loss", and fractions of 1: "accuracy", "macro_f1" ...; NaN where one is not
        /// defined.</summary>
        /// <param name="data">Examples; they are cut as in training.</param>
        /// <param name="objective">What was learned; null: what the head was trained for.</param>
        /// <param name="options">Text stays at its default.</param>
        /// <param name="cancellationToken">Stops the call.</param>
        public IReadOnlyDictionary<string, double> Evaluate(
            Dataset data,
            Objective? objective = null,
            CallOptions options = null,
            CancellationToken cancellationToken = default)
        {
            if (data == null)
            {
                throw new ArgumentNullException(nameof(data));
            }
            using (var call = new Call(cancellationToken, Handle, data.Handle))
            {
                Raw.cloze_call_options o = call.Options(options);
                Raw.cloze_call_options* at = &o;
                uint number = (uint)objective.GetValueOrDefault();
                return call.Metrics((to, capacity, count) => Raw.cloze_model_evaluate(
                    Handle.Value, number, data.Handle.Value, at, (Raw.cloze_metric*)to, capacity, count, call.Error));
            }
        }
    }
}
