// Weights and activations of the benches of matrix products, multiplied as the engine does it.
#pragma once

#include <cstring>
#include <random>

#include "flags.h"
#include "machine.h"
#include "quant/lut_tile.h"
#include "quant/matrix.h"
#include "quant/quant.h"
#include "report.h"

namespace lutra::bench {

using base::TensorType;

struct Shape {
  uint32_t rows;
  uint32_t k;
};

/// How weights lie and are multiplied.
enum class Form { kDot, kExactLut, kInt8Lut };

constexpr uint64_t kWarmPassBytes = 4 << 20;

inline Shape parse_shape(const std::string& text) {
  const auto parts = split(text, 'x');
  const Shape shape = {static_cast<uint32_t>(std::atol(parts.front().c_str())),
                       static_cast<uint32_t>(std::atol(parts.back().c_str()))};
  if (parts.size() != 2 || shape.rows == 0 || shape.k == 0) {
    std::fprintf(stderr, "expected ROWSxK, got %s\n", text.c_str());
    std::exit(2);
  }
  return shape;
}

inline std::vector<TensorType> parse_types(const Flags& flags) {
  std::vector<TensorType> types;
  for (const std::string& name : flags.list("types")) {
    const size_t before = types.size();
    for (uint32_t id = 0; id < base::kTensorTypeLimit; ++id) {
      const base::TensorTypeTraits& traits = base::tensor_type_traits(id);
      if (traits.supported && (name == "all" || name == traits.name)) types.push_back(static_cast<TensorType>(id));
    }
    if (types.size() == before) {
      std::fprintf(stderr, "unknown type %s\n", name.c_str());
      std::exit(2);
    }
  }
  return types;
}

/// Copies of one matrix of repeated random panels: speed does not depend on the codes, packing many would take longer
/// than the bench.
class Weights {
 public:
  Weights(TensorType type, Shape shape, uint64_t wanted_bytes, Form form = Form::kDot) {
    matrix_.type = type;
    matrix_.tiled = form != Form::kDot;
    matrix_.rows = shape.rows;
    matrix_.k = shape.k;
    matrix_.panel_bytes = quant::panel_bytes(type, shape.k);
    matrix_.group_bytes = quant::kGroupPanels * matrix_.panel_bytes;
    matrix_bytes_ = matrix_.bytes();
    copies_ = static_cast<uint32_t>((wanted_bytes + matrix_bytes_ - 1) / matrix_bytes_);
    bytes_ = base::AlignedBuffer(copies_ * matrix_bytes_);
    bytes_.prefer_huge_pages();  // as a model's arena
    fill();
  }

  quant::Matrix copy(uint32_t index) const {
    quant::Matrix matrix = matrix_;
    matrix.panels = bytes_.data() + index * matrix_bytes_;
    return matrix;
  }
  /// Row `row` as the format defines it.
  std::vector<float> row(uint32_t row) const {
    std::vector<float> values(matrix_.k);
    const uint64_t bytes = quant::row_bytes(matrix_.type, matrix_.k);
    quant::dequantize_row(matrix_.type, rows_.data() + row % (rows_.size() / bytes) * bytes, matrix_.k, values.data());
    return values;
  }
  uint32_t copies() const { return copies_; }
  uint64_t matrix_bytes() const { return matrix_bytes_; }

 private:
  // The rows of one tile, repeated.
  void fill() {
    const TensorType type = matrix_.type;
    std::mt19937 random(1);
    const uint64_t row_bytes = quant::row_bytes(type, matrix_.k);
    rows_.resize(quant::kGroupRows * row_bytes);
    for (uint8_t& byte : rows_) byte = static_cast<uint8_t>(random() & 0x3B);  // keeps every float of a type finite
    if (type == TensorType::MXFP4) {  // nor have its powers of two subnormal products
      for (size_t at = 0; at < rows_.size(); at += 17) rows_[at] |= 0x40;
    }
    std::vector<uint8_t> group(quant::kGroupPanels * matrix_.panel_bytes);
    if (matrix_.tiled) {
      quant::pack_lut_tile(type, rows_.data(), quant::kGroupRows, matrix_.k, group.data());
    } else {
      for (uint32_t panel = 0; panel < quant::kGroupPanels; ++panel) {
        quant::pack_panel(type, rows_.data() + panel * kernels::kPanelRows * row_bytes, kernels::kPanelRows, matrix_.k,
                          group.data() + panel * matrix_.panel_bytes);
      }
    }
    for (uint64_t at = 0; at < bytes_.size_bytes(); at += group.size()) {
      std::memcpy(bytes_.data() + at, group.data(), std::min<uint64_t>(group.size(), bytes_.size_bytes() - at));
    }
  }

  quant::Matrix matrix_;
  std::vector<uint8_t> rows_;
  uint64_t matrix_bytes_;
  uint32_t copies_;
  base::AlignedBuffer bytes_;
};

/// One column count on one set of weights.
class Product {
 public:
  /// `room`: for products with bit planes.
  Product(const kernels::KernelTable& table, Shape shape, uint32_t n, const quant::LutRoom& room = {})
      : table_(table),
        arena_(quant::Activations::bytes_needed(n, shape.k, room)),
        x_(arena_.data(), n, shape.k, room),
        out_(size_t{n} * shape.rows),
        stride_(shape.rows) {
    std::mt19937 random(2);
    std::uniform_real_distribution<float> uniform(-1.0f, 1.0f);
    x_.begin(n, shape.k, room.sets);
    for (uint32_t t = 0; t < n; ++t) {
      for (uint32_t k = 0; k < shape.k; ++k) x_.row(t)[k] = uniform(random);
      if (x_.can_quantize()) x_.quantize(table, t, 0, shape.k, x_.row(t));
    }
    x_.mark_quantized();
  }

  const quant::Activations& x() const { return x_; }
  const std::vector<float>& out() const { return out_; }
  void run(base::ThreadTeam& team, const quant::Matrix& weights) {
    const quant::Product product = {&weights, out_.data(), stride_};
    quant::multiply(team, table_, x_, {&product, 1});
  }

 private:
  const kernels::KernelTable& table_;
  base::AlignedBuffer arena_;
  quant::Activations x_;
  std::vector<float> out_;
  uint64_t stride_;
};

}  // namespace lutra::bench
