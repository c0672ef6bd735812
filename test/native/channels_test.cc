// Choosing and listing channels: every path against plain references (a stable sort, a code at a time), bit for bit.
// Every array ends or starts at an inaccessible page.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "ffn/select.h"
#include "kernels/kernels.h"
#include "matmul_fixture.h"

namespace {

using namespace lutra;
using kernels::KernelTable;
using matmul_fixture::Guarded;
using matmul_fixture::Touch;

using Words = std::vector<uint32_t>;
using Floats = std::vector<float>;

std::vector<const KernelTable*> tables;
std::mt19937 random_bits(3);

constexpr uint32_t kWidths[] = {32, 64, 96, 160, 576, 1536, 2080};
constexpr float kNan = std::numeric_limits<float>::quiet_NaN(), kInf = std::numeric_limits<float>::infinity();

uint32_t below(uint32_t n) { return static_cast<uint32_t>(random_bits() % n); }

void report(const char* what, const KernelTable* table, uint32_t n, uint64_t detail, bool ok) {
  if (!ok) {
    std::fprintf(stderr, "%s: %s width %u, %llu\n", what, base::isa_name(table->isa), n,
                 static_cast<unsigned long long>(detail));
  }
  CHECK(ok);
}

template <typename T>
std::vector<T> copy_of(const Guarded& array, size_t n) {
  return {array.as<T>(), array.as<T>() + n};
}

template <typename T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

/// Activations of many kinds: spread, equal in part or all, near each other, tiny, not finite.
std::vector<Floats> inputs(uint32_t n) {
  std::vector<Floats> all;
  const auto add = [&](auto&& value) {
    all.emplace_back();
    for (uint32_t i = 0; i < n; ++i) all.back().push_back(static_cast<float>(value(i)));
  };
  std::normal_distribution<float> normal;
  add([&](uint32_t) { return normal(random_bits); });
  add([&](uint32_t) { return std::exp(4 * normal(random_bits)); });
  add([&](uint32_t) { return static_cast<int>(below(7)) - 3; });
  add([&](uint32_t) { return below(10) == 0 ? normal(random_bits) : 0.0f; });
  add([&](uint32_t) { return 0.0; });
  add([&](uint32_t) { return -2.5; });
  add([&](uint32_t i) { return i % 3 == 0 ? -0.0 : 0.0; });
  add([&](uint32_t i) { return static_cast<float>(i); });
  add([&](uint32_t i) { return static_cast<float>(n - i); });
  add([&](uint32_t) { return std::bit_cast<float>(0x3F800000u + below(1 << 16)); });
  add([&](uint32_t) { return std::bit_cast<float>(0x3F80FFF0u + below(32)); });
  add([&](uint32_t) { return std::bit_cast<float>(below(1 << 17)); });
  add([&](uint32_t) {
    constexpr float kSpecial[] = {kNan, -kNan, kInf, -kInf, 0, -0.0f, 1, 3e38f};
    return kSpecial[below(8)];
  });
  add([&](uint32_t) { return std::bit_cast<float>(static_cast<uint32_t>(random_bits())); });
  add([&](uint32_t) { return std::bit_cast<float>(0x7FFFFFFFu - below(3)); });
  return all;
}

Words scores_of(const Floats& x) {
  Words scores;
  for (const float value : x) scores.push_back(std::bit_cast<uint32_t>(value) & 0x7FFFFFFFu);
  return scores;
}

/// The k best by a stable sort.
Words best(const Words& scores, uint32_t k) {
  Words order(scores.size()), mask(scores.size() / 32);
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) { return scores[a] > scores[b]; });
  for (uint32_t i = 0; i < k; ++i) mask[order[i] / 32] |= 1u << order[i] % 32;
  return mask;
}

uint32_t count(const Words& mask) {
  uint32_t n = 0;
  for (const uint32_t word : mask) n += static_cast<uint32_t>(std::popcount(word));
  return n;
}

