// Encoders of block types: their error against the format's reference quantiser (encode_references.h), what they make
// of hard blocks, and that they write whole blocks and nothing else.
#include "quant/encode.h"

#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "encode_references.h"
#include "guarded_array.h"
#include "quant/encode/encoders.h"
#include "quant/encode/to_half.h"
#include "quant/quant.h"

namespace {

using namespace lutra;
using base::TensorType;
using lutra_test::Guard;
using lutra_test::GuardedArray;

constexpr int kElements = 64 * 256;
constexpr uint64_t kSuperBlock = 256;

std::vector<TensorType> types() {
  std::vector<TensorType> found;
  for (uint32_t id = 0; id < base::kTensorTypeLimit; ++id) {
    if (quant::can_encode(static_cast<TensorType>(id))) found.push_back(static_cast<TensorType>(id));
  }
  return found;
}

const char* name_of(TensorType type) { return base::tensor_type_traits(type).name; }
bool is_float(TensorType type) { return base::tensor_type_traits(type).block_elements == 1; }

/// Whole numbers of 24 bits: the same floats as in make-encode-references.py.
class Numbers {
 public:
  explicit Numbers(uint64_t seed) : state_(seed) {}
  uint32_t next() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 40);
  }
  double unit() { return next() / 16777216.0; }
  double normal() {
    uint32_t sum = 0;
    for (int i = 0; i < 12; ++i) sum += next();
    return sum / 16777216.0 - 6.0;
  }

 private:
  uint64_t state_;
};

std::vector<float> make_set(const std::string& kind, uint64_t seed) {
  Numbers numbers(seed);
  std::vector<float> values(kElements);
  double scale = 0;
  for (int i = 0; i < kElements; ++i) {
    double value;
    if (kind == "normal") {
      value = 0.02 * numbers.normal();
    } else if (kind == "heavy") {
      const double n = numbers.normal();
      value = 0.02 * n * n * n;
    } else if (kind == "uniform") {
      value = 0.1 * (numbers.unit() - 0.5);
    } else if (kind == "positive") {
      value = 0.05 + 0.01 * numbers.normal();
    } else if (kind == "uneven") {
      if (i % 16 == 0) scale = 0.001 * std::ldexp(1.0, static_cast<int>(numbers.next() % 6));
      value = scale * numbers.normal();
    } else {
      value = -0.5 + 0.02 * numbers.normal();
    }
    values[i] = static_cast<float>(value);
  }
  return values;
}

std::vector<float> there_and_back(TensorType type, const std::vector<float>& values) {
  GuardedArray<float> in(values.size(), Guard::kAfter);
  in.copy_from(values.data());
  GuardedArray<uint8_t> row(quant::row_bytes(type, values.size()), Guard::kAfter);
  quant::encode_row(type, in.data(), values.size(), row.data());
  CHECK_EQ(quant::find_nonfinite(type, row.data(), values.size()), -1);
  std::vector<float> found(values.size(), NAN);
  quant::dequantize_row(type, row.data(), values.size(), found.data());
  return found;
}

struct Sums {
  double error_squares = 0, squares = 0;
};

