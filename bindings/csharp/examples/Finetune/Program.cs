using System;
using System.Diagnostics;
using System.Linq;
using System.Threading;
using Cloze;

/// <summary>Teaches a model the labels of a CSV file, saves it, and classifies the lines that are typed.</summary>
internal static class Finetune
{
    private static int Main(string[] arguments)
    {
        if (arguments.Length != 4)
        {
            Console.Error.WriteLine("usage: Finetune MODEL TRAIN.csv DEV.csv OUT");
            return 2;
        }
        using (var source = new CancellationTokenSource())
        {
            Console.CancelKeyPress += (_, pressed) =>
            {
                pressed.Cancel = !source.IsCancellationRequested; // a second Ctrl-C ends the program
                source.Cancel();
            };
            try
            {
                Teach(arguments[0], arguments[1], arguments[2], arguments[3], source.Token);
                Answer(arguments[3], source.Token);
                return 0;
            }
            catch (OperationCanceledException)
            {
                Console.WriteLine("\nstopped, nothing is half written");
                return 130;
            }
            catch (ClozeException e)
            {
                Console.Error.WriteLine(e.Message);
                return 1;
            }
        }
    }

    private static void Teach(string folder, string trainFile, string devFile, string output, CancellationToken token)
    {
        var options = new TrainOptions
        {
            Trainable = Trainable.Top, Layers = 2, Epochs = 8, BatchSize = 6, LearningRate = 1e-3f, Warmup = 0.1,
            Metric = "loss",
        };
        using (Model model = Model.Open(folder))
        using (Dataset train = Dataset.Read(trainFile, TargetKind.Label))
        using (Dataset dev = Dataset.Read(devFile, TargetKind.Label))
        using (var trainer = new Trainer(model, options, train))
        {
            Console.WriteLine(
                $"{train.Count} examples of {string.Join(", ", trainer.Labels)}; "
                + $"{trainer.Info.Parameters} parameters train");
            trainer.Fit(train, dev, new ImmediateProgress<TrainEvent>(new Bar().Show), token);
            trainer.Save(output);
            var metrics = trainer.Evaluate(dev, null, token);
            string told = string.Join(", ", metrics.Select(m => $"{m.Key} {m.Value:F3}"));
            Console.WriteLine($"\non {dev.Count} others: {told}");
            Console.WriteLine($"saved in {output}");
        }
    }

    private static void Answer(string folder, CancellationToken token)
    {
        using (Model model = Model.Open(folder))
        {
            Console.WriteLine("A sentence a line:");
            for (string line; (line = Console.ReadLine()) != null && !token.IsCancellationRequested;)
            {
                Matrix values = model.Classify(line, null, token);
                var labels = model.Labels.Select((name, i) => new { name, probability = values[0, i] });
                Console.WriteLine("  " + string.Join("  ", labels.OrderByDescending(label => label.probability)
                    .Select(label => $"{label.name} {label.probability:P0}")));
            }
        }
    }

    /// <summary>A line as wide as the console: what is done, the loss, the time left.</summary>
    private sealed class Bar
    {
        private readonly Stopwatch clock = Stopwatch.StartNew();
        private string accuracy = "";

        internal void Show(TrainEvent news)
        {
            if (news.Kind == EventKind.Evaluation)
            {
                accuracy = $", accuracy {news.Metrics["accuracy"]:P0}{(news.IsBest ? " (best)" : "")}";
            }
            if (news.Kind != EventKind.Step || Console.IsOutputRedirected)
            {
                return;
            }
            double left = clock.Elapsed.TotalSeconds / news.Step * (news.Total - news.Step);
            string told = $" step {news.Step}/{news.Total}, loss {news.Loss:F3}{accuracy}, {left:F0} s left ";
            int width = Math.Max(Console.WindowWidth - told.Length - 3, 0);
            int done = (int)(width * news.Step / news.Total);
            Console.Write("\r[" + new string('=', done) + new string(' ', width - done) + "]" + told);
        }
    }
}
