// Element-wise, activation, quantisation and selection kernels: scalar against double, SIMD against scalar bit for bit,
// all of it between guard pages.
#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "check.h"
#include "guarded_array.h"
#include "kernel_fixture.h"
#include "kernels/kernels.h"

using lutra::base::Isa;
using lutra::kernels::kernel_table;
using lutra::kernels::KernelTable;
using lutra_test::all_tables;
using lutra_test::Guard;
using lutra_test::GuardedArray;
using lutra_test::same_bits;

namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

const KernelTable* scalar_table() { return kernel_table(Isa::kScalar); }

/// Normal values with some of every awkward kind.
std::vector<float> awkward_values(size_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, 6.0f);
  const float special[] = {0.0f,   -0.0f,   1e-45f, -3e-39f, 90.0f, -90.0f, -104.5f,
                           200.0f, -200.0f, 1e20f,  -1e20f,  kInf,  -kInf,  kNan};
  std::vector<float> x(n);
  for (float& v : x) v = random() % 8 == 0 ? special[random() % std::size(special)] : normal(random);
  return x;
}

std::vector<float> normal_values(size_t n, uint32_t seed, float deviation) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> x(n);
  for (float& v : x) v = normal(random);
  return x;
}

std::vector<uint32_t> lengths() {
  std::vector<uint32_t> all(67);
  std::iota(all.begin(), all.end(), 1u);
  all.insert(all.end(), {576u, 1025u, 9999u});
  return all;
}

/// Runs `call(table, a, b, out, n)` on guarded copies for every table, and compares with the scalar result.
template <typename Call>
void compare_tables(const std::vector<float>& a, const std::vector<float>& b, Call call) {
  const uint32_t n = static_cast<uint32_t>(a.size());
  std::vector<float> expected(n), a_copy = a, b_copy = b;
  call(*scalar_table(), a_copy.data(), b_copy.data(), expected.data(), n);
  for (const KernelTable* table : all_tables()) {
    for (const Guard guard : {Guard::kBefore, Guard::kAfter}) {
      GuardedArray<float> ga(n, guard), gb(n, guard), out(n, guard);
      ga.copy_from(a.data());
      gb.copy_from(b.data());
      call(*table, ga.data(), gb.data(), out.data(), n);
      CHECK(same_bits(out.data(), expected.data(), n));
      CHECK(same_bits(ga.data(), a_copy.data(), n));
    }
  }
}

void test_bit_equality() {
  for (const uint32_t n : lengths()) {
    for (const bool awkward : {false, true}) {
      const auto a = awkward ? awkward_values(n, n) : normal_values(n, n, 3.0f);
      const auto b = awkward ? awkward_values(n, n + 1000) : normal_values(n, n + 1000, 3.0f);
      compare_tables(a, b, [](auto& t, float* x, float* y, float* out, uint32_t k) { t.silu_mul(x, y, k, out); });
      compare_tables(a, b, [](auto& t, float* x, float* y, float* out, uint32_t k) { t.gelu_mul(x, y, k, out); });
      compare_tables(a, b, [](auto& t, float* x, float* y, float* o, uint32_t k) { t.rms_norm(x, y, k, 1e-6f, o); });
      compare_tables(a, b, [](auto& t, float* x, auto, float* o, uint32_t k) { t.rms_norm(x, nullptr, k, 1e-5f, o); });
      compare_tables(a, b, [](auto& t, float* x, float* y, float*, uint32_t k) { t.add(x, y, k); });
      compare_tables(a, b, [](auto& t, float* x, float*, float*, uint32_t k) { t.scale(x, 0.3f, k); });
      compare_tables(a, b, [](auto& t, float* x, float*, float* out, uint32_t k) { *out = t.log_sum_exp(x, k); });
      // in place
      compare_tables(a, b, [](auto& t, float* x, float* y, float*, uint32_t k) { t.silu_mul(x, y, k, x); });
      compare_tables(a, b, [](auto& t, float* x, float* y, float*, uint32_t k) { t.gelu_mul(y, x, k, x); });
      compare_tables(a, b, [](auto& t, float* x, float* y, float*, uint32_t k) { t.rms_norm(x, y, k, 1e-6f, x); });
    }
  }
}

