// The functions of libcuda.so.1 that cloze calls, over the emulated machine. Stricter than the driver where that finds
// mistakes: handles, ranges, the current context and every argument of a launch are checked, and what the host asked to
// be copied to it is there only once it has waited.
//
// What it pretends is set by the environment, read at each call:
//   CLOZE_EMULATED_DEVICES=n      number of devices, 1 where not set
//   CLOZE_EMULATED_INIT=e         cuInit fails with error e
//   CLOZE_EMULATED_VERSION=v      of the driver interface, 12000 where not set
//   CLOZE_EMULATED_CAPABILITY=c   major and minor as one number, 80 where not set
//   CLOZE_EMULATED_MEMORY=b       bytes of a device
//   CLOZE_EMULATED_PTX=v          newest PTX version that is taken
//   CLOZE_EMULATED_FAIL_LAUNCH=n  the n-th launch of the process fails, and everything after it
//   CLOZE_EMULATED_SEED=s         order in which threads run

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "machine.h"

#define API extern "C" __attribute__((visibility("default"))) int

using emulation::Entry;
using emulation::Index3;

namespace {

enum : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    UNSUPPORTED_PTX_VERSION = 222,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    LAUNCH_FAILED = 719,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
};

constexpr uint32_t COMMON_SHARED = 48 << 10, MOST_SHARED = 99 << 10;

double setting(const char *name, double otherwise) {
    const char *value = getenv(name);
    return value && *value ? atof(value) : otherwise;
}

// What was wrong with this thread's latest call that failed, for cuGetErrorString and for whoever watches.
thread_local std::string said;
int refuse(int error, const std::string &why) {
    said = why;
    fprintf(stderr, "emulated CUDA: error %d: %s\n", error, why.c_str());
    return error;
}

struct Device {
    int users = 0;
};
Device devices[2];

// What has been made and not destroyed, so that other pointers are known for what they are.
std::mutex handles_lock;
std::set<const void *> handles;
template <class T> T *made(T *object) {
    std::lock_guard<std::mutex> guard(handles_lock);
    handles.insert(object);
    return object;
}
template <class T> T *known(void *handle) {
    std::lock_guard<std::mutex> guard(handles_lock);
    return handles.count(handle) ? static_cast<T *>(handle) : nullptr;
}
bool forget(void *handle) {
    std::lock_guard<std::mutex> guard(handles_lock);
    return handles.erase(handle) != 0;
}

typedef std::function<int()> Work;

struct Stream {
    void *context;
    std::mutex lock;
    bool capturing = false, broken = false;
    std::vector<Work> captured;
    // Copies to the host that it has not waited for.
    std::vector<std::pair<void *, std::vector<uint8_t>>> arriving;
};

struct Graph {
    std::vector<Work> work;
};

struct Signature {
    std::vector<size_t> parameters;
    uint32_t most_threads = 1024;
};

struct Module {
    std::map<std::string, Signature> entries;
};

struct Function {
    const Entry *entry;
    Signature signature;
    std::atomic<uint32_t> shared{COMMON_SHARED};
};

std::atomic<bool> initialised, dead;
std::atomic<uint64_t> used_bytes, used_blocks, launches;
thread_local std::vector<void *> current;
thread_local uint64_t seed, launches_of_thread;

// Why this call cannot be made in this thread's context, 0 where it can.
int context_needed(const char *call) {
    if (current.empty()) return refuse(INVALID_CONTEXT, std::string(call) + " without a current context");
    if (dead) return refuse(LAUNCH_FAILED, std::string(call) + " after a failed launch");
    return SUCCESS;
}

// Enqueues work: runs it, or keeps it where the stream captures.
int enqueue(void *handle, const char *call, const Work &work) {
    if (int error = context_needed(call)) return error;
    Stream *stream = known<Stream>(handle);
    if (!stream) return refuse(INVALID_HANDLE, std::string(call) + " on no stream");
    if (stream->context != current.back())
        return refuse(INVALID_CONTEXT, std::string(call) + " on a stream of another context");
    std::lock_guard<std::mutex> guard(stream->lock);
    if (!stream->capturing) return work();
    stream->captured.push_back(work);
    return SUCCESS;
}

