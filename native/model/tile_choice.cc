// Which weights become tiles, by the names of their kinds.
#include "model/model.h"
#include "quant/lut_tile.h"

namespace lutra::model {

bool TileChoice::takes(base::TensorType type, uint64_t rows, uint64_t k) const {
  if (kinds.empty() || !quant::has_lut_tiles(type)) return false;
  const std::string name = base::tensor_type_traits(type).name;
  return kinds.contains("all") || kinds.contains(name + " " + std::to_string(rows) + "x" + std::to_string(k));
}

}  // namespace lutra::model
