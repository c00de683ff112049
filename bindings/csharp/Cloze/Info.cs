using System;

namespace Cloze
{
    /// <summary>What a folder has heads for.</summary>
    [Flags]
    public enum Tasks : uint
    {
        /// <summary>Nothing.</summary>
        None = 0,

        /// <summary>Words for masks.</summary>
        Fill = Raw.CLOZE_TASK_FILL,

        /// <summary>How likely texts are.</summary>
        Score = Raw.CLOZE_TASK_SCORE,

        /// <summary>Whether a text follows another.</summary>
        NextSentence = Raw.CLOZE_TASK_NEXT_SENTENCE,

        /// <summary>Embeddings.</summary>
        Embed = Raw.CLOZE_TASK_EMBED,

        /// <summary>Hidden states.</summary>
        HiddenStates = Raw.CLOZE_TASK_HIDDEN_STATES,

        /// <summary>Classes of texts.</summary>
        Classify = Raw.CLOZE_TASK_CLASSIFY,

        /// <summary>Classes of tokens.</summary>
        Tag = Raw.CLOZE_TASK_TAG,

        /// <summary>Continuations.</summary>
        Generate = Raw.CLOZE_TASK_GENERATE,
    }

    /// <summary>What a classifier was trained for.</summary>
    public enum Problem : uint
    {
        /// <summary>The folder does not say.</summary>
        Unknown = Raw.CLOZE_PROBLEM_UNKNOWN,

        /// <summary>Numbers.</summary>
        Regression = Raw.CLOZE_PROBLEM_REGRESSION,

        /// <summary>One label.</summary>
        SingleLabel = Raw.CLOZE_PROBLEM_SINGLE_LABEL,

        /// <summary>Any number of labels.</summary>
        MultiLabel = Raw.CLOZE_PROBLEM_MULTI_LABEL,
    }

    /// <summary>The shape of a model.</summary>
    public sealed unsafe class Info
    {
        internal Info(Raw.cloze_info* info)
        {
            Layers = (int)info->layers;
            Hidden = (int)info->hidden;
            Heads = (int)info->heads;
            Intermediate = (int)info->intermediate;
            Vocabulary = (int)info->vocabulary;
            Words = (int)info->words;
            TokenTypes = (int)info->token_types;
            MaxTokens = (int)info->max_tokens;
            MaxPositions = (int)info->max_positions;
            Embedding = (int)info->embedding;
            Labels = (int)info->labels;
            Problem = (Problem)info->problem;
            Tasks = (Tasks)info->tasks;
            HasTokenizer = info->has_tokenizer != 0;
            Threads = (int)info->threads;
            Parameters = (long)info->parameters;
        }

        /// <summary>Layers.</summary>
        public int Layers { get; }

        /// <summary>Numbers in a hidden state.</summary>
        public int Hidden { get; }

        /// <summary>Attention heads.</summary>
        public int Heads { get; }

        /// <summary>Width of the feed-forward part.</summary>
        public int Intermediate { get; }

        /// <summary>Ids that the model has rows for.</summary>
        public int Vocabulary { get; }

        /// <summary>Ids below this are the tokenizer's; <see cref="Vocabulary"/> without a tokenizer.</summary>
        public int Words { get; }

        /// <summary>Segments.</summary>
        public int TokenTypes { get; }

        /// <summary>Longest text in tokens, special ones included.</summary>
        public int MaxTokens { get; }

        /// <summary>Longest sequence of token ids.</summary>
        public int MaxPositions { get; }

        /// <summary>Numbers in an embedding.</summary>
        public int Embedding { get; }

        /// <summary>Labels of the classifier; 0 without one.</summary>
        public int Labels { get; }

        /// <summary>What the classifier was trained for.</summary>
        public Problem Problem { get; }

        /// <summary>What the folder has heads for.</summary>
        public Tasks Tasks { get; }

        /// <summary>Whether text can be read, or only token ids.</summary>
        public bool HasTokenizer { get; }

        /// <summary>Worker threads.</summary>
        public int Threads { get; }

        /// <summary>Numbers in the tensors that are used.</summary>
        public long Parameters { get; }
    }
}