int within(const char *call, uint64_t address, size_t bytes) {
    const emulation::Memory *memory = emulation::memory_of(address);
    if (!memory) return refuse(INVALID_VALUE, std::string(call) + ": no memory of the device");
    if (!memory->live) return refuse(INVALID_VALUE, std::string(call) + ": memory that was freed");
    if (address < memory->start || address - memory->start + bytes > memory->bytes) {
        long long at = static_cast<long long>(address - memory->start);
        return refuse(INVALID_VALUE, std::string(call) + ": " + std::to_string(bytes) + " bytes at byte " +
                                         std::to_string(at) + " of " + std::to_string(memory->bytes));
    }
    return SUCCESS;
}

int on_host(const char *call, const void *p) {
    if (p && !emulation::is_device(p)) return SUCCESS;
    return refuse(INVALID_VALUE, std::string(call) + ": not the host's memory");
}

// The entry points of PTX with their parameters.
std::map<std::string, Signature> entries_of(const std::string &ptx) {
    std::map<std::string, Signature> found;
    const std::string mark = ".visible .entry ";
    for (size_t at = ptx.find(mark); at != std::string::npos; at = ptx.find(mark, at)) {
        at += mark.size();
        size_t open = ptx.find('(', at), close = ptx.find(')', at), body = ptx.find('{', at);
        if (open == std::string::npos || close == std::string::npos || body == std::string::npos) break;
        Signature signature;
        for (size_t p = ptx.find(".param .", open); p < close; p = ptx.find(".param .", p)) {
            p += strlen(".param .");
            // b8, u32, f64, …: a letter and the bits
            signature.parameters.push_back(static_cast<size_t>(atoi(ptx.c_str() + p + 1)) / 8);
        }
        size_t bound = ptx.find(".maxntid ", close);
        if (bound < body) signature.most_threads = static_cast<uint32_t>(atoi(ptx.c_str() + bound + 9));
        std::string name = ptx.substr(at, open - at);
        while (!name.empty() && isspace(name.back())) name.pop_back();
        found[name] = signature;
    }
    return found;
}

struct Arguments {
    std::vector<uint64_t> values;
    std::vector<void *> pointers;
};

int check_argument(const Entry &entry, size_t i, uint64_t value) {
    auto no = [&](const std::string &why) {
        return refuse(INVALID_VALUE, std::string(entry.name) + ": argument " + std::to_string(i) + " " + why);
    };
    const emulation::Parameter &parameter = entry.parameters[i];
    if (parameter.size < 8 && value >> (8 * parameter.size)) return no("is larger than its parameter");
    if (!parameter.pointer || !value) return SUCCESS;
    const emulation::Memory *memory = emulation::memory_of(value);
    if (!memory) return no("is no pointer to memory of the device");
    if (!memory->live) return no("points to memory that was freed");
    return value < memory->start || value > memory->start + memory->bytes ? no("points beyond its memory") : SUCCESS;
}

} // namespace

API cuInit(unsigned flags) {
    if (flags) return refuse(INVALID_VALUE, "cuInit with flags");
    if (int error = static_cast<int>(setting("CLOZE_EMULATED_INIT", 0))) return error;
    if (setting("CLOZE_EMULATED_DEVICES", 1) < 1) return NO_DEVICE;
    initialised = true;
    return SUCCESS;
}

API cuDriverGetVersion(int *version) {
    *version = static_cast<int>(setting("CLOZE_EMULATED_VERSION", 12000));
    return SUCCESS;
}

API cuDeviceGetCount(int *count) {
    if (!initialised) return NOT_INITIALIZED;
    *count = static_cast<int>(setting("CLOZE_EMULATED_DEVICES", 1));
    return SUCCESS;
}

API cuDeviceGet(int *device, int ordinal) {
    if (!initialised) return NOT_INITIALIZED;
    if (ordinal < 0 || ordinal >= setting("CLOZE_EMULATED_DEVICES", 1) || ordinal > 1) return INVALID_DEVICE;
    *device = ordinal;
    return SUCCESS;
}

API cuDeviceGetName(char *name, int length, int device) {
    snprintf(name, static_cast<size_t>(length), "Emulated GPU %d", device);
    return SUCCESS;
}

