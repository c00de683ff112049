using System;
#if NET8_0_OR_GREATER
using System.Reflection;
using System.Runtime.InteropServices;
#endif

namespace Cloze
{
    /// <summary>The native library behind this assembly.</summary>
    public static unsafe class ClozeLibrary
    {
        private static readonly uint Found = Load();

        /// <summary>Its version, such as "0.4.0".</summary>
        /// <exception cref="ClozeException"><see cref="Status.Unsupported"/>: it has another binary interface.</exception>
        /// <exception cref="DllNotFoundException">It is not there.</exception>
        public static string Version
        {
            get
            {
                Check();
                return Native.Text(Raw.cloze_version());
            }
        }

        /// <summary>Refuses a library of another binary interface than <see cref="Raw"/> was made for.</summary>
        internal static void Check()
        {
            if (Found != Raw.CLOZE_ABI)
            {
                throw new ClozeException(
                    Status.Unsupported,
                    $"the library has binary interface {Found}, this assembly was made for {Raw.CLOZE_ABI}");
            }
        }

#if NET8_0_OR_GREATER
        private static uint Load()
        {
            NativeLibrary.SetDllImportResolver(typeof(Raw).Assembly, Resolve);
            return Raw.cloze_abi();
        }

        /// <summary>The file that CLOZE_LIBRARY names; else what the runtime finds as "cloze"; else the soname.</summary>
        private static IntPtr Resolve(string name, Assembly assembly, DllImportSearchPath? search)
        {
            if (name != Raw.Library)
            {
                return IntPtr.Zero;
            }
            string named = Environment.GetEnvironmentVariable("CLOZE_LIBRARY");
            if (!string.IsNullOrEmpty(named))
            {
                return NativeLibrary.Load(named);
            }
            IntPtr library;
            if (NativeLibrary.TryLoad(name, assembly, search, out library))
            {
                return library;
            }
            string soname = OperatingSystem.IsMacOS() ? $"libcloze.{Raw.CLOZE_ABI}.dylib" : $"libcloze.so.{Raw.CLOZE_ABI}";
            NativeLibrary.TryLoad(soname, assembly, search, out library);
            return library;
        }
#else
        private static uint Load()
        {
            return Raw.cloze_abi();
        }
#endif
    }
}
