// Which form of a product is faster on this machine: multiply-adds with panels, or exact tables with tiles of bit
// planes. Both give the same bits, so a layout may be chosen by time alone.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/cpu.h"
#include "base/status.h"
#include "base/tensor_type.h"

namespace lutra::forward {

/// Seconds of one product, the activations' quantising and tables included.
struct FormTimes {
  double dot;
  double lut;
};

struct ProbedProduct {
  base::TensorType type;
  uint32_t rows, k;
  base::Isa isa;
  int threads;
};

/// Times the product with each number of activation rows, both forms by turns: the least of some rounds, for weights
/// that come from memory. Takes some 20 ms for that memory and at most about 150 ms for each number of rows. Empty for
/// a type without tiles, for rows of tens of megabytes, and where there is no memory for the probe's weights. Codes:
/// INVALID_OPTION (no whole blocks a row, more rows than tables are for, an isa this machine has not).
base::Result<std::vector<FormTimes>> probe_forms(const ProbedProduct& probed, std::span<const uint32_t> columns);

}  // namespace lutra::forward