Sums sums_of(const std::vector<float>& values, const std::vector<float>& found) {
  Sums sums;
  for (size_t i = 0; i < values.size(); ++i) {
    const double error = static_cast<double>(values[i]) - static_cast<double>(found[i]);
    sums.error_squares += error * error;
    sums.squares += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  return sums;
}

double relative_error(TensorType type, const std::vector<float>& values) {
  const Sums sums = sums_of(values, there_and_back(type, values));
  return std::sqrt(sums.error_squares / sums.squares);
}

void errors_are_within_a_percent_of_the_reference() {
  size_t n_types = 1;  // F32
  for (size_t set = 0; set < std::size(kSetNames); ++set) {
    const std::vector<float> values = make_set(kSetNames[set], set + 1);
    for (const EncodeReference& reference : kEncodeReferences) {
      TensorType type = TensorType::F32;
      for (const TensorType each : types()) {
        if (std::string(name_of(each)) == reference.type) type = each;
      }
      if (type == TensorType::F32) continue;
      if (set == 0) ++n_types;
      const double error = relative_error(type, values);
      const bool close = error <= 1.01 * reference.errors[set];
      if (!close)
        std::fprintf(stderr, "%s %s: %g, reference %g\n", reference.type, kSetNames[set], error, reference.errors[set]);
      CHECK(close);
    }
    CHECK_EQ(relative_error(TensorType::F32, values), 0.0);
  }
  CHECK_EQ(n_types, types().size());  // every encoder has a reference
}

/// No block is worse off than as zeros, and none of its values becomes much larger than the largest was.
void check_hard(TensorType type, const char* what, const std::vector<float>& values) {
  const std::vector<float> found = there_and_back(type, values);
  const Sums sums = sums_of(values, found);
  float largest = 0, largest_found = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    largest = std::fmax(largest, std::fabs(values[i]));
    largest_found = std::fmax(largest_found, std::fabs(found[i]));
  }
  const bool good = sums.error_squares <= 1.0001 * sums.squares && largest_found <= 1.5f * largest + 1e-6f;
  if (!good) std::fprintf(stderr, "%s of %s: error %g of %g\n", what, name_of(type), sums.error_squares, sums.squares);
  CHECK(good);
}

void hard_blocks() {
  for (const TensorType type : types()) {
    const float largest = quant::largest_encodable(type);
    const std::vector<float> zeros(kSuperBlock, 0.0f);
    CHECK(there_and_back(type, zeros) == zeros);
    CHECK(there_and_back(type, std::vector<float>(kSuperBlock, -0.0f)) == zeros);
    for (const float magnitude :
         {1e-45f, 1e-39f, 1e-30f, 1e-20f, 1e-10f, 3e-8f, 1e-6f, 1e-4f, 0.7f, 60000.0f, largest}) {
      if (magnitude > largest) continue;
      std::vector<float> one(kSuperBlock), all(kSuperBlock), alternating(kSuperBlock), mixed(kSuperBlock);
      Numbers numbers(3);
      one[77] = -magnitude;
      for (size_t i = 0; i < kSuperBlock; ++i) {
        all[i] = magnitude;
        alternating[i] = i % 2 == 0 ? magnitude : -magnitude;
        mixed[i] = magnitude * static_cast<float>(2 * numbers.unit() - 1);
      }
      check_hard(type, "one outlier", one);
      check_hard(type, "one value", all);
      check_hard(type, "both extremes", alternating);
      check_hard(type, "any values", mixed);
      for (float& value : all) value = -value;
      check_hard(type, "one negative value", all);
      mixed[100] = magnitude;
      for (size_t i = 0; i < kSuperBlock; ++i) mixed[i] *= i == 100 ? 1.0f : 0.001f;
      check_hard(type, "an outlier among small values", mixed);
    }
  }
}

/// What a block of one value comes to: within half a step of the scales, which of MXFP4 are few.
void constants_stay() {
  for (const TensorType type : types()) {
    const float tolerance = type == TensorType::MXFP4 ? 0.2f : 0.004f;
    for (const float value : {0.03f, -0.37f, 5.0f, -123.0f}) {
      const std::vector<float> found = there_and_back(type, std::vector<float>(kSuperBlock, value));
      float largest_error = 0;
      for (const float each : found) largest_error = std::fmax(largest_error, std::fabs(each - value));
      const bool near = largest_error <= tolerance * std::fabs(value);
      if (!near) std::fprintf(stderr, "%s of %g: off by %g\n", name_of(type), double{value}, double{largest_error});
      CHECK(near);
    }
  }
}