/// A value's result may depend neither on its lane nor on the length.
void test_lane_independence() {
  const auto x = normal_values(67, 5, 4.0f);
  for (const KernelTable* table : all_tables()) {
    std::vector<float> whole(67), gelu_whole(67);
    table->silu_mul(x.data(), x.data(), 67, whole.data());
    table->gelu_mul(x.data(), x.data(), 67, gelu_whole.data());
    for (size_t i = 0; i < x.size(); ++i) {
      float silu = 0.0f, gelu = 0.0f;
      table->silu_mul(&x[i], &x[i], 1, &silu);
      table->gelu_mul(&x[i], &x[i], 1, &gelu);
      CHECK(same_bits(silu, whole[i]));
      CHECK(same_bits(gelu, gelu_whole[i]));
    }
  }
}

void test_activation_accuracy() {
  const double a = 2.0 * std::sqrt(2.0 / std::acos(-1.0));
  double worst_silu = 0.0, worst_gelu = 0.0;
  for (int i = -870000; i <= 1000000; i += 7) {
    const float x = static_cast<float>(i) * 1e-4f, one = 1.0f;
    float silu = 0.0f, gelu = 0.0f;
    scalar_table()->silu_mul(&x, &one, 1, &silu);
    scalar_table()->gelu_mul(&x, &one, 1, &gelu);
    const double exact_silu = double{x} / (1.0 + std::exp(-double{x}));
    const double exact_gelu = double{x} / (1.0 + std::exp(-a * (double{x} + 0.044715 * double{x} * x * x)));
    if (std::abs(exact_silu) > 1e-36) worst_silu = std::max(worst_silu, std::abs(silu / exact_silu - 1.0));
    if (std::abs(exact_gelu) > 1e-36) worst_gelu = std::max(worst_gelu, std::abs(gelu / exact_gelu - 1.0));
  }
  std::printf("relative error: silu %.2e, gelu %.2e\n", worst_silu, worst_gelu);
  CHECK(worst_silu <= 1e-6);
  CHECK(worst_gelu <= 1e-6);
}

/// exp has no entry of its own: its edges show through log_sum_exp (exact for one value) and silu.
void test_exp_edges() {
  const float edges[] = {-kInf, -110.0f, -103.0f, -88.0f, 0.0f, 88.0f, 89.0f, kInf};
  for (const KernelTable* table : all_tables()) {
    for (const float x : edges) CHECK(same_bits(table->log_sum_exp(&x, 1), x));
    CHECK(std::isnan(table->log_sum_exp(&kNan, 1)));
    const float pair[] = {0.0f, -kInf};
    CHECK_EQ(table->log_sum_exp(pair, 2), 0.0f);
    const float poisoned[] = {kInf, 1.0f, kNan};
    CHECK(std::isnan(table->log_sum_exp(poisoned, 3)));
    const float x = -200.0f, one = 1.0f;
    float out = 1.0f;
    table->silu_mul(&x, &one, 1, &out);
    CHECK_EQ(out, 0.0f);
    table->gelu_mul(&x, &one, 1, &out);
    CHECK_EQ(out, 0.0f);
  }
}

void test_norm_and_log_sum_exp_accuracy() {
  for (const uint32_t n : {1u, 64u, 576u, 2560u}) {
    const auto x = normal_values(n, n, 2.0f), w = normal_values(n, n + 1, 1.0f);
    std::vector<float> out(n);
    scalar_table()->rms_norm(x.data(), w.data(), n, 1e-5f, out.data());
    double squares = 0.0;
    for (const float v : x) squares += double{v} * v;
    const double factor = 1.0 / std::sqrt(squares / n + 1e-5);
    // a lane adds n/8 squares with one rounding each, then three merges; half of it survives the root, then 4 roundings
    const double tolerance = ((n / 8.0 + 3.0) / 2.0 + 4.0) * 6e-8;
    for (uint32_t i = 0; i < n; ++i) {
      CHECK(std::abs(out[i] - x[i] * factor * w[i]) <= tolerance * std::abs(out[i]) + 1e-30);
    }
  }
  for (const uint32_t n : {1u, 1024u, 1025u, 262144u}) {
    const auto x = normal_values(n, n, 4.0f);
    double sum = 0.0;
    for (const float v : x) sum += std::exp(double{v} - 10.0);
    const double exact = std::log(sum) + 10.0;
    // exp 2e-7, x - max rounds to 2e-6 at most, sums of 128 terms 8e-6; the result itself one rounding
    CHECK(std::abs(scalar_table()->log_sum_exp(x.data(), n) - exact) <= 1.1e-5);
    for (const KernelTable* table : all_tables()) {
      CHECK(same_bits(table->log_sum_exp(x.data(), n), scalar_table()->log_sum_exp(x.data(), n)));
    }
  }
}