void scores() {
  for (const uint32_t n : kWidths) {
    const std::vector<Floats> all = inputs(n);
    const Floats& norms = all[1];
    for (size_t kind = 0; kind < all.size(); ++kind) {
      Words weighted;
      for (uint32_t i = 0; i < n; ++i) {
        weighted.push_back(std::bit_cast<uint32_t>(all[kind][i] * norms[i]) & 0x7FFFFFFFu);
      }
      for (const KernelTable* table : tables) {
        const Touch touch = kind % 2 == 0 ? Touch::kEnd : Touch::kStart;
        const Guarded x(all[kind], touch), w(norms, touch), out(Words(n), touch);
        table->channels.score(x.as<float>(), nullptr, n, out.as<uint32_t>());
        report("magnitudes", table, n, kind, copy_of<uint32_t>(out, n) == scores_of(all[kind]));
        table->channels.score(x.as<float>(), w.as<float>(), n, out.as<uint32_t>());
        report("weighted", table, n, kind, copy_of<uint32_t>(out, n) == weighted);
      }
    }
  }
}

void top() {
  for (const uint32_t n : kWidths) {
    for (const Floats& x : inputs(n)) {
      const Words s = scores_of(x);
      for (const uint32_t k : {1u, 2u, n / 4, n / 2, n - 1, n, 1 + below(n), 1 + below(n)}) {
        const Words expected = best(s, k);
        for (const KernelTable* table : tables) {
          const Touch touch = k % 2 == 0 ? Touch::kEnd : Touch::kStart;
          const Guarded in(s, touch), scratch(Words(n, ~0u), touch), mask(Words(n / 32, 0xAAAAAAAAu), touch);
          table->channels.top({n, k, in.as<uint32_t>(), scratch.as<uint32_t>(), mask.as<uint32_t>()});
          report("top", table, n, k, copy_of<uint32_t>(mask, n / 32) == expected);
        }
      }
    }
  }
}

void from() {
  for (const uint32_t n : kWidths) {
    for (const Floats& x : inputs(n)) {
      const Words s = scores_of(x);
      for (const uint32_t least : {0u, 1u, s[below(n)], s[below(n)] + 1, 0x7F800000u, 0x7FFFFFFFu}) {
        if (least > 0x7FFFFFFFu) continue;
        Words expected(n / 32);
        for (uint32_t i = 0; i < n; ++i) expected[i / 32] |= (s[i] >= least ? 1u : 0u) << i % 32;
        for (const KernelTable* table : tables) {
          const Guarded in(s, Touch::kEnd), mask(Words(n / 32), Touch::kEnd);
          const uint32_t found = table->channels.from(in.as<uint32_t>(), n, least, mask.as<uint32_t>());
          report("from", table, n, least, found == count(expected) && copy_of<uint32_t>(mask, n / 32) == expected);
        }
      }
    }
  }
}

/// The share, rounded, of n channels; at least one.
uint32_t share(uint32_t n, float keep) { return std::max(1u, static_cast<uint32_t>(std::lround(keep * n))); }

void selections() {
  using ffn::Selection;
  for (const uint32_t n : {32u, 576u, 1536u}) {
    for (const Floats& x : inputs(n)) {
      const Words s = scores_of(x);
      for (const float keep : {0.001f, 0.3f, 0.5f, 0.9f, 1.0f}) {
        for (const float threshold : {0.0f, -0.0f, 0.1f, 1.0f, 1e9f}) {
          const uint32_t reach = static_cast<uint32_t>(std::count_if(
              s.begin(), s.end(), [&](uint32_t v) { return v >= std::bit_cast<uint32_t>(std::fabs(threshold)); }));
          const uint32_t low = share(n, 0.7f * keep), high = std::min(n, share(n, 1.3f * keep));
          const uint32_t kept[] = {share(n, keep), std::max(1u, reach), std::clamp(reach, low, high)};
          for (uint32_t i = 0; i < 3; ++i) {
            for (const KernelTable* table : tables) {
              Words mask(n / 32), scratch(n);
              const uint32_t found = ffn::select_channels(
                  table->channels, s, {static_cast<Selection>(i), keep, threshold}, mask.data(), scratch.data());
              report("selection", table, n, i, found == kept[i] && mask == best(s, kept[i]));
            }
          }
        }
      }
    }
  }
}