API cuDeviceTotalMem_v2(size_t *bytes, int) {
    *bytes = static_cast<size_t>(setting("CLOZE_EMULATED_MEMORY", 16e9));
    return SUCCESS;
}

API cuDeviceGetAttribute(int *value, int attribute, int) {
    int capability = static_cast<int>(setting("CLOZE_EMULATED_CAPABILITY", 80));
    switch (attribute) {
    case 16: // processors: few, so that grids are larger
        *value = 4;
        return SUCCESS;
    case 75:
        *value = capability / 10;
        return SUCCESS;
    case 76:
        *value = capability % 10;
        return SUCCESS;
    case 97: // most shared memory that a block may ask for
        *value = MOST_SHARED;
        return SUCCESS;
    default:
        return refuse(INVALID_VALUE, "device attribute " + std::to_string(attribute) + " is not emulated");
    }
}

API cuDevicePrimaryCtxRetain(void **context, int device) {
    if (!initialised) return NOT_INITIALIZED;
    if (device < 0 || device > 1) return INVALID_DEVICE;
    std::lock_guard<std::mutex> guard(handles_lock);
    devices[device].users++;
    handles.insert(&devices[device]);
    *context = &devices[device];
    return SUCCESS;
}

API cuDevicePrimaryCtxRelease_v2(int device) {
    std::lock_guard<std::mutex> guard(handles_lock);
    if (device < 0 || device > 1) return INVALID_DEVICE;
    if (!devices[device].users) return refuse(INVALID_CONTEXT, "released more than retained");
    if (!--devices[device].users) handles.erase(&devices[device]);
    return SUCCESS;
}

API cuCtxPushCurrent_v2(void *context) {
    if (!known<Device>(context)) return refuse(INVALID_CONTEXT, "cuCtxPushCurrent of no context");
    current.push_back(context);
    return SUCCESS;
}

API cuCtxPopCurrent_v2(void **context) {
    if (current.empty()) return refuse(INVALID_CONTEXT, "cuCtxPopCurrent of none");
    *context = current.back();
    current.pop_back();
    return SUCCESS;
}

API cuCtxGetCurrent(void **context) {
    *context = current.empty() ? nullptr : current.back();
    return SUCCESS;
}

API cuStreamCreate(void **stream, unsigned) {
    if (int error = context_needed("cuStreamCreate")) return error;
    Stream *created = made(new Stream);
    created->context = current.back();
    *stream = created;
    return SUCCESS;
}

API cuStreamDestroy_v2(void *handle) {
    if (int error = context_needed("cuStreamDestroy")) return error;
    Stream *stream = known<Stream>(handle);
    if (!stream || !forget(handle)) return refuse(INVALID_HANDLE, "cuStreamDestroy of no stream");
    delete stream;
    return SUCCESS;
}

API cuStreamSynchronize(void *handle) {
    if (int error = context_needed("cuStreamSynchronize")) return error;
    Stream *stream = known<Stream>(handle);
    if (!stream) return refuse(INVALID_HANDLE, "cuStreamSynchronize of no stream");
    std::lock_guard<std::mutex> guard(stream->lock);
    if (stream->capturing) {
        stream->broken = true;
        return refuse(CAPTURE_UNSUPPORTED, "cuStreamSynchronize while the stream captures");
    }
    for (auto &[to, bytes] : stream->arriving) memcpy(to, bytes.data(), bytes.size());
    stream->arriving.clear();
    return SUCCESS;
}

API cuStreamBeginCapture_v2(void *handle, int) {
    if (int error = context_needed("cuStreamBeginCapture")) return error;
    Stream *stream = known<Stream>(handle);
    if (!stream) return refuse(INVALID_HANDLE, "cuStreamBeginCapture of no stream");
    std::lock_guard<std::mutex> guard(stream->lock);
    if (stream->capturing) return refuse(CAPTURE_UNSUPPORTED, "cuStreamBeginCapture of a stream that captures");
    stream->capturing = true;
    stream->broken = false;
    stream->captured.clear();
    return SUCCESS;
}

