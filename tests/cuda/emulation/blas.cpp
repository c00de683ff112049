// The functions of libcublasLt.so that cloze calls, multiplying in the obvious way in the memory of the emulated GPU.
// All that it is given is checked: kinds of objects, names and sizes of attributes, shapes, distances, alignment.

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>

#define API extern "C" __attribute__((visibility("default"))) int

namespace {

enum : int { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, NOT_SUPPORTED = 15 };
enum : int { F32 = 0, F16 = 2, BF16 = 14, COMPUTE_F32 = 68 };

int refuse(const char *why) {
    fprintf(stderr, "emulated cuBLASLt: %s\n", why);
    return INVALID_VALUE;
}

// Every object starts with what it is.
enum Kind : uint64_t { HANDLE = 0xb1a5'0001, DESC, LAYOUT, PREFERENCE };
struct Object {
    Kind kind;
};
struct Desc : Object {
    int transposed[2] = {0, 0}, epilogue = 1;
    const void *bias = nullptr;
};
struct Layout : Object {
    int type;
    uint64_t rows, columns;
    int64_t stride;
};
struct Preference : Object {
    uint64_t workspace = 0;
    uint32_t alignment[4] = {256, 256, 256, 256};
};
bool is(const void *object, Kind kind) { return object && static_cast<const Object *>(object)->kind == kind; }

struct Advice {
    uint64_t algorithm[8];
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};
// In an algorithm, so that it is known again.
constexpr uint64_t MINE = 0xa190'71f3'c10e'ba5e;

long objects, products;

float bf16_at(const void *p, uint64_t i) {
    uint32_t bits = static_cast<uint32_t>(static_cast<const uint16_t *>(p)[i]) << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}
float f16_at(const void *p, uint64_t i) {
    uint16_t bits = static_cast<const uint16_t *>(p)[i];
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    float x = exponent == 31  ? (fraction ? NAN : INFINITY)
              : exponent == 0 ? std::ldexp(float(fraction), -24)
                              : std::ldexp(float(fraction + 1024), exponent - 25);
    return bits & 0x8000 ? -x : x;
}
float at(const void *p, int type, uint64_t i) {
    return type == F32 ? static_cast<const float *>(p)[i] : type == F16 ? f16_at(p, i) : bf16_at(p, i);
}
// Rounds to `digits` binary digits, ties to even.
double nearest(double x, int digits, int least) {
    if (x == 0 || !std::isfinite(x)) return x;
    int exponent;
    std::frexp(x, &exponent);
    int unit = exponent - digits < least ? least : exponent - digits;
    return std::ldexp(std::nearbyint(std::ldexp(x, -unit)), unit);
}
void put(void *p, int type, uint64_t i, double value) {
    if (type == F32) {
        static_cast<float *>(p)[i] = float(value);
        return;
    }
    float x = float(nearest(value, type == F16 ? 11 : 8, type == F16 ? -24 : -133));
    uint32_t bits;
    memcpy(&bits, &x, 4);
    uint16_t half = uint16_t(bits >> 16);
    if (type == F16) {
        int exponent;
        float fraction = std::frexp(std::fabs(x), &exponent);
        half = uint16_t(std::isnan(x)        ? 0x7e00
                        : x == 0             ? 0
                        : exponent > 16      ? 0x7c00
                        : exponent < -13     ? int(std::ldexp(std::fabs(x), 24))
                                             : ((exponent + 14) << 10) + int(std::ldexp(fraction, 11)) - 1024);
        if (std::signbit(x)) half |= 0x8000;
    }
    static_cast<uint16_t *>(p)[i] = half;
}

bool aligned(const void *p, uint32_t bytes) { return reinterpret_cast<uintptr_t>(p) % bytes == 0; }

// Rows and columns of what is multiplied.
void shape(const Layout &layout, bool transposed, uint64_t &rows, uint64_t &columns) {
    rows = transposed ? layout.columns : layout.rows;
    columns = transposed ? layout.rows : layout.columns;
}

const char *wrong(const Desc &desc, const Layout &a, const Layout &b, const Layout &c) {
    uint64_t rows, depth, other, columns;
    shape(a, desc.transposed[0], rows, depth);
    shape(b, desc.transposed[1], other, columns);
    if (depth != other || rows != c.rows || columns != c.columns) return "shapes that do not belong together";
    const bool typed = a.type == b.type && a.type != F32 && (c.type == F32 || c.type == a.type);
    if (!typed) return "types that do not belong together";
    if (desc.epilogue == 4 && c.type == F32) return "a bias of f32";
    return nullptr;
}

template <class T> int made(void **object, T *fresh, Kind kind) {
    fresh->kind = kind;
    *object = fresh;
    objects++;
    return SUCCESS;
}
template <class T> int destroyed(void *object, Kind kind) {
    if (!is(object, kind)) return refuse("destroys what is no such object");
    static_cast<Object *>(object)->kind = Kind(0);
    delete static_cast<T *>(object);
    objects--;
    return SUCCESS;
}

} // namespace

API cublasLtCreate(void **handle) { return made(handle, new Object, HANDLE); }
API cublasLtDestroy(void *handle) { return destroyed<Object>(handle, HANDLE); }

API cublasLtMatmulDescCreate(void **desc, int compute, int scale) {
    if (compute != COMPUTE_F32 || scale != F32) return refuse("other sums than of f32");
    return made(desc, new Desc, DESC);
}
API cublasLtMatmulDescDestroy(void *desc) { return destroyed<Desc>(desc, DESC); }
API cublasLtMatmulDescSetAttribute(void *object, int name, const void *value, size_t size) {
    if (!is(object, DESC)) return refuse("an attribute of no product");
    Desc &desc = *static_cast<Desc *>(object);
    if (size != (name == 8 ? 8 : 4)) return refuse("an attribute of another size");
    switch (name) {
    case 3:
    case 4: memcpy(&desc.transposed[name - 3], value, 4); return SUCCESS;
    case 7: memcpy(&desc.epilogue, value, 4); return desc.epilogue == 1 || desc.epilogue == 4 ? SUCCESS : INVALID_VALUE;
    case 8: memcpy(&desc.bias, value, 8); return SUCCESS;
    default: return refuse("an attribute that is not emulated");
    }
}

API cublasLtMatrixLayoutCreate(void **layout, int type, uint64_t rows, uint64_t columns, int64_t stride) {
    if (stride < int64_t(rows)) return refuse("columns that overlap");
    return made(layout, new Layout{{LAYOUT}, type, rows, columns, stride}, LAYOUT);
}
API cublasLtMatrixLayoutDestroy(void *layout) { return destroyed<Layout>(layout, LAYOUT); }

API cublasLtMatmulPreferenceCreate(void **preference) { return made(preference, new Preference, PREFERENCE); }
API cublasLtMatmulPreferenceDestroy(void *preference) { return destroyed<Preference>(preference, PREFERENCE); }
API cublasLtMatmulPreferenceSetAttribute(void *object, int name, const void *value, size_t size) {
    if (!is(object, PREFERENCE)) return refuse("an attribute of no preference");
    Preference &preference = *static_cast<Preference *>(object);
    if (name == 1 && size == 8) return memcpy(&preference.workspace, value, 8), SUCCESS;
    if (name >= 5 && name <= 8 && size == 4) return memcpy(&preference.alignment[name - 5], value, 4), SUCCESS;
    return refuse("a preference that is not emulated");
}

API cublasLtMatmulAlgoGetHeuristic(void *handle, void *desc, void *a, void *b, void *c, void *d, void *preference,
                                   int wanted, Advice *advice, int *count) {
    if (!is(handle, HANDLE)) return NOT_INITIALIZED;
    if (!is(desc, DESC) || !is(a, LAYOUT) || !is(b, LAYOUT) || !is(c, LAYOUT) || !is(d, LAYOUT) ||
        !is(preference, PREFERENCE) || wanted < 1)
        return refuse("advice on no product");
    const Layout &la = *static_cast<Layout *>(a), &lb = *static_cast<Layout *>(b), &lc = *static_cast<Layout *>(c);
    if (const char *why = wrong(*static_cast<Desc *>(desc), la, lb, lc)) return refuse(why);
    memset(advice, 0, sizeof *advice);
    advice->algorithm[0] = MINE;
    advice->algorithm[1] = static_cast<Preference *>(preference)->alignment[0];
    advice->workspace = static_cast<Preference *>(preference)->workspace;
    *count = 1;
    return SUCCESS;
}

API cublasLtMatmul(void *handle, void *desc_, const void *alpha, const void *a, void *a_layout, const void *b,
                   void *b_layout, const void *beta, const void *c, void *c_layout, void *d, void *d_layout,
                   const uint64_t *algorithm, void *workspace, size_t, void *stream) {
    if (!is(handle, HANDLE)) return NOT_INITIALIZED;
    const bool planned = is(desc_, DESC) && is(a_layout, LAYOUT) && is(b_layout, LAYOUT) && is(c_layout, LAYOUT);
    if (!planned || c_layout != d_layout || c != d || algorithm[0] != MINE || !workspace || !stream)
        return refuse("not what was planned");
    const Desc &desc = *static_cast<Desc *>(desc_);
    const Layout &la = *static_cast<Layout *>(a_layout), &lb = *static_cast<Layout *>(b_layout);
    const Layout &lc = *static_cast<Layout *>(c_layout);
    if (const char *why = wrong(desc, la, lb, lc)) return refuse(why);
    const uint32_t bytes = uint32_t(algorithm[1]);
    if (!aligned(a, bytes) || !aligned(b, bytes) || !aligned(c, bytes)) return refuse("less aligned than was promised");
    if (desc.epilogue == 4 && !desc.bias) return refuse("no bias");
    const float by = *static_cast<const float *>(alpha), before = *static_cast<const float *>(beta);
    uint64_t rows, depth;
    shape(la, desc.transposed[0], rows, depth);
    for (uint64_t column = 0; column < lc.columns; column++)
        for (uint64_t row = 0; row < rows; row++) {
            double sum = 0;
            for (uint64_t k = 0; k < depth; k++) {
                uint64_t ia = desc.transposed[0] ? row * la.stride + k : k * la.stride + row;
                uint64_t ib = desc.transposed[1] ? k * lb.stride + column : column * lb.stride + k;
                sum += double(at(a, la.type, ia)) * at(b, lb.type, ib);
            }
            const uint64_t place = column * lc.stride + row;
            sum = by * sum + (before != 0 ? before * at(c, lc.type, place) : 0);
            if (desc.epilogue == 4) sum += at(desc.bias, lc.type, row);
            put(d, lc.type, place, sum);
        }
    products++;
    return SUCCESS;
}

// Live objects, and products so far.
extern "C" __attribute__((visibility("default"))) void cloze_emulated_blas(long *live, long *count) {
    *live = objects;
    *count = products;
}
