using System;

namespace Cloze.Tests
{
    /// <summary>Run with a library of binary interface 99: everything refuses it, and names both numbers.</summary>
    internal static class Abi
    {
        private static int Main()
        {
            foreach (Action call in new Action[] { () => Model.Open("model"), () => new Dataset(), () => Device.All() })
            {
                try
                {
                    call();
                    Console.WriteLine("another binary interface: FAILED, it was not refused");
                    return 1;
                }
                catch (ClozeException e) when (e.Status == Status.Unsupported)
                {
                    if (!e.Message.Contains("99") || !e.Message.Contains(" 1"))
                    {
                        Console.WriteLine($"another binary interface: FAILED, {e.Message}");
                        return 1;
                    }
                }
            }
            Console.WriteLine("another binary interface: refused");
            return 0;
        }
    }
}
