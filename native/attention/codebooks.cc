#include "attention/codebooks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "attention/attention.h"
#include "base/checked_size.h"
#include "kernels/kernels.h"

namespace lutra::attention {

using base::CheckedSize;
using base::Status;

namespace {

constexpr uint32_t kMagic = 0x3142434c;  // "LCB1"
constexpr uint32_t kHeaderWords = 6;     // magic, then CodebookShape
constexpr uint32_t kMaxLayers = 4096, kMaxHeads = 4096;

Status bad(const std::string& what) { return {"INVALID_OPTION", "codebooks: " + what}; }

bool is_possible(const CodebookShape& shape) {
  const bool sizes = shape.n_layers - 1 < kMaxLayers && shape.n_kv_heads - 1 < kMaxHeads &&
                     shape.head_dim - 1 < kMaxHeadDim && shape.head_dim % 8 == 0;
  const bool subs = shape.d_sub == 1 || shape.d_sub == 2 || shape.d_sub == 4;
  return sizes && subs && shape.n_subs() <= kernels::kMaxSubVectors && shape.n_outliers % 2 == 0 &&
         shape.n_outliers <= std::min(kernels::kMaxOutliers, shape.head_dim);
}

bool is_permutation(const std::vector<uint32_t>& dims) {
  std::vector<bool> seen(dims.size());
  for (const uint32_t dim : dims) {
    if (dim >= dims.size() || seen[dim]) return false;
    seen[dim] = true;
  }
  return true;
}

/// Copies arrays to and from a run of bytes.
struct Cursor {
  uint8_t* at;
  template <typename T>
  void write(const T* values, size_t count) {
    std::memcpy(at, values, count * sizeof(T));
    at += count * sizeof(T);
  }
};

template <typename T>
const uint8_t* read(const uint8_t* at, T* values, size_t count) {
  std::memcpy(values, at, count * sizeof(T));
  return at + count * sizeof(T);
}

}  // namespace

Codebooks::Codebooks(const CodebookShape& shape, std::vector<uint32_t> dims, std::vector<uint8_t> coded)
    : shape_(shape), dims_(std::move(dims)), coded_(std::move(coded)) {
  uint32_t n_coded = 0;
  for (const uint8_t layer : coded_) places_.push_back(layer != 0 ? n_coded++ : 0);
  const uint64_t heads = uint64_t{n_coded} * shape.n_kv_heads;
  floats_.resize(heads * floats_per_head());
  outlier_dims_.resize(heads * shape.n_outliers);
  ranges_.resize(heads * 2 * shape.head_dim);
}

HeadCodebook Codebooks::head(uint32_t layer, uint32_t head) {
  const uint64_t at = place(layer, head);
  float* floats = floats_.data() + at * floats_per_head();
  return {floats, outlier_dims_.data() + at * shape_.n_outliers, floats + 16ull * shape_.head_dim};
}

void Codebooks::update_ranges() {
  const uint64_t n_heads = ranges_.size() / (2 * shape_.head_dim);
  for (uint64_t at = 0; at < n_heads; ++at) {
    const float* centroids = floats_.data() + at * floats_per_head();
    float* middles = ranges_.data() + at * 2 * shape_.head_dim;
    float* reaches = middles + shape_.head_dim;
    const auto set = [&](uint32_t dim, float least, float most) {
      const float reach = 0.5f * (most - least);
      middles[dim] = reach > 0 ? least + reach : 0.0f;
      reaches[dim] = reach > 0 ? reach : 1.0f;
    };
    for (uint32_t place = 0; place < shape_.head_dim; ++place) {
      const auto [least, most] = std::minmax_element(centroids + 16ull * place, centroids + 16ull * (place + 1));
      set(dims_[place], *least, *most);
    }
    for (uint32_t o = 0; o < shape_.n_outliers; ++o) {
      const float reach = 127.0f * std::fabs(centroids[16ull * shape_.head_dim + o]);
      set(outlier_dims_[at * shape_.n_outliers + o], -reach, reach);
    }
  }
}

std::vector<uint8_t> Codebooks::bytes() const {
  const uint32_t header[kHeaderWords] = {kMagic,          shape_.n_layers, shape_.n_kv_heads,
                                         shape_.head_dim, shape_.d_sub,    shape_.n_outliers};
  std::vector<uint8_t> bytes(sizeof header + 4 * (dims_.size() + floats_.size() + outlier_dims_.size()) +
                             coded_.size());
  Cursor cursor{bytes.data()};
  cursor.write(header, kHeaderWords);
  cursor.write(dims_.data(), dims_.size());
  cursor.write(outlier_dims_.data(), outlier_dims_.size());
  cursor.write(floats_.data(), floats_.size());
  cursor.write(coded_.data(), coded_.size());
  return bytes;
}

base::Result<Codebooks> Codebooks::parse(std::span<const uint8_t> bytes) {
  uint32_t header[kHeaderWords];
  if (bytes.size() < sizeof header) return bad("too short");
  const uint8_t* at = read(bytes.data(), header, kHeaderWords);
  const CodebookShape shape{header[1], header[2], header[3], header[4], header[5]};
  if (header[0] != kMagic || !is_possible(shape)) return bad("not written by this version");
  if (bytes.size() < sizeof header + 4ull * shape.head_dim + shape.n_layers) return bad("too short");
  std::vector<uint32_t> dims(shape.head_dim);
  at = read(at, dims.data(), dims.size());
  std::vector<uint8_t> coded(bytes.end() - shape.n_layers, bytes.end());
  if (!is_permutation(dims)) return bad("its dimensions are not a permutation");
  uint64_t n_coded = 0;
  for (uint8_t& layer : coded) n_coded += layer = layer != 0;
  const uint64_t head_bytes = 4 * (16ull * shape.head_dim + 2ull * shape.n_outliers);
  const CheckedSize expected =
      CheckedSize(n_coded) * shape.n_kv_heads * head_bytes + sizeof header + 4ull * shape.head_dim + shape.n_layers;
  if (!expected.valid() || expected.value() != bytes.size()) return bad("its length does not fit its header");
  Codebooks made(shape, std::move(dims), std::move(coded));
  at = read(at, made.outlier_dims_.data(), made.outlier_dims_.size());
  read(at, made.floats_.data(), made.floats_.size());
  const auto inside = [&](uint32_t dim) { return dim < shape.head_dim; };
  const auto finite = [](float value) { return std::isfinite(value); };
  if (!std::all_of(made.outlier_dims_.begin(), made.outlier_dims_.end(), inside))
    return bad("an outlier is no dimension");
  if (!std::all_of(made.floats_.begin(), made.floats_.end(), finite)) return bad("a number is not finite");
  made.update_ranges();
  if (!std::all_of(made.ranges_.begin(), made.ranges_.end(), finite)) return bad("a range is not finite");
  return made;
}

}  // namespace lutra::attention