void rows_are_runs_of_blocks() {
  const std::vector<float> values = make_set("uneven", 9);
  for (const TensorType type : types()) {
    const uint64_t block = base::tensor_type_traits(type).block_elements;
    std::vector<uint8_t> whole(quant::row_bytes(type, 3 * kSuperBlock)), parts = whole;
    quant::encode_row(type, values.data(), 3 * kSuperBlock, whole.data());
    for (uint64_t i = 0; i < 3 * kSuperBlock; i += block) {
      quant::encode_row(type, values.data() + i, block, parts.data() + quant::row_bytes(type, i));
    }
    CHECK(whole == parts);
    quant::encode_row(type, nullptr, 0, nullptr);
  }
  CHECK(!quant::can_encode(static_cast<TensorType>(9)));
  CHECK(!quant::can_encode(static_cast<TensorType>(4000)));
  CHECK_EQ(quant::largest_encodable(static_cast<TensorType>(9)), 0.0f);
}

/// Every bit of a block is read into the codes, so writing them gives the block again; but TQ1_0 has several spellings
/// of the same digits.
void blocks_are_written_as_read() {
  std::mt19937 random(5);
  for (const TensorType type : types()) {
    if (is_float(type)) continue;
    std::vector<uint8_t> block(base::tensor_type_traits(type).block_bytes), written(block.size());
    for (int round = 0; round < 200; ++round) {
      for (uint8_t& byte : block) byte = static_cast<uint8_t>(random());
      if (round < 2) std::fill(block.begin(), block.end(), round == 0 ? uint8_t{0} : uint8_t{255});
      quant::BlockCodes codes;
      quant::read_gguf_block(type, block.data(), codes);
      quant::write_gguf_block(type, codes, written.data());
      if (type != TensorType::TQ1_0) CHECK(block == written);
      quant::BlockCodes again;
      quant::read_gguf_block(type, written.data(), again);
      CHECK_EQ(again.d, codes.d);
      CHECK(std::memcmp(again.codes, codes.codes, base::tensor_type_traits(type).block_elements) == 0);
    }
  }
}

void halves_are_the_nearest() {
  for (uint32_t bits = 0; bits < 0x7C00; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float value = quant::half_to_float(half);
    CHECK_EQ(quant::float_to_half(value), half);
    CHECK_EQ(quant::float_to_half(-value), half | 0x8000);
    if (bits == 0x7BFF) continue;
    // Half way to the next: the even one; a step to either side of that: the nearer one.
    const float middle = (value + quant::half_to_float(half + 1)) / 2;
    CHECK_EQ(quant::float_to_half(middle), half % 2 == 0 ? half : half + 1);
    CHECK_EQ(quant::float_to_half(std::nextafterf(middle, 0.0f)), half);
    CHECK_EQ(quant::float_to_half(std::nextafterf(middle, INFINITY)), half + 1);
  }
  CHECK_EQ(quant::float_to_half(65519.99f), 0x7BFF);
  CHECK_EQ(quant::float_to_half(65520.0f), 0x7C00);
  CHECK_EQ(quant::scale_to_half(1e-30f), 1);
  CHECK_EQ(quant::scale_to_half(-1e9f), 0xFBFF);
  CHECK_EQ(quant::scale_to_half(0.0f), 0);
  for (uint32_t bits = 0; bits < 0x7F7F; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const float middle = quant::float_from_bits(bits << 16 | 0x8000u);
    CHECK_EQ(quant::float_to_bfloat(quant::bfloat_to_float(half)), half);
    CHECK_EQ(quant::float_to_bfloat(middle), half % 2 == 0 ? half : half + 1);
    CHECK_EQ(quant::float_to_bfloat(-std::nextafterf(middle, INFINITY)), (half + 1) | 0x8000);
  }
}

}  // namespace

int main() {
  errors_are_within_a_percent_of_the_reference();
  hard_blocks();
  constants_stay();
  rows_are_runs_of_blocks();
  blocks_are_written_as_read();
  halves_are_the_nearest();
  return lutra_test_summary();
}
