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
        private static uint found;

        /// <summary>Its version, such as "0.4.0".</summary>
        /// <exception cref="ClozeException"><see cref="Status.Unsupported"/>: it has another binary
        /// interface.</exception>
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
            if (found == 0)
            {
                found = Raw.cloze_abi();
            }
            if (found != Raw.CLOZE_ABI)
            {
                throw new ClozeException(
                    Status.Unsupported,
                    $"the library has binary interface {found}, this assembly was made for {Raw.CLOZE_ABI}");
            }
        }

#if NET8_0_OR_GREATER
        static ClozeLibrary()
        {
            NativeLibrary.SetDllImportResolver(typeof(Raw).Assembly, Resolve);
        }

        /// <summary>The file that CLOZE_LIBRARY names; else what the runtime finds as "cloze"; else the
        /// soname.</summary>
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
            bool mac = RuntimeInformation.IsOSPlatform(OSPlatform.OSX);
            string soname = mac ? $"libcloze.{Raw.CLOZE_ABI}.dylib" : $"libcloze.so.{Raw.CLOZE_ABI}";
            NativeLibrary.TryLoad(soname, assembly, search, out library);
            return library;
        }
#endif
    }
}