void test_rope() {
  for (const uint32_t n_pairs : {1u, 2u, 3u, 4u, 5u, 7u, 8u, 12u, 31u, 32u, 48u, 64u, 67u, 128u}) {
    const auto angles = normal_values(n_pairs, n_pairs, 3.0f), head = normal_values(2 * n_pairs, n_pairs + 9, 1.0f);
    std::vector<float> cos(n_pairs), sin(n_pairs);
    for (uint32_t i = 0; i < n_pairs; ++i) {
      cos[i] = std::cos(angles[i]);
      sin[i] = std::sin(angles[i]);
    }
    std::vector<float> interleaved = head, halves = head;
    scalar_table()->rope_interleaved(interleaved.data(), cos.data(), sin.data(), n_pairs);
    scalar_table()->rope_halves(halves.data(), cos.data(), sin.data(), n_pairs);
    for (uint32_t i = 0; i < n_pairs; ++i) {
      const double c = cos[i], s = sin[i];
      CHECK(std::abs(interleaved[2 * i] - (head[2 * i] * c - head[2 * i + 1] * s)) <= 1e-6);
      CHECK(std::abs(interleaved[2 * i + 1] - (head[2 * i] * s + head[2 * i + 1] * c)) <= 1e-6);
      CHECK(std::abs(halves[i] - (head[i] * c - head[i + n_pairs] * s)) <= 1e-6);
      CHECK(std::abs(halves[i + n_pairs] - (head[i] * s + head[i + n_pairs] * c)) <= 1e-6);
    }
    for (const KernelTable* table : all_tables()) {
      for (const Guard guard : {Guard::kBefore, Guard::kAfter}) {
        GuardedArray<float> x(2 * n_pairs, guard), c(n_pairs, guard), s(n_pairs, guard);
        c.copy_from(cos.data());
        s.copy_from(sin.data());
        x.copy_from(head.data());
        table->rope_interleaved(x.data(), c.data(), s.data(), n_pairs);
        CHECK(same_bits(x.data(), interleaved.data(), 2 * n_pairs));
        x.copy_from(head.data());
        table->rope_halves(x.data(), c.data(), s.data(), n_pairs);
        CHECK(same_bits(x.data(), halves.data(), 2 * n_pairs));
      }
    }
  }
}

void check_quantized(const std::vector<float>& x) {
  const uint32_t k = static_cast<uint32_t>(x.size());
  for (const KernelTable* table : all_tables()) {
    for (const Guard guard : {Guard::kBefore, Guard::kAfter}) {
      GuardedArray<float> in(k, guard), d(k / 32, guard), s(k / 32, guard), s16(k / 16, guard);
      GuardedArray<int8_t> planes(2 * k, guard);
      in.copy_from(x.data());
      table->quantize_planes(in.data(), k, planes.data(), d.data(), s.data(), s16.data());
      for (uint32_t b = 0; b < k / 32; ++b) {
        uint32_t max_bits = 0;
        for (uint32_t i = b * 32; i < b * 32 + 32; ++i) {
          max_bits = std::max(max_bits, std::bit_cast<uint32_t>(x[i]) & 0x7fffffffu);
        }
        const float max = std::bit_cast<float>(max_bits);
        const bool finite = std::isfinite(max), zero = max < 1e-34f;
        int total = 0;
        for (uint32_t half = 0; half < 2; ++half) {
          int sum = 0;
          for (uint32_t i = half * 16; i < half * 16 + 16; ++i) {
            const float element = x[b * 32 + i];
            const int code = !finite || zero ? 0 : static_cast<int>(std::nearbyint(element * (32512.0f / max)));
            const int high = planes[b * 64 + i], low = planes[b * 64 + 32 + i], stored = 256 * high + low;
            CHECK(high >= -127 && low >= -127);
            CHECK(stored == code || (low == -127 && stored == code + 1));
            sum += stored;
          }
          const float half_sum = s16[b * 2 + half];
          CHECK(finite ? half_sum == static_cast<float>(sum) * d[b] : std::isnan(half_sum));
          total += sum;
        }
        CHECK(finite ? d[b] == (zero ? 0.0f : max / 32512.0f) : std::isnan(d[b]));
        CHECK(finite ? s[b] == static_cast<float>(total) * d[b] : std::isnan(s[b]));
      }
    }
  }
}

