using System;
using System.Collections.Generic;
using System.Threading;

namespace Cloze
{
    /// <summary>How a head is found in closed form.</summary>
    public enum SolveMethod : uint
    {
        /// <summary>Least squares with a penalty on the weights: labels, several labels, numbers, tags.</summary>
        Ridge = Raw.CLOZE_SOLVE_RIDGE,

        /// <summary>Linear discriminant analysis: labels and tags; good with few examples a label.</summary>
        Discriminant = Raw.CLOZE_SOLVE_DISCRIMINANT,
    }

    /// <summary>Options of <see cref="Trainer.Solve"/>.</summary>
    public sealed class SolveOptions
    {
        /// <summary>How the head is found.</summary>
        public SolveMethod Method { get; set; }

        /// <summary>Penalty of a ridge, shrinkage of a discriminant (at most 1); 0: chosen from the examples.</summary>
        public double Strength { get; set; }

        /// <summary>Told how much is done.</summary>
        public IProgress<CallProgress> Progress { get; set; }
    }

    /// <summary>The gradients of a tensor where they lie.</summary>
    public struct GradientBuffer
    {
        internal GradientBuffer(IntPtr data, long count)
        {
            Data = data;
            Count = count;
        }

        /// <summary>32-bit floats in the memory of the model's device.</summary>
        public IntPtr Data { get; }

        /// <summary>How many.</summary>
        public long Count { get; }
    }

    public sealed unsafe partial class Trainer
    {
        /// <summary>Runs one batch forward and back, and adds its gradients.</summary>
        /// <returns>Its mean loss.</returns>
        /// <exception cref="OperationCanceledException">The gradients are cleared.</exception>
        public double Accumulate(Dataset batch, CancellationToken cancellationToken = default)
        {
            if (batch == null)
            {
                throw new ArgumentNullException(nameof(batch));
            }
            using (var call = new Call(cancellationToken, Handle, batch.Handle))
            {
                double loss;
                call.Check(Raw.cloze_trainer_accumulate(
                    Handle.Value, batch.Handle.Value, call.Flag(), &loss, call.Error));
                return loss;
            }
        }

        /// <summary>Makes an optimizer step with the mean of the accumulated batches, whose gradients are cleared, at
        /// the learning rate of the options.</summary>
        /// <returns>The norm of the gradients before it is scaled down.</returns>
        /// <exception cref="ClozeException"><see cref="Status.InvalidArgument"/>: nothing was accumulated.
        /// <see cref="Status.NotFinite"/>: gradients are not finite; the parameters stay as they were.</exception>
        public double Apply()
        {
            return Step(-1);
        }

        /// <summary>As <see cref="Apply()"/>, at a learning rate.</summary>
        public double Apply(float learningRate)
        {
            if (!(learningRate >= 0))
            {
                throw new ArgumentOutOfRangeException(
                    nameof(learningRate), learningRate, $"{nameof(learningRate)} is {learningRate}");
            }
            return Step(learningRate);
        }

