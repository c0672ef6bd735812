#include "base/tensor_type.h"

namespace lutra::base {

namespace {

constexpr TensorTypeTraits kTraits[kTensorTypeLimit] = {
    {"F32", 1, 4, true},          // 0
    {"F16", 1, 2, true},          // 1
    {"Q4_0", 32, 18, true},       // 2
    {"Q4_1", 32, 20, true},       // 3
    {nullptr, 0, 0, false},       // 4: removed from the format
    {nullptr, 0, 0, false},       // 5: removed from the format
    {"Q5_0", 32, 22, true},       // 6
    {"Q5_1", 32, 24, true},       // 7
    {"Q8_0", 32, 34, true},       // 8
    {"Q8_1", 32, 36, false},      // 9
    {"Q2_K", 256, 84, true},      // 10
    {"Q3_K", 256, 110, true},     // 11
    {"Q4_K", 256, 144, true},     // 12
    {"Q5_K", 256, 176, true},     // 13
    {"Q6_K", 256, 210, true},     // 14
    {"Q8_K", 256, 292, false},    // 15
    {"IQ2_XXS", 256, 66, false},  // 16
    {"IQ2_XS", 256, 74, false},   // 17
    {"IQ3_XXS", 256, 98, false},  // 18
    {"IQ1_S", 256, 50, false},    // 19
    {"IQ4_NL", 32, 18, true},     // 20
    {"IQ3_S", 256, 110, false},   // 21
    {"IQ2_S", 256, 82, false},    // 22
    {"IQ4_XS", 256, 136, true},   // 23
    {"I8", 1, 1, false},          // 24
    {"I16", 1, 2, false},         // 25
    {"I32", 1, 4, false},         // 26
    {"I64", 1, 8, false},         // 27
    {"F64", 1, 8, false},         // 28
    {"IQ1_M", 256, 56, false},    // 29
    {"BF16", 1, 2, true},         // 30
    {nullptr, 0, 0, false},       // 31: removed from the format
    {nullptr, 0, 0, false},       // 32: removed from the format
    {nullptr, 0, 0, false},       // 33: removed from the format
    {"TQ1_0", 256, 54, true},     // 34
    {"TQ2_0", 256, 66, true},     // 35
    {nullptr, 0, 0, false},       // 36: removed from the format
    {nullptr, 0, 0, false},       // 37: removed from the format
    {nullptr, 0, 0, false},       // 38: removed from the format
    {"MXFP4", 32, 17, true},      // 39
};

constexpr TensorTypeTraits kUnknown = {nullptr, 0, 0, false};

}  // namespace

const TensorTypeTraits& tensor_type_traits(uint32_t id) { return id < kTensorTypeLimit ? kTraits[id] : kUnknown; }

}  // namespace lutra::base
