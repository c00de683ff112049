using System.Collections.Generic;
using System.Threading;

namespace Cloze
{
    /// <summary>What a model computes in. Parameters that train, gradients and moments are f32.</summary>
    public enum Precision : uint
    {
        /// <summary>bf16 on a CUDA device, f32 on the CPU.</summary>
        Auto = Raw.CLOZE_PRECISION_AUTO,

        /// <summary>f32.</summary>
        F32 = Raw.CLOZE_PRECISION_F32,

        /// <summary>bf16.</summary>
        BF16 = Raw.CLOZE_PRECISION_BF16,

        /// <summary>f16; CUDA only. Such a model cannot train.</summary>
        F16 = Raw.CLOZE_PRECISION_F16,

        /// <summary>8 bits; the CPU only: a scale for every output of the weights, scale and zero point for every
        /// row.</summary>
        Int8 = Raw.CLOZE_PRECISION_INT8,
    }

    /// <summary>How the CPU keeps the encoder's weights.</summary>
    public enum Memory : uint
    {
        /// <summary>f32 ones that are used again once more, as products read them.</summary>
        Fast = Raw.CLOZE_MEMORY_FAST,

        /// <summary>f32 ones in the mapped file alone, whose pages all processes share.</summary>
        Least = Raw.CLOZE_MEMORY_LEAST,
    }

    /// <summary>What models can run on.</summary>
    public sealed unsafe class Device
    {
        private Device(Raw.cloze_device* device)
        {
            IsUsable = device->usable != 0;
            Capability = (int)device->capability;
            Precision = (Precision)device->precision;
            Memory = (long)device->memory;
            FreeMemory = (long)device->free_memory;
            Id = Native.Text(device->id);
            Name = Native.Text(device->name);
            Note = Native.Text(device->note);
        }

        /// <summary>Whether it can be used; <see cref="Note"/> tells why not.</summary>
        public bool IsUsable { get; }

        /// <summary>Of a GPU: 90 for compute capability 9.0; 0 for the CPU.</summary>
        public int Capability { get; }

        /// <summary>Of a model, its own; of a device, what <see cref="Precision.Auto"/> is there.</summary>
        public Precision Precision { get; }

        /// <summary>Bytes; 0 where that is not known.</summary>
        public long Memory { get; }

        /// <summary>Bytes that are free.</summary>
        public long FreeMemory { get; }

        /// <summary>What <see cref="OpenOptions.Device"/> takes: "cuda:0".</summary>
        public string Id { get; }

        /// <summary>As its maker calls it; of the CPU, the instruction set in use.</summary>
        public string Name { get; }

        /// <summary>Why it cannot be used; of a model that was opened with "auto", why it is not on CUDA; or
        /// empty.</summary>
        public string Note { get; }

        /// <summary>All devices, the CPU first, those that cannot be used among them.</summary>
        public static IReadOnlyList<Device> All()
        {
            using (var call = new Call(CancellationToken.None))
            {
                var devices = new Device[Raw.cloze_device_count()];
                for (int i = 0; i < devices.Length; i++)
                {
                    var device = new Raw.cloze_device { size = (uint)sizeof(Raw.cloze_device) };
                    call.Check(Raw.cloze_device_get((uint)i, &device, call.Error));
                    devices[i] = new Device(&device);
                }
                return devices;
            }
        }

        internal static Device Of(Handle model)
        {
            using (var call = new Call(CancellationToken.None, model))
            {
                var device = new Raw.cloze_device { size = (uint)sizeof(Raw.cloze_device) };
                call.Check(Raw.cloze_model_device(model.Value, &device, call.Error));
                return new Device(&device);
            }
        }
    }
}
