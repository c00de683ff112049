using System;
using System.Collections.Generic;
using System.Threading;

namespace Cloze
{
    /// <summary>Options of opening a model.</summary>
    public sealed class OpenOptions
    {
        /// <summary>Worker threads of the model; 0: one per processor.</summary>
        public int Threads { get; set; }

        /// <summary>"cpu", "cuda", "cuda:1" or "auto": the first that can be used and has room for the model. null:
        /// "cpu".</summary>
        public string Device { get; set; }

        /// <summary>What is computed in.</summary>
        public Precision Precision { get; set; }

        /// <summary>How the CPU keeps the weights.</summary>
        public Memory Memory { get; set; }
    }

    /// <summary>What weights are stored in.</summary>
    public enum Dtype : uint
    {
        /// <summary>f32.</summary>
        F32 = Raw.CLOZE_DTYPE_F32,

        /// <summary>IEEE 754 binary16: 11 bits of precision, at most 65504.</summary>
        F16 = Raw.CLOZE_DTYPE_F16,

        /// <summary>The upper half of an f32: 8 bits of precision.</summary>
        BF16 = Raw.CLOZE_DTYPE_BF16,

        /// <summary>8 bits and a scale for every output in the encoder's linear layers; all else as it is.</summary>
        Int8 = Raw.CLOZE_DTYPE_INT8,
    }

    /// <summary>An open model: weights, tokenizer, worker threads. It never changes, and any number of threads may use
    /// it at the same time. It may be disposed of at any time: running calls end as if nothing had happened, later ones
    /// throw <see cref="ObjectDisposedException"/>, models and trainers made from it stay.</summary>
    /// <remarks>Every call may throw <see cref="ClozeException"/>, and <see cref="OperationCanceledException"/> where
    /// it takes a token.</remarks>
    public sealed unsafe partial class Model : IDisposable
    {
        private delegate int Make(Call call, IntPtr* made);

        private string[] labels;

        internal Handle Handle { get; }

        /// <summary>Its shape.</summary>
        public Info Info { get; }

        private Model(Handle handle, Info info)
        {
            Handle = handle;
            Info = info;
        }

        /// <summary>Opens a HuggingFace folder of a BERT or ALBERT. Opening maps the weights and reads none: the first
        /// answer touches them. A head or tokenizer that is not there is an error of the call that needs it, not of
        /// this one.</summary>
        /// <exception cref="ClozeException">The message names the folder or file.</exception>
        public static Model Open(string folder, OpenOptions options = null)
        {
            return New(null, CancellationToken.None, (call, made) =>
            {
                byte* path = call.Required(folder, nameof(folder));
                Raw.cloze_open_options o = call.Options(options);
                return Raw.cloze_model_open(path, &o, made, call.Error);
            });
        }

        /// <summary>Opens a model whose files are in memory, by their paths within the folder: "config.json",
        /// "1_Pooling/config.json". Weights are one "model.safetensors".</summary>
        /// <remarks>The arrays are used in place: they are pinned, and must not change, until the model and all models
        /// and trainers made from it are disposed of.</remarks>
        public static Model Open(IReadOnlyDictionary<string, byte[]> files, OpenOptions options = null)
        {
            if (files == null)
            {
                throw new ArgumentNullException(nameof(files));
            }
            var memory = new Pinned();
            try
            {
                return New(memory, CancellationToken.None, (call, made) =>
                {
                    var list = (Raw.cloze_file*)call.Zeroed((long)files.Count * sizeof(Raw.cloze_file));
                    Raw.cloze_file* next = list;
                    foreach (KeyValuePair<string, byte[]> file in files)
                    {
                        byte[] data = file.Value ?? throw new ArgumentNullException(nameof(files), file.Key);
                        next->name = call.Required(file.Key, nameof(files));
                        next->data = memory.Add(data);
                        next->size = Native.Size(data.Length);
                        next++;
                    }
                    Raw.cloze_open_options o = call.Options(options);
                    return Raw.cloze_model_open_memory(list, Native.Size(files.Count), &o, made, call.Error);
                });
            }
            finally
            {
                memory.Release();
            }
        }

        /// <summary>Makes a model by a function; it and the handles that are given are used by the call.</summary>
        private static Model New(Pinned memory, CancellationToken token, Make make, params Handle[] handles)
        {
            using (var call = new Call(token, handles))
            {
                IntPtr made;
                call.Check(make(call, &made));
                return Take(call, made, memory);
            }
        }

        /// <summary>Takes over a handle of the library.</summary>
        internal static Model Take(Call call, IntPtr made, Pinned memory)
        {
            var handle = new Handle(Kind.Model, made, memory);
            try
            {
                var info = new Raw.cloze_info { size = (uint)sizeof(Raw.cloze_info) };
                call.Check(Raw.cloze_model_info(made, &info, call.Error));
                return new Model(handle, new Info(&info));
            }
            catch
            {
                handle.Dispose();
                throw;
            }
        }

        /// <summary>Closes the model, as soon as no call uses it. Again does nothing.</summary>
        public void Dispose()
        {
            Handle.Dispose();
        }

        /// <summary>The load report, one line of JSON: architecture, sizes, tasks, and which tensors are used, unused,
        /// ignored and missing.</summary>
        public string Report()
        {
            return Text(call => (to, capacity, size) =>
                Raw.cloze_model_report(Handle.Value, (byte*)to, capacity, size, call.Error));
        }

