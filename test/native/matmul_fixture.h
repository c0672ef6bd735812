// For matmul tests: arrays between guard pages, random GGUF rows with chosen scales, activations as the engine
// quantises them, and a double-precision reference.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/kernels.h"
#include "quant/quant.h"

namespace matmul_fixture {

using lutra::base::TensorType;

/// An array that touches an inaccessible page: its end (kEnd) or its start (kStart).
enum class Touch { kEnd, kStart };

class Guarded {
 public:
  Guarded(size_t bytes, Touch touch) {
    const size_t page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t middle = (bytes + page - 1) / page * page;
    mapped_ = middle + 2 * page;
    base_ = static_cast<uint8_t*>(mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED) std::abort();
    // qemu-user refuses to protect no bytes, which Linux does not.
    if (middle > 0 && mprotect(base_ + page, middle, PROT_READ | PROT_WRITE) != 0) std::abort();
    data_ = base_ + page + (touch == Touch::kEnd ? middle - bytes : 0);
  }
  template <typename T>
  Guarded(const std::vector<T>& values, Touch touch) : Guarded(values.size() * sizeof(T), touch) {
    if (!values.empty()) std::memcpy(data_, values.data(), values.size() * sizeof(T));
  }
  ~Guarded() { munmap(base_, mapped_); }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;
  template <typename T>
  T* as() const {
    return reinterpret_cast<T*>(data_);
  }

 private:
  uint8_t* base_ = nullptr;
  uint8_t* data_ = nullptr;
  size_t mapped_ = 0;
};

/// n rows of activations, quantised as kernels.h defines it: x ≈ d · (256·high + low) per block of 32.
struct Activations {
  uint32_t n, k;
  std::vector<float> x, d, s, s16;
  std::vector<int8_t> planes;

  Activations(uint32_t rows, uint32_t columns, std::vector<float> values) : n(rows), k(columns), x(std::move(values)) {
    planes.resize(2 * x.size());
    d.resize(x.size() / 32);
    s.resize(x.size() / 32);
    s16.resize(x.size() / 16);
    for (size_t block = 0; block < d.size(); ++block) quantize_block(block);
  }

  /// What the kernels take element `at` of x to be.
  double value(size_t at) const { return double{d[at / 32]} * code(at); }

  /// Puts any planes in [-127, 127] in place of the quantised ones; the scales stay.
  template <typename Plane>
  void set_planes(const Plane& plane_of) {
    for (size_t at = 0; at < x.size(); ++at) {
      planes[high_at(at)] = plane_of(at, true);
      planes[high_at(at) + 32] = plane_of(at, false);
    }
    for (size_t block = 0; block < d.size(); ++block) sum_block(block);
  }

 private:
  static size_t high_at(size_t at) { return at / 32 * 64 + at % 32; }
  int code(size_t at) const { return 256 * planes[high_at(at)] + planes[high_at(at) + 32]; }

  void quantize_block(size_t block) {
    float largest = 0;
    for (size_t i = 0; i < 32; ++i) largest = std::fmax(largest, std::fabs(x[block * 32 + i]));
    const float inverse = largest > 0 ? 32512.0f / largest : 0.0f;
    for (size_t at = block * 32; at < block * 32 + 32; ++at) {
      const int rounded = static_cast<int>(std::nearbyint(x[at] * inverse));
      const int high = static_cast<int>(std::floor((rounded + 128) / 256.0));
      planes[high_at(at)] = static_cast<int8_t>(high);
      planes[high_at(at) + 32] = static_cast<int8_t>(std::max(rounded - 256 * high, -127));
    }
    d[block] = largest / 32512.0f;
    sum_block(block);
  }