API cuStreamEndCapture(void *handle, void **graph) {
    *graph = nullptr;
    if (int error = context_needed("cuStreamEndCapture")) return error;
    Stream *stream = known<Stream>(handle);
    if (!stream) return refuse(INVALID_HANDLE, "cuStreamEndCapture of no stream");
    std::lock_guard<std::mutex> guard(stream->lock);
    if (!stream->capturing) return refuse(INVALID_VALUE, "cuStreamEndCapture of a stream that does not capture");
    stream->capturing = false;
    if (stream->broken) return refuse(CAPTURE_INVALIDATED, "a capture in which the host waited");
    *graph = made(new Graph{std::move(stream->captured)});
    return SUCCESS;
}

API cuGraphInstantiateWithFlags(void **exec, void *handle, unsigned long long) {
    Graph *graph = known<Graph>(handle);
    if (!graph) return refuse(INVALID_HANDLE, "cuGraphInstantiate of no graph");
    *exec = made(new Graph{graph->work});
    return SUCCESS;
}

API cuGraphDestroy(void *handle) {
    Graph *graph = known<Graph>(handle);
    if (!graph || !forget(handle)) return refuse(INVALID_HANDLE, "cuGraphDestroy of no graph");
    delete graph;
    return SUCCESS;
}

API cuGraphExecDestroy(void *handle) { return cuGraphDestroy(handle); }

API cuGraphLaunch(void *handle, void *stream) {
    Graph *graph = known<Graph>(handle);
    if (!graph) return refuse(INVALID_HANDLE, "cuGraphLaunch of no graph");
    return enqueue(stream, "cuGraphLaunch", [graph] {
        for (const Work &work : graph->work)
            if (int error = work()) return error;
        return int(SUCCESS);
    });
}

API cuMemAlloc_v2(uint64_t *start, size_t bytes) {
    if (int error = context_needed("cuMemAlloc")) return error;
    if (!bytes) return refuse(INVALID_VALUE, "cuMemAlloc of nothing");
    uint64_t before = used_bytes.fetch_add(bytes);
    if (before + bytes <= setting("CLOZE_EMULATED_MEMORY", 16e9)) {
        *start = emulation::allocate(bytes);
        if (*start) {
            used_blocks++;
            return SUCCESS;
        }
    }
    used_bytes -= bytes;
    return OUT_OF_MEMORY;
}

API cuMemFree_v2(uint64_t start) {
    if (int error = context_needed("cuMemFree")) return error;
    const emulation::Memory *memory = emulation::memory_of(start);
    if (!memory) return refuse(INVALID_VALUE, "cuMemFree of no memory of the device");
    bool whole = !emulation::damaged(*memory);
    if (!emulation::release(start)) return refuse(INVALID_VALUE, "cuMemFree twice, or not at the start");
    used_bytes -= memory->bytes;
    used_blocks--;
    return whole ? SUCCESS : refuse(LAUNCH_FAILED, "cuMemFree of memory that was written beside");
}

API cuMemGetInfo_v2(size_t *left, size_t *total) {
    if (int error = context_needed("cuMemGetInfo")) return error;
    *total = static_cast<size_t>(setting("CLOZE_EMULATED_MEMORY", 16e9));
    *left = *total - std::min<size_t>(*total, used_bytes);
    return SUCCESS;
}

API cuMemHostAlloc(void **p, size_t bytes, unsigned) {
    *p = malloc(bytes ? bytes : 1);
    return *p ? SUCCESS : OUT_OF_MEMORY;
}

API cuMemFreeHost(void *p) {
    free(p);
    return SUCCESS;
}

API cuMemcpyHtoDAsync_v2(uint64_t to, const void *from, size_t bytes, void *stream) {
    return enqueue(stream, "cuMemcpyHtoD", [=] {
        if (int error = within("cuMemcpyHtoD", to, bytes)) return error;
        if (int error = on_host("cuMemcpyHtoD", from)) return error;
        memcpy(reinterpret_cast<void *>(to), from, bytes);
        return int(SUCCESS);
    });
}

API cuMemcpyDtoHAsync_v2(void *to, uint64_t from, size_t bytes, void *handle) {
    return enqueue(handle, "cuMemcpyDtoH", [=] {
        if (int error = within("cuMemcpyDtoH", from, bytes)) return error;
        if (int error = on_host("cuMemcpyDtoH", to)) return error;
        const uint8_t *start = reinterpret_cast<const uint8_t *>(from);
        static_cast<Stream *>(handle)->arriving.emplace_back(to, std::vector<uint8_t>(start, start + bytes));
        memset(to, 0xff, bytes);
        return int(SUCCESS);
    });
}

API cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void *stream) {
    return enqueue(stream, "cuMemcpyDtoD", [=] {
        if (int error = within("cuMemcpyDtoD to", to, bytes)) return error;
        if (int error = within("cuMemcpyDtoD from", from, bytes)) return error;
        if (to < from + bytes && from < to + bytes) return refuse(INVALID_VALUE, "cuMemcpyDtoD of overlapping memory");
        memcpy(reinterpret_cast<void *>(to), reinterpret_cast<const void *>(from), bytes);
        return int(SUCCESS);
    });
}

API cuMemsetD8Async(uint64_t to, unsigned char value, size_t bytes, void *stream) {
    return enqueue(stream, "cuMemsetD8", [=] {
        if (int error = within("cuMemsetD8", to, bytes)) return error;
        memset(reinterpret_cast<void *>(to), value, bytes);
        return int(SUCCESS);
    });
}

API cuModuleLoadDataEx(void **module, const void *image, unsigned count, int *options, void **values) {
    if (int error = context_needed("cuModuleLoadDataEx")) return error;
    std::string ptx(static_cast<const char *>(image));
    size_t at = ptx.find(".version ");
    if (at == std::string::npos) return refuse(INVALID_IMAGE, "no PTX");
    double newest = setting("CLOZE_EMULATED_PTX", 8.0), version = atof(ptx.c_str() + at + 9);
    if (version > newest + 1e-6) {
        char *log = nullptr;
        size_t room = 0;
        for (unsigned i = 0; i < count; i++) {
            if (options[i] == 5) log = static_cast<char *>(values[i]);
            if (options[i] == 6) room = reinterpret_cast<size_t>(values[i]);
        }
        if (log && room) snprintf(log, room, "Unsupported .version %.1f; current version is '%.1f'", version, newest);
        return UNSUPPORTED_PTX_VERSION;
    }
    *module = made(new Module{entries_of(ptx)});
    return SUCCESS;
}

API cuModuleUnload(void *handle) {
    if (int error = context_needed("cuModuleUnload")) return error;
    Module *module = known<Module>(handle);
    if (!module || !forget(handle)) return refuse(INVALID_HANDLE, "cuModuleUnload of no module");
    delete module;
    return SUCCESS;
}

API cuModuleGetFunction(void **function, void *handle, const char *name) {
    if (int error = context_needed("cuModuleGetFunction")) return error;
    Module *module = known<Module>(handle);
    if (!module) return refuse(INVALID_HANDLE, "cuModuleGetFunction of no module");
    auto found = module->entries.find(name);
    if (found == module->entries.end()) return refuse(NOT_FOUND, std::string("the PTX has no kernel ") + name);
    const Entry *entry = emulation::entries;
    while (entry && strcmp(entry->name, name)) entry = entry->next;
    if (!entry) return refuse(NOT_FOUND, std::string("no kernel ") + name + " was compiled for the emulation");
    const std::vector<size_t> &sizes = found->second.parameters;
    bool same = sizes.size() == entry->count;
    for (size_t i = 0; same && i < sizes.size(); i++) same = sizes[i] == entry->parameters[i].size;
    if (!same) return refuse(INVALID_IMAGE, std::string(name) + " has other parameters in the PTX than in the source");
    // Kept for ever: the handle stands for the kernel as long as its module is loaded.
    Function *made_function = new Function{entry, found->second};
    *function = made(made_function);
    return SUCCESS;
}

API cuFuncSetAttribute(void *handle, int attribute, int value) {
    Function *function = known<Function>(handle);
    if (!function) return refuse(INVALID_HANDLE, "cuFuncSetAttribute of no kernel");
    if (attribute != 8) // most dynamic shared memory
        return refuse(INVALID_VALUE, "function attribute " + std::to_string(attribute) + " is not emulated");
    if (value < 0 || uint32_t(value) > MOST_SHARED)
        return refuse(INVALID_VALUE, std::to_string(value) + " bytes of shared memory, " + std::to_string(MOST_SHARED) +
                                         " are the most on every device");
    function->shared = static_cast<uint32_t>(value);
    return SUCCESS;
}

