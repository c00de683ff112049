/* Section 20 of cloze.h: what models can run on. */
#ifndef CLOZE_DEVICE_HPP
#define CLOZE_DEVICE_HPP

#include "core.hpp"

namespace cloze {

/// What a model computes in: on a CUDA device, what hidden states are kept in; on the CPU, what the encoder's weights
/// and the rows that they are multiplied with are rounded to. Parameters that train, gradients and moments are f32.
enum class Precision : std::uint32_t {
    automatic = CLOZE_PRECISION_AUTO, ///< bf16 on a CUDA device, f32 on the CPU
    f32 = CLOZE_PRECISION_F32,
    bf16 = CLOZE_PRECISION_BF16,
    f16 = CLOZE_PRECISION_F16,   ///< CUDA only; such a model cannot train
    int8 = CLOZE_PRECISION_INT8, ///< the CPU only
};

/// How the CPU keeps the encoder's weights.
enum class Memory : std::uint32_t {
    fast = CLOZE_MEMORY_FAST,   ///< f32 ones that are used again once more, as products read them
    least = CLOZE_MEMORY_LEAST, ///< f32 ones in the mapped file alone, whose pages all processes share
};

/// What models can run on.
struct Device {
    std::string id;                             ///< what OpenOptions::device takes: "cuda:0"
    std::string name;                           ///< as its maker calls it; of the CPU, the instruction set in use
    bool usable = false;                        ///< or else note tells why not
    Precision precision = Precision::automatic; ///< of a model, its own; of a device, what automatic is there
    std::uint32_t capability = 0;               ///< of a GPU: 90 for compute capability 9.0; 0 for the CPU
    std::uint64_t memory = 0;                   ///< bytes; 0 where that is not known
    std::uint64_t free_memory = 0;              ///< bytes of it
    std::string note; ///< why it cannot be used; of a model opened with "auto", why it is not on CUDA; or empty
};

namespace detail {

/// The device that fetch(cloze_device *, cloze_error *) gives.
template <class Fetch> Device device(Fetch &&fetch) {
    cloze_device c = CLOZE_DEVICE_INIT;
    Call call;
    call(fetch(&c, static_cast<cloze_error *>(call)));
    return {c.id,         c.name,   c.usable != 0, static_cast<Precision>(c.precision),
            c.capability, c.memory, c.free_memory, c.note};
}

} // namespace detail

/// The devices, the CPU first, those that cannot be used among them.
inline std::vector<Device> devices() {
    detail::check_abi();
    std::vector<Device> devices;
    for (std::uint32_t i = 0, count = cloze_device_count(); i < count; i++)
        devices.push_back(detail::device([&](auto... out) { return cloze_device_get(i, out...); }));
    return devices;
}

} // namespace cloze

#endif /* CLOZE_DEVICE_HPP */
