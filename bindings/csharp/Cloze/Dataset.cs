using System;
using System.Collections.Generic;
using System.Linq;
using System.Threading;

namespace Cloze
{
    /// <summary>How a file is laid out.</summary>
    public enum Format : uint
    {
        /// <summary>As the extension says: tsv, csv, jsonl, conll, txt.</summary>
        Auto = Raw.CLOZE_FORMAT_AUTO,

        /// <summary>Fields between tabs, an example a line; nothing is quoted.</summary>
        Tsv = Raw.CLOZE_FORMAT_TSV,

        /// <summary>Fields between commas, quoted as in RFC 4180.</summary>
        Csv = Raw.CLOZE_FORMAT_CSV,

        /// <summary>An object a line: text, text_b, label or labels; tokens, tags; question, context,
        /// answers.</summary>
        Jsonl = Raw.CLOZE_FORMAT_JSONL,

        /// <summary>A word and its tag a line, first and last of the columns; blank lines between texts.</summary>
        Conll = Raw.CLOZE_FORMAT_CONLL,

        /// <summary>A text a line.</summary>
        Lines = Raw.CLOZE_FORMAT_LINES,
    }

    /// <summary>Whether the first row of a table names its columns.</summary>
    public enum Header : uint
    {
        /// <summary>It is found out.</summary>
        Detect = Raw.CLOZE_HEADER_DETECT,

        /// <summary>It does.</summary>
        Present = Raw.CLOZE_HEADER_PRESENT,

        /// <summary>It is the first example.</summary>
        Absent = Raw.CLOZE_HEADER_ABSENT,
    }

    /// <summary>Options of <see cref="Dataset.Read"/>. A column is its name in the header, or its place counted from 1,
    /// "2"; null: found by its usual names.</summary>
    public sealed class ReadOptions
    {
        /// <summary>How the file is laid out.</summary>
        public Format Format { get; set; }

        /// <summary>Of tables.</summary>
        public Header Header { get; set; }

        /// <summary>Column of the text; where it is given and <see cref="Pair"/> is not, there is no second
        /// text.</summary>
        public string Text { get; set; }

        /// <summary>Column of the second text.</summary>
        public string Pair { get; set; }

        /// <summary>Column of the label or number.</summary>
        public string Target { get; set; }
    }

    /// <summary>Examples. Any number of calls may read one at the same time; a call that adds to one that is being read
    /// gets <see cref="Status.Busy"/>.</summary>
    public sealed unsafe class Dataset : IDisposable
    {
        internal Handle Handle { get; }

        private Dataset(Handle handle)
        {
            Handle = handle;
        }

        /// <summary>No examples.</summary>
        public Dataset()
        {
            using (var call = new Call(CancellationToken.None))
            {
                IntPtr made;
                call.Check(Raw.cloze_dataset_new(&made, call.Error));
                Handle = new Handle(Kind.Dataset, made, null);
            }
        }

        /// <summary>The examples of a UTF-8 file, each with a target of one kind, <see cref="TargetKind.None"/> to
        /// <see cref="TargetKind.Answer"/>.</summary>
        /// <exception cref="ClozeException">The message names the file and the line.</exception>
        public static Dataset Read(string path, TargetKind kind, ReadOptions options = null)
        {
            using (var call = new Call(CancellationToken.None))
            {
                ReadOptions own = options ?? new ReadOptions();
                var o = new Raw.cloze_read_options
                {
                    size = (uint)sizeof(Raw.cloze_read_options),
                    format = (uint)own.Format,
                    header = (uint)own.Header,
                    text = call.String(own.Text, nameof(own.Text)),
                    pair = call.String(own.Pair, nameof(own.Pair)),
                    target = call.String(own.Target, nameof(own.Target)),
                };
                byte* from = call.Required(path, nameof(path));
                IntPtr made;
                call.Check(Raw.cloze_dataset_read(from, (uint)kind, &o, &made, call.Error));
                return new Dataset(new Handle(Kind.Dataset, made, null));
            }
        }

