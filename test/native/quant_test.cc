// Dequantisation against fixtures from the `gguf` Python package, panel round trips, and the search for bad scales.
#include "quant/quant.h"

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "check.h"

namespace {

using namespace lutra;
using base::TensorType;

constexpr TensorType kTypes[] = {
    TensorType::F32,  TensorType::F16,    TensorType::BF16,   TensorType::Q4_0,  TensorType::Q4_1,  TensorType::Q5_0,
    TensorType::Q5_1, TensorType::Q8_0,   TensorType::Q2_K,   TensorType::Q3_K,  TensorType::Q4_K,  TensorType::Q5_K,
    TensorType::Q6_K, TensorType::IQ4_NL, TensorType::IQ4_XS, TensorType::TQ1_0, TensorType::TQ2_0, TensorType::MXFP4};

std::string fixture_folder() {
  if (const char* folder = std::getenv("LUTRA_FIXTURES")) return std::string(folder) + "/quant/";
  const std::string file = __FILE__;
  if (std::ifstream("test/fixtures/quant/F32.bin")) return "test/fixtures/quant/";
  const size_t slash = file.rfind("native/quant_test.cc");
  return file.substr(0, slash == std::string::npos ? 0 : slash) + "fixtures/quant/";
}

std::vector<uint8_t> read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

bool same_bits(const float* a, const float* b, size_t n) { return n == 0 || std::memcmp(a, b, n * sizeof(float)) == 0; }

/// Random bytes are valid GGUF rows of every type, but for the non-finite scales that round trips must not depend on.
std::vector<uint8_t> random_rows(TensorType type, uint32_t n_rows, uint64_t k, std::mt19937& random) {
  std::vector<uint8_t> rows(n_rows * quant::row_bytes(type, k));
  for (uint8_t& byte : rows) byte = static_cast<uint8_t>(random());
  return rows;
}

struct Fixture {
  uint32_t k = 0;
  std::vector<uint8_t> row;
  std::vector<float> values;
};

Fixture load_fixture(TensorType type) {
  const std::vector<uint8_t> bytes = read_file(fixture_folder() + base::tensor_type_traits(type).name + ".bin");
  Fixture fixture;
  CHECK(bytes.size() > 8);
  if (bytes.size() <= 8) return fixture;
  uint32_t n_bytes;
  std::memcpy(&fixture.k, bytes.data(), 4);
  std::memcpy(&n_bytes, bytes.data() + 4, 4);
  CHECK_EQ(bytes.size(), 8 + n_bytes + 4 * size_t{fixture.k});
  fixture.row.assign(bytes.begin() + 8, bytes.begin() + 8 + n_bytes);
  fixture.values.resize(fixture.k);
  std::memcpy(fixture.values.data(), bytes.data() + 8 + n_bytes, 4 * size_t{fixture.k});
  return fixture;
}

void dequantises_as_gguf_does() {
  for (TensorType type : kTypes) {
    const Fixture fixture = load_fixture(type);
    CHECK_EQ(quant::row_bytes(type, fixture.k), fixture.row.size());
    std::vector<float> values(fixture.k, NAN);
    quant::dequantize_row(type, fixture.row.data(), fixture.k, values.data());
    const bool same = same_bits(values.data(), fixture.values.data(), fixture.k);
    if (!same) std::fprintf(stderr, "type %s differs\n", base::tensor_type_traits(type).name);
    CHECK(same);
    CHECK_EQ(quant::find_nonfinite(type, fixture.row.data(), fixture.k), -1);
  }
}

void check_round_trip(TensorType type, uint32_t n_rows, uint64_t k, std::mt19937& random) {
  const std::vector<uint8_t> rows = random_rows(type, n_rows, k, random);
  const uint64_t bytes = quant::panel_bytes(type, k);
  std::vector<uint8_t> panel(bytes + 1, 0xA5);
  quant::pack_panel(type, rows.data(), n_rows, k, panel.data());
  CHECK_EQ(int{panel[bytes]}, 0xA5);
  std::vector<float> expected(k), found(k);
  for (uint32_t r = 0; r < 8; ++r) {
    quant::dequantize_panel_row(type, panel.data(), r, k, found.data());
    if (r < n_rows) {
      quant::dequantize_row(type, rows.data() + r * quant::row_bytes(type, k), k, expected.data());
      CHECK(same_bits(expected.data(), found.data(), k));
    } else {
      bool all_zero = true;
      for (float value : found) all_zero = all_zero && value == 0.0f;
      CHECK(all_zero);
    }
  }
}

void panels_round_trip() {
  std::mt19937 random(7);
  for (TensorType type : kTypes) {
    const uint32_t block = base::tensor_type_traits(type).block_elements;
    for (uint64_t k : {32u, 96u, 256u, 576u, 640u, 1536u, 2048u}) {
      if (k % block != 0) continue;
      for (uint32_t n_rows = 1; n_rows <= 8; ++n_rows) check_round_trip(type, n_rows, k, random);
    }
  }
  for (TensorType type : {TensorType::F32, TensorType::F16, TensorType::BF16}) check_round_trip(type, 5, 7, random);
}

void panels_stay_small() {
  for (TensorType type : kTypes) {
    const double gguf = 8.0 * static_cast<double>(quant::row_bytes(type, 2048));
    const uint64_t panel = quant::panel_bytes(type, 2048);
    CHECK_EQ(panel % 64, 0u);
    // Base-3 digits are unpacked to two bits.
    CHECK(static_cast<double>(panel) <= (type == TensorType::TQ1_0 ? 1.23 : 1.05) * gguf);
  }
  CHECK_EQ(quant::row_bytes(static_cast<TensorType>(99), 256), 0u);
  CHECK_EQ(quant::panel_bytes(static_cast<TensorType>(99), 256), 0u);
}

/// Byte offsets of the fp16 fields of a block (−1: none).
struct Halves {
  TensorType type;
  int first, second;
};
constexpr Halves kHalves[] = {
    {TensorType::Q4_0, 0, -1},   {TensorType::Q4_1, 0, 2},    {TensorType::Q5_0, 0, -1},   {TensorType::Q5_1, 0, 2},
    {TensorType::Q8_0, 0, -1},   {TensorType::Q2_K, 80, 82},  {TensorType::Q3_K, 108, -1}, {TensorType::Q4_K, 0, 2},
    {TensorType::Q5_K, 0, 2},    {TensorType::Q6_K, 208, -1}, {TensorType::IQ4_NL, 0, -1}, {TensorType::IQ4_XS, 0, -1},
    {TensorType::TQ1_0, 52, -1}, {TensorType::TQ2_0, 64, -1},
};

void finds_nonfinite_scales() {
  constexpr uint16_t kBad[] = {0x7C00, 0xFC00, 0x7E00, 0xFC01};
  for (const Halves& halves : kHalves) {
    const base::TensorTypeTraits& traits = base::tensor_type_traits(halves.type);
    for (int offset : {halves.first, halves.second}) {
      if (offset < 0) continue;
      for (uint16_t bad : kBad) {
        std::vector<uint8_t> row(5 * traits.block_bytes, 0);
        CHECK_EQ(quant::find_nonfinite(halves.type, row.data(), 5 * traits.block_elements), -1);
        std::memcpy(row.data() + 3 * traits.block_bytes + offset, &bad, 2);
        CHECK_EQ(quant::find_nonfinite(halves.type, row.data(), 5 * traits.block_elements), 3);
        CHECK_EQ(quant::find_nonfinite(halves.type, row.data(), 3 * traits.block_elements), -1);
      }
    }
    // Codes of all ones are not a bad scale.
    std::vector<uint8_t> row(traits.block_bytes, 0xFF);
    const uint16_t one = 0x3C00;
    std::memcpy(row.data() + halves.first, &one, 2);
    if (halves.second >= 0) std::memcpy(row.data() + halves.second, &one, 2);
    CHECK_EQ(quant::find_nonfinite(halves.type, row.data(), traits.block_elements), -1);
  }
  const float floats[] = {1.0f, -0.0f, 3e38f, -INFINITY, NAN};
  CHECK_EQ(quant::find_nonfinite(TensorType::F32, reinterpret_cast<const uint8_t*>(floats), 5), 3);
  const uint16_t halves[] = {0, 0x7BFF, 0xFE00};
  CHECK_EQ(quant::find_nonfinite(TensorType::F16, reinterpret_cast<const uint8_t*>(halves), 3), 2);
  const uint16_t bfloats[] = {0x7F7F, 0x7F80, 0};
  CHECK_EQ(quant::find_nonfinite(TensorType::BF16, reinterpret_cast<const uint8_t*>(bfloats), 3), 1);
}

/// The E8M0 byte e stands for 2^(e − 127), which float holds as a subnormal for e = 0; past 252 the format's largest
/// value, 6, leaves float, and 255 is NaN.
void knows_every_exponent() {
  constexpr uint8_t kSix = 0x77;
  for (int e = 0; e < 256; ++e) {
    std::vector<uint8_t> row(3 * 17, 0);
    row[17] = static_cast<uint8_t>(e);
    std::memset(row.data() + 18, kSix, 16);
    CHECK_EQ(quant::find_nonfinite(TensorType::MXFP4, row.data(), 96), e > 252 ? 1 : -1);
    if (e == 255) continue;
    float values[96];
    quant::dequantize_row(TensorType::MXFP4, row.data(), 96, values);
    CHECK_EQ(values[32], std::ldexp(6.0f, e - 127));
    CHECK_EQ(std::isfinite(values[63]), e <= 252);
    CHECK_EQ(values[64], 0.0f);
  }
}

}  // namespace

int main() {
  dequantises_as_gguf_does();
  panels_round_trip();
  panels_stay_small();
  finds_nonfinite_scales();
  knows_every_exponent();
  return lutra_test_summary();
}