// `values` points to eight bytes for each argument, and is null after the last, as cloze has it: so their number is
// known.
API cuLaunchKernel(void *handle, unsigned x, unsigned y, unsigned z, unsigned threads, unsigned threads_y,
                   unsigned threads_z, unsigned shared, void *stream, void **values, void **extra) {
    Function *function = known<Function>(handle);
    if (!function) return refuse(INVALID_HANDLE, "cuLaunchKernel of no kernel");
    const Entry &entry = *function->entry;
    auto no = [&](const std::string &why) { return refuse(INVALID_VALUE, std::string(entry.name) + ": " + why); };
    if (extra || threads_y != 1 || threads_z != 1) return no("blocks of more than one dimension, or packed arguments");
    if (!x || !y || !z || x > 0x7fffffff || y > 65535 || z > 65535) return no("a grid beyond its limits");
    if (!threads || threads > function->signature.most_threads)
        return no(std::to_string(threads) + " threads, " + std::to_string(function->signature.most_threads) +
                  " are the most");
    if (shared > function->shared)
        return no(std::to_string(shared) + " bytes of shared memory, " + std::to_string(function->shared) +
                  " are the most");
    auto arguments = std::make_shared<std::vector<uint64_t>>();
    for (size_t i = 0; values[i]; i++) arguments->push_back(*static_cast<uint64_t *>(values[i]));
    if (arguments->size() != entry.count)
        return no(std::to_string(arguments->size()) + " arguments for " + std::to_string(entry.count) +
                  " parameters");
    return enqueue(stream, "cuLaunchKernel", [=, &entry] {
        std::vector<void *> pointers;
        for (size_t i = 0; i < arguments->size(); i++) {
            if (int error = check_argument(entry, i, (*arguments)[i])) return error;
            pointers.push_back(&(*arguments)[i]);
        }
        if (++launches == setting("CLOZE_EMULATED_FAIL_LAUNCH", 0)) {
            dead = true;
            return refuse(LAUNCH_FAILED, std::string(entry.name) + ": made to fail");
        }
        uint64_t first = seed ? seed : static_cast<uint64_t>(setting("CLOZE_EMULATED_SEED", 1));
        emulation::Launch launch{&entry, {x, y, z}, threads, shared, first * 1000003 + launches_of_thread++};
        std::string failure = emulation::run(launch, pointers.data());
        return failure.empty() ? int(SUCCESS) : refuse(LAUNCH_FAILED, failure);
    });
}

API cuGetErrorName(int, const char **name) {
    *name = "CUDA_ERROR";
    return SUCCESS;
}

API cuGetErrorString(int error, const char **text) {
    switch (error) {
    case OUT_OF_MEMORY:
        *text = "out of memory";
        break;
    case NO_DEVICE:
        *text = "no CUDA-capable device is detected";
        break;
    case UNSUPPORTED_PTX_VERSION:
        *text = "the provided PTX was compiled with an unsupported toolchain.";
        break;
    default:
        *text = said.empty() ? "unknown to the emulation" : said.c_str();
    }
    return SUCCESS;
}

// For tests.

// The order in which this thread's launches run their threads, until it is set again; 0 for the environment's.
API cloze_emulation_seed(uint64_t value) {
    seed = value;
    launches_of_thread = 0;
    return SUCCESS;
}

// Of this thread: launches, matrices loaded, additional cycles that bank conflicts cost them; of the process: live
// blocks and bytes of device memory.
API cloze_emulation_counts(uint64_t *out) {
    out[0] = emulation::counts.launches;
    out[1] = emulation::counts.matrices;
    out[2] = emulation::counts.conflicts;
    out[3] = used_blocks;
    out[4] = used_bytes;
    return SUCCESS;
}

// As the device converts.
extern "C" __attribute__((visibility("default"))) uint16_t cloze_emulation_to_f16(float x) {
    return emulation::f32_to_f16(x);
}
extern "C" __attribute__((visibility("default"))) float cloze_emulation_from_f16(uint16_t bits) {
    return emulation::f16_to_f32(bits);
}