  void sum_block(size_t block) {
    int total = 0;
    for (size_t half = 0; half < 2; ++half) {
      int sum = 0;
      for (size_t i = 0; i < 16; ++i) sum += code(block * 32 + half * 16 + i);
      s16[block * 2 + half] = static_cast<float>(sum) * d[block];
      total += sum;
    }
    s[block] = static_cast<float>(total) * d[block];
  }
};

inline std::vector<float> random_floats(size_t n, std::mt19937& random) {
  std::normal_distribution<float> normal(0.3f, 1.0f);
  std::vector<float> values(n);
  for (float& value : values) value = normal(random);
  return values;
}

struct ScaleFields {
  TensorType type;
  int first, second;  ///< byte offsets of the fp16 fields in a block (−1: none)
};
constexpr ScaleFields kScaleFields[] = {
    {TensorType::Q4_0, 0, -1},   {TensorType::Q4_1, 0, 2},    {TensorType::Q5_0, 0, -1},   {TensorType::Q5_1, 0, 2},
    {TensorType::Q8_0, 0, -1},   {TensorType::Q2_K, 80, 82},  {TensorType::Q3_K, 108, -1}, {TensorType::Q4_K, 0, 2},
    {TensorType::Q5_K, 0, 2},    {TensorType::Q6_K, 208, -1}, {TensorType::IQ4_NL, 0, -1}, {TensorType::IQ4_XS, 0, -1},
    {TensorType::TQ1_0, 52, -1}, {TensorType::TQ2_0, 64, -1},
};

inline bool is_float(TensorType type) {
  return type == TensorType::F32 || type == TensorType::F16 || type == TensorType::BF16;
}

/// Finite fp16 of about ±0.01, or the smallest subnormal when `tiny`.
inline uint16_t random_scale(std::mt19937& random, bool tiny) {
  const uint32_t sign = (random() & 1) << 15;
  return static_cast<uint16_t>(tiny ? (sign | 1) : (sign | (0x2000 + (random() & 0x3FF))));
}

/// E8M0 byte of 2^-16 to 1 or, when `tiny`, of what is subnormal in float and a little more.
inline uint8_t random_exponent(std::mt19937& random, bool tiny) {
  return static_cast<uint8_t>(tiny ? random() % 4 : 112 + random() % 17);
}

enum class Codes { kRandom, kAllSet, kAllClear };

inline std::vector<uint8_t> gguf_rows(TensorType type, uint32_t rows, uint32_t k, Codes codes, bool tiny,
                                      std::mt19937& random) {
  std::vector<uint8_t> bytes(rows * lutra::quant::row_bytes(type, k));
  if (is_float(type)) {
    const size_t size = type == TensorType::F32 ? 4 : 2;
    for (size_t i = 0; i < bytes.size(); i += size) {
      const float value = std::normal_distribution<float>(0, 1)(random);
      const uint16_t half = random_scale(random, tiny);
      if (size == 4) std::memcpy(&bytes[i], &value, 4);
      if (type == TensorType::F16) std::memcpy(&bytes[i], &half, 2);
      if (type == TensorType::BF16) std::memcpy(&bytes[i], reinterpret_cast<const uint8_t*>(&value) + 2, 2);
    }
    return bytes;
  }
  for (uint8_t& byte : bytes) {
    byte = codes == Codes::kRandom ? static_cast<uint8_t>(random()) : codes == Codes::kAllSet ? 0xFF : 0x00;
  }
  const size_t block = lutra::base::tensor_type_traits(type).block_bytes;
  for (size_t at = 0; type == TensorType::MXFP4 && at < bytes.size(); at += block) {
    bytes[at] = random_exponent(random, tiny);
  }
  for (const ScaleFields& fields : kScaleFields) {
    if (fields.type != type) continue;
    for (size_t at = 0; at < bytes.size(); at += block) {
      const uint16_t first = random_scale(random, tiny), second = random_scale(random, tiny);
      std::memcpy(&bytes[at + static_cast<size_t>(fields.first)], &first, 2);
      if (fields.second >= 0) std::memcpy(&bytes[at + static_cast<size_t>(fields.second)], &second, 2);
    }
  }
  return bytes;
}

/// Panels of a matrix given as GGUF rows.
inline std::vector<uint8_t> pack(TensorType type, const std::vector<uint8_t>& rows, uint32_t n_rows, uint32_t k) {
  const uint64_t panel = lutra::quant::panel_bytes(type, k), row = lutra::quant::row_bytes(type, k);
  std::vector<uint8_t> panels((n_rows + 7) / 8 * panel);
  for (uint32_t r = 0; r < n_rows; r += 8) {
    const uint32_t count = n_rows - r < 8 ? n_rows - r : 8;
    lutra::quant::pack_panel(type, rows.data() + r * row, count, k, panels.data() + r / 8 * panel);
  }
  return panels;
}

}  // namespace matmul_fixture