        /// <summary>What the model runs on.</summary>
        public Device Device => Cloze.Device.Of(Handle);

        /// <summary>The name of a label of the classifier, counted from 0.</summary>
        /// <exception cref="ClozeException"><see cref="Status.Missing"/>: there is no such label.</exception>
        public string Label(int label)
        {
            uint number = Native.U32(label, nameof(label));
            return Text(call => (to, capacity, size) =>
                Raw.cloze_model_label(Handle.Value, number, (byte*)to, capacity, size, call.Error));
        }

        /// <summary>The names of the classifier's labels, in the order of its numbers; none without a
        /// classifier.</summary>
        public IReadOnlyList<string> Labels
        {
            get
            {
                if (labels == null)
                {
                    var names = new string[Info.Labels];
                    for (int i = 0; i < names.Length; i++)
                    {
                        names[i] = Label(i);
                    }
                    labels = names;
                }
                return Array.AsReadOnly(labels);
            }
        }

        /// <summary>The name of a named head, counted from 0.</summary>
        /// <exception cref="ClozeException"><see cref="Status.Missing"/>: there are not so many.</exception>
        public string Head(int head)
        {
            uint number = Native.U32(head, nameof(head));
            return Text(call => (to, capacity, size) =>
                Raw.cloze_model_head(Handle.Value, number, (byte*)to, capacity, size, call.Error));
        }

        /// <summary>The names of the named heads.</summary>
        public IReadOnlyList<string> Heads()
        {
            var heads = new List<string>();
            while (true)
            {
                try
                {
                    heads.Add(Head(heads.Count));
                }
                catch (ClozeException e) when (e.Status == Status.Missing)
                {
                    return heads;
                }
            }
        }

        /// <summary>A model whose classifier is one of the named heads.</summary>
        public Model UseHead(string name)
        {
            return Derive((call, made) =>
                Raw.cloze_model_use_head(Handle.Value, call.Required(name, nameof(name)), made, call.Error));
        }

        /// <summary>A model with the low-rank adapter of a PEFT folder, and with the head in it. This one stays as it
        /// is: one base serves any number of adapters at the same time.</summary>
        public Model Adapt(string folder)
        {
            return Derive((call, made) =>
                Raw.cloze_model_adapt(Handle.Value, call.Required(folder, nameof(folder)), made, call.Error));
        }

        /// <summary>A model whose embeddings have so many numbers, which over the inputs have mean 0 and vary alike and
        /// independently (BERT-whitening). Thousands of texts of the kind that will be embedded are right.</summary>
        /// <param name="inputs">Texts that vary along at least so many directions; else
        /// <see cref="Status.InvalidArgument"/>.</param>
        /// <param name="width">Numbers of an embedding.</param>
        /// <param name="options">Text and MaxTokens stay at their defaults.</param>
        /// <param name="cancellationToken">Stops the call.</param>
        /// <exception cref="ClozeException"><see cref="Status.Unsupported"/>: the library was built without
        /// "linalg".</exception>
        public Model Whiten(
            Inputs inputs, int width, CallOptions options = null, CancellationToken cancellationToken = default)
        {
            uint columns = Native.U32(width, nameof(width));
            return Derive(cancellationToken, (call, made) =>
            {
                Raw.cloze_input* input = call.Inputs(inputs);
                Raw.cloze_call_options o = call.Options(options);
                return Raw.cloze_model_whiten(
                    Handle.Value, input, Native.Size(inputs.Count), columns, &o, made, call.Error);
            });
        }

        private Model Derive(Make make)
        {
            return Derive(CancellationToken.None, make);
        }

        private Model Derive(CancellationToken token, Make make)
        {
            return New(Handle.Memory, token, make, Handle);
        }

        /// <summary>Writes a HuggingFace folder: model.safetensors, config.json with labels, the tokenizer's files.
        /// Whatever happens, the old folder or the new one is there, whole.</summary>
        public void Save(string folder)
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                call.Check(Raw.cloze_model_save(Handle.Value, call.Required(folder, nameof(folder)), call.Error));
            }
        }

        /// <summary>Writes it with weights rounded to an element type.</summary>
        /// <exception cref="ClozeException"><see cref="Status.InvalidArgument"/> names a tensor with a number that the
        /// type can not hold; nothing is written then.</exception>
        public void Save(string folder, Dtype dtype)
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                byte* path = call.Required(folder, nameof(folder));
                call.Check(Raw.cloze_model_save_as(Handle.Value, path, (uint)dtype, call.Error));
            }
        }

        private string Text(Func<Call, Write> write)
        {
            using (var call = new Call(CancellationToken.None, Handle))
            {
                return call.Text(write(call));
            }
        }
    }

    internal sealed unsafe partial class Call
    {
        internal Raw.cloze_open_options Options(OpenOptions options)
        {
            OpenOptions own = options ?? new OpenOptions();
            return new Raw.cloze_open_options
            {
                size = (uint)sizeof(Raw.cloze_open_options),
                threads = Native.U32(own.Threads, nameof(own.Threads)),
                device = String(own.Device, nameof(own.Device)),
                precision = (uint)own.Precision,
                memory = (uint)own.Memory,
            };
        }
    }
}