/// Planes, scales and masks of n rows; in every eleventh word all are kept, in every fifth none.
struct Rows {
  uint32_t k, n;
  std::vector<int8_t> planes;
  Floats d, floats;
  Words masks;

  Rows(uint32_t width, uint32_t rows, uint32_t kind) : k(width), n(rows) {
    constexpr int8_t kExtremes[] = {127, -127};
    std::uniform_int_distribution<int> code(-127, 127);
    for (size_t i = 0; i < size_t{2} * n * k; ++i) {
      planes.push_back(static_cast<int8_t>(kind == 2 ? kExtremes[below(2)] : kind == 3 ? 127 : code(random_bits)));
    }
    for (size_t i = 0; i < size_t{n} * k; ++i) floats.push_back(below(50) == 0 ? kNan : static_cast<float>(below(99)));
    std::normal_distribution<float> normal;
    for (size_t w = 0; w < size_t{n} * k / 32; ++w) {
      d.push_back(below(20) == 0 ? (kind == 1 ? kInf : kNan) : normal(random_bits));
      const auto word = static_cast<uint32_t>(random_bits());
      masks.push_back(kind == 3 || below(11) == 0 ? 0xFFFFFFFFu
                      : below(5) == 0             ? 0
                      : kind == 1                 ? word & random_bits() & random_bits()
                                                  : word);
    }
  }
};

void keep_row(const Rows& rows, bool with_floats, Touch touch) {
  const uint32_t k = rows.k, words = k / 32;
  std::vector<int8_t> planes = rows.planes;
  Floats s(words), s16(2 * words), floats = rows.floats;
  std::vector<int32_t> sums(words);
  for (uint32_t i = 0; i < k; ++i) {
    int8_t *const high = &planes[64 * (i / 32) + i % 32], *const low = high + 32;
    if ((rows.masks[i / 32] >> i % 32 & 1) == 0) {
      *high = *low = 0;
      if (with_floats) floats[i] = 0;
    }
    sums[i / 32] += 256 * *high + *low;
    s16[i / 16] += static_cast<float>(256 * *high + *low);  // exact
  }
  for (uint32_t w = 0; w < words; ++w) {
    s[w] = static_cast<float>(sums[w]) * rows.d[w];
    for (uint32_t h = 0; h < 2; ++h) s16[2 * w + h] *= rows.d[w];
  }
  for (const KernelTable* table : tables) {
    const Guarded mask(rows.masks, touch), d(rows.d, touch), codes(rows.planes, touch), values(rows.floats, touch);
    const Guarded out_s(s, touch), out_s16(s16, touch), out_sums(sums, touch);
    for (const Guarded* out : {&out_s, &out_s16, &out_sums}) std::memset(out->as<uint8_t>(), 0x55, words * 4);
    table->channels.keep({k, mask.as<uint32_t>(), d.as<float>(), codes.as<int8_t>(), out_s.as<float>(),
                          out_s16.as<float>(), out_sums.as<int32_t>(), with_floats ? values.as<float>() : nullptr});
    report("kept codes", table, k, 0, same(copy_of<int8_t>(codes, 2 * k), planes));
    report("kept floats", table, k, with_floats, same(copy_of<float>(values, k), floats));
    report("kept sums", table, k, 0, same(copy_of<int32_t>(out_sums, words), sums));
    const auto same_or_nan = [](float a, float b) {
      return std::isnan(a) ? std::isnan(b) : std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
    };
    report("s", table, k, 0, std::equal(s.begin(), s.end(), out_s.as<float>(), same_or_nan));
    report("s16", table, k, 0, std::equal(s16.begin(), s16.end(), out_s16.as<float>(), same_or_nan));
  }
}

void unite(const Rows& rows, Touch touch) {
  const uint32_t words = rows.k / 32;
  Words expected(words);
  for (size_t i = 0; i < rows.masks.size(); ++i) {
    expected[i % words] |= rows.masks[i] | (std::isfinite(rows.d[i]) ? 0u : 1u);
  }
  for (const KernelTable* table : tables) {
    const Guarded masks(rows.masks, touch), d(rows.d, touch), out(Words(words), touch);
    const uint32_t found =
        table->channels.unite({rows.k, rows.n, masks.as<uint32_t>(), d.as<float>(), out.as<uint32_t>()});
    report("union", table, rows.k, rows.n, found == count(expected) && copy_of<uint32_t>(out, words) == expected);
  }
}