        /// <summary>Copies of the examples with these numbers, from 0, in this order: the batches and shards of a loop
        /// of your own. A number may come more than once.</summary>
        /// <exception cref="ClozeException"><see cref="Status.InvalidArgument"/>: there is no such example.</exception>
        public Dataset Select(IEnumerable<int> numbers)
        {
            int[] all = (numbers ?? throw new ArgumentNullException(nameof(numbers))).ToArray();
            using (var call = new Call(CancellationToken.None, Handle))
            {
                var places = (UIntPtr*)call.Zeroed((long)all.Length * sizeof(UIntPtr));
                for (int i = 0; i < all.Length; i++)
                {
                    if (all[i] < 0)
                    {
                        throw new ArgumentOutOfRangeException(nameof(numbers), all[i], $"number {i} is {all[i]}");
                    }
                    places[i] = Native.Size(all[i]);
                }
                IntPtr made;
                call.Check(Raw.cloze_dataset_select(
                    Handle.Value, places, Native.Size(all.Length), &made, call.Error));
                return new Dataset(new Handle(Kind.Dataset, made, null));
            }
        }

        /// <summary>Adds a copy of an example.</summary>
        /// <exception cref="ClozeException"><see cref="Status.InvalidInput"/>: it cannot be used.</exception>
        public void Add(Input input, Target target)
        {
            AddRange(new[] { new Example(input, target) });
        }

        /// <summary>Adds copies of examples: all, or none with an exception that names the first that cannot be
        /// used.</summary>
        /// <exception cref="ClozeException"><see cref="Status.InvalidInput"/>: an empty text, a number that is not
        /// finite, an answer that does not stand where it should.</exception>
        public void AddRange(IEnumerable<Example> examples)
        {
            Example[] all = (examples ?? throw new ArgumentNullException(nameof(examples))).ToArray();
            using (var call = new Call(CancellationToken.None, Handle))
            {
                Raw.cloze_input* inputs = call.Inputs(new Inputs(all.Select(example => example.Input)));
                var targets = (Raw.cloze_target*)call.Zeroed((long)all.Length * sizeof(Raw.cloze_target));
                for (int i = 0; i < all.Length; i++)
                {
                    try
                    {
                        all[i].Target.Put(call, targets + i, all[i].Input);
                    }
                    catch (ArgumentException e)
                    {
                        throw new ArgumentException($"example {i}: {e.Message}", nameof(examples));
                    }
                }
                call.Check(Raw.cloze_dataset_add(Handle.Value, inputs, targets, Native.Size(all.Length), call.Error));
            }
        }

        /// <summary>Adds one text that is split into words, and the tag of each word; null tags are none.</summary>
        public void AddWords(IReadOnlyList<string> words, IReadOnlyList<string> tags = null)
        {
            if (words == null)
            {
                throw new ArgumentNullException(nameof(words));
            }
            if (tags != null && tags.Count != words.Count)
            {
                throw new ArgumentException($"{words.Count} words, {tags.Count} tags", nameof(tags));
            }
            using (var call = new Call(CancellationToken.None, Handle))
            {
                byte** own = call.Strings(words, nameof(words));
                byte** known = call.Strings(tags, nameof(tags));
                call.Check(Raw.cloze_dataset_add_words(Handle.Value, own, known, Native.Size(words.Count), call.Error));
            }
        }

        /// <summary>Number of examples.</summary>
        public long Count
        {
            get
            {
                using (new Call(CancellationToken.None, Handle))
                {
                    return (long)Raw.cloze_dataset_count(Handle.Value).ToUInt64();
                }
            }
        }

        /// <summary>Frees the examples, as soon as no call uses them. Again does nothing.</summary>
        public void Dispose()
        {
            Handle.Dispose();
        }
    }
}