        private double Step(float learningRate)
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                double norm;
                call.Check(Raw.cloze_trainer_apply(Handle.Value, learningRate, &norm, call.Error));
                return norm;
            }
        }

        /// <summary>Copies of the parameters that train, <see cref="TrainerInfo.Parameters"/> numbers: one tensor after
        /// another in the order of <see cref="Report"/>.</summary>
        public float[] Parameters()
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                return call.Floats(0, (to, capacity, count) =>
                    Raw.cloze_trainer_parameters(Handle.Value, (float*)to, capacity, count, call.Error));
            }
        }

        /// <summary>Writes them into an array.</summary>
        /// <returns>How many there are.</returns>
        /// <exception cref="ClozeException"><see cref="Status.BufferTooSmall"/>: the array has less room.</exception>
        public int Parameters(float[] destination)
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                return call.Floats(destination, (to, capacity, count) =>
                    Raw.cloze_trainer_parameters(Handle.Value, (float*)to, capacity, count, call.Error));
            }
        }

        /// <summary>Sets the parameters that train, all of them.</summary>
        public void SetParameters(float[] parameters)
        {
            if (parameters == null)
            {
                throw new ArgumentNullException(nameof(parameters));
            }
            using (var call = new Call(CancellationToken.None, Handle))
            {
                fixed (float* from = parameters)
                {
                    call.Check(Raw.cloze_trainer_set_parameters(
                        Handle.Value, from, Native.Size(parameters.Length), call.Error));
                }
            }
        }

        /// <summary>Copies of what was accumulated since the last step: gradients of the sum of its losses.</summary>
        public float[] Gradients()
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                return call.Floats(0, (to, capacity, count) =>
                    Raw.cloze_trainer_gradients(Handle.Value, (float*)to, capacity, count, call.Error));
            }
        }

        /// <summary>Writes them into an array.</summary>
        /// <returns>How many there are.</returns>
        /// <exception cref="ClozeException"><see cref="Status.BufferTooSmall"/>: the array has less room.</exception>
        public int Gradients(float[] destination)
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                return call.Floats(destination, (to, capacity, count) =>
                    Raw.cloze_trainer_gradients(Handle.Value, (float*)to, capacity, count, call.Error));
            }
        }

        /// <summary>Where the gradients lie, a buffer for each tensor in the order of <see cref="Report"/>: to be
        /// averaged over machines in place. All work on them has ended; yours has to before the next call on the
        /// trainer, until which they are valid. <see cref="Apply()"/> still divides them by the number of batches
        /// accumulated here.</summary>
        public IReadOnlyList<GradientBuffer> GradientBuffers()
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                UIntPtr count;
                int status = Raw.cloze_trainer_gradient_buffers(
                    Handle.Value, null, Native.Size(0), &count, call.Error);
                if (status != Raw.CLOZE_BUFFER_TOO_SMALL)
                {
                    call.Check(status);
                    return new GradientBuffer[0];
                }
                var raw = (Raw.cloze_buffer*)call.Zeroed((long)count * sizeof(Raw.cloze_buffer));
                call.Check(Raw.cloze_trainer_gradient_buffers(Handle.Value, raw, count, &count, call.Error));
                var buffers = new GradientBuffer[(int)count];
                for (int i = 0; i < buffers.Length; i++)
                {
                    buffers[i] = new GradientBuffer((IntPtr)raw[i].data, (long)raw[i].count);
                }
                return buffers;
            }
        }

        /// <summary>Sets what the next step takes instead, as the gradients of one batch.</summary>
        public void SetGradients(float[] gradients)
        {
            if (gradients == null)
            {
                throw new ArgumentNullException(nameof(gradients));
            }
            using (var call = new Call(CancellationToken.None, Handle))
            {
                fixed (float* from = gradients)
                {
                    call.Check(Raw.cloze_trainer_set_gradients(
                        Handle.Value, from, Native.Size(gradients.Length), call.Error));
                }
            }
        }

        /// <summary>Gives the head the weights that are best for the examples, in one pass over them. All else stays as
        /// it is: a fit goes on from there.</summary>
        /// <returns>The strength used.</returns>
        /// <exception cref="ClozeException"><see cref="Status.Unsupported"/>: the library was built without
        /// "linalg".</exception>
        public double Solve(Dataset data, SolveOptions options = null, CancellationToken cancellationToken = default)
        {
            if (data == null)
            {
                throw new ArgumentNullException(nameof(data));
            }
            using (var call = new Call(cancellationToken, Handle, data.Handle))
            {
                SolveOptions own = options ?? new SolveOptions();
                var o = new Raw.cloze_solve_options
                {
                    size = (uint)sizeof(Raw.cloze_solve_options),
                    method = (uint)own.Method,
                    strength = own.Strength,
                    cancel = call.Flag(),
                    progress = call.Progress(own.Progress),
                    user = call.User(),
                };
                double strength;
                call.Check(Raw.cloze_trainer_solve(Handle.Value, data.Handle.Value, &o, &strength, call.Error));
                return strength;
            }
        }
    }
}