void test_quantize() {
  check_quantized(normal_values(32 * 9, 1, 2.0f));
  for (const float value : {0.0f, -0.0f, 1e-45f, 1e-38f, 0.99e-34f, 1.01e-34f, 1.0f, FLT_MAX, -FLT_MAX, kInf, kNan}) {
    std::vector<float> x(96, 0.0f);
    x[37] = value;
    check_quantized(x);
    std::fill(x.begin(), x.end(), value);
    check_quantized(x);
  }
  std::vector<float> ties(32);  // a maximum of 32512 makes the factor 1: halves must go to even codes
  for (int i = 0; i < 30; ++i) ties[static_cast<size_t>(i)] = static_cast<float>(i - 15) + 0.5f;
  ties[30] = -32512.0f;
  ties[31] = 32512.0f;
  check_quantized(ties);
  std::vector<float> borders = {127, 128, 129, 383, 384, -127, -128, -129, -384, -385, 32511, -32511, 32383, 32384};
  borders.resize(31);
  borders.push_back(32512.0f);
  check_quantized(borders);
  int8_t planes[64];
  float d = 0.0f, s = 0.0f, s16[2];
  for (const KernelTable* table : all_tables()) {
    const auto pair = [&](int i, int high, int low) {
      CHECK_EQ(int{planes[i]}, high);
      CHECK_EQ(int{planes[32 + i]}, low);
    };
    table->quantize_planes(ties.data(), 32, planes, &d, &s, s16);
    pair(15, 0, 0);   // 0.5
    pair(16, 0, 2);   // 1.5
    pair(17, 0, 2);   // 2.5
    pair(12, 0, -2);  // -2.5
    pair(30, -127, 0);
    pair(31, 127, 0);
    table->quantize_planes(borders.data(), 32, planes, &d, &s, s16);
    pair(0, 0, 127);
    pair(1, 1, -127);  // 128 = 256 - 128: low is kept off -128
    pair(2, 1, -127);
    pair(6, 0, -127);  // -128, likewise
    pair(7, -1, 127);
    pair(10, 127, -1);
    pair(11, -127, 1);
  }
}

void check_top_k(const std::vector<float>& x, uint32_t k) {
  const uint32_t n = static_cast<uint32_t>(x.size()), count = std::min(n, k);
  std::vector<int32_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  const auto value = [&](int32_t id) {
    const float v = x[static_cast<size_t>(id)];
    return std::isnan(v) ? -kInf : v;
  };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return value(a) > value(b); });
  for (const KernelTable* table : all_tables()) {
    for (const Guard guard : {Guard::kBefore, Guard::kAfter}) {
      GuardedArray<float> in(n, guard), values(count, guard);
      GuardedArray<int32_t> ids(count, guard);
      in.copy_from(x.data());
      CHECK_EQ(table->top_k(in.data(), n, k, ids.data(), values.data()), count);
      for (uint32_t i = 0; i < count; ++i) {
        CHECK_EQ(ids[i], order[i]);
        CHECK(values[i] == value(order[i]));
      }
    }
  }
}

void test_top_k() {
  for (const uint32_t n : {1u, 2u, 31u, 33u, 255u, 256u, 257u, 300u, 1000u, 49152u}) {
    for (const uint32_t k : {1u, 2u, 40u, 255u, 256u}) {
      check_top_k(normal_values(n, n + k, 3.0f), k);
      check_top_k(awkward_values(n, n + k), k);
      std::vector<float> tied = normal_values(n, n, 2.0f);
      for (float& v : tied) v = std::round(v);
      check_top_k(tied, k);
      check_top_k(std::vector<float>(n, kNan), k);
      std::sort(tied.begin(), tied.end());
      check_top_k(tied, k);
    }
  }
}

}  // namespace

int main() {
  CHECK(scalar_table() != nullptr);
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kNeon}) {
    const KernelTable* table = kernel_table(isa);
    CHECK_EQ(table != nullptr, lutra::base::isa_available(isa));
    CHECK(table == nullptr || table->isa == isa);
  }
  for (const KernelTable* table : all_tables()) std::printf("path: %s\n", lutra::base::isa_name(table->isa));
  test_bit_equality();
  test_lane_independence();
  test_activation_accuracy();
  test_exp_edges();
  test_norm_and_log_sum_exp_accuracy();
  test_rope();
  test_quantize();
  test_top_k();
  return lutra_test_summary();
}