/// Lists the channels of the first row's mask.
void list(const Rows& rows, uint32_t granule, Touch touch) {
  const Words mask(rows.masks.begin(), rows.masks.begin() + rows.k / 32);
  std::vector<uint8_t> channels;
  std::vector<std::vector<int8_t>> quads(rows.n);
  Words ends;
  for (uint32_t g = 0; g < rows.k / granule; ++g) {
    std::vector<uint32_t> kept;
    for (uint32_t i = g * granule; i < (g + 1) * granule; ++i) {
      if ((mask[i / 32] >> i % 32 & 1) != 0) kept.push_back(i);
    }
    const size_t real = kept.size();
    while (kept.size() % 4 != 0) kept.push_back(kept[real - 1]);
    for (size_t i = 0; i < kept.size(); ++i) channels.push_back(static_cast<uint8_t>(kept[i] % 32));
    for (uint32_t t = 0; t < rows.n; ++t) {
      for (size_t i = 0; i < 2 * kept.size(); ++i) {
        const size_t at = i / 8 * 4 + i % 4, plane = i / 4 % 2;
        const size_t from = size_t{2} * t * rows.k + kept[at] / 32 * 64 + 32 * plane + kept[at] % 32;
        quads[t].push_back(at < real ? rows.planes[from] : int8_t{0});
      }
    }
    ends.push_back(static_cast<uint32_t>(channels.size() / 4));
  }
  for (const KernelTable* table : tables) {
    const uint64_t stride = 2 * rows.k;
    const Guarded in(mask, touch), planes(rows.planes, touch), out_ends(ends, touch);
    const Guarded out(std::vector<uint8_t>(rows.k + 4, 99), touch);
    const Guarded out_quads(std::vector<int8_t>(rows.n * stride, 99), touch);
    std::memset(out_ends.as<uint8_t>(), 0x55, 4 * ends.size());
    table->channels.list({rows.k, granule, rows.n, in.as<uint32_t>(), planes.as<int8_t>(), out_ends.as<uint32_t>(),
                          out.as<uint8_t>(), out_quads.as<int8_t>(), stride});
    report("ends", table, rows.k, granule, copy_of<uint32_t>(out_ends, ends.size()) == ends);
    report("channels", table, rows.k, granule, copy_of<uint8_t>(out, channels.size()) == channels);
    for (uint32_t t = 0; t < rows.n; ++t) {
      const int8_t* const found = out_quads.as<int8_t>() + t * stride;
      const bool ok = std::equal(quads[t].begin(), quads[t].end(), found);
      report("quads", table, rows.k, granule, ok);
    }
  }
}

void rows() {
  for (const uint32_t k : kWidths) {
    for (uint32_t kind = 0; kind < 4; ++kind) {
      for (uint32_t n = 1; n <= kernels::kColumnTokens; ++n) {
        const Touch touch = (kind + n) % 2 == 0 ? Touch::kEnd : Touch::kStart;
        const Rows some(k, n, kind);
        unite(some, touch);
        list(some, 32, touch);
        list(some, 16, touch);
      }
      const Rows one(k, 1, kind);
      for (const Touch touch : {Touch::kStart, Touch::kEnd}) {
        keep_row(one, false, touch);
        keep_row(one, true, touch);
        list(one, 32, touch);
        list(one, 16, touch);
      }
    }
  }
}

}  // namespace

int main() {
  for (const base::Isa isa : {base::Isa::kScalar, base::Isa::kAvx2, base::Isa::kAvx512, base::Isa::kNeon}) {
    if (const KernelTable* table = kernels::kernel_table(isa)) tables.push_back(table);
  }
  for (const KernelTable* table : tables) std::printf("path: %s\n", base::isa_name(table->isa));
  scores();
  top();
  from();
  selections();
  rows();
  return lutra_test_summary();
}
