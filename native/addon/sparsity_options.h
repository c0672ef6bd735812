// The option `sparsity` of an engine, as JavaScript passes it.
#pragma once

#include <optional>

#include "addon/arguments.h"
#include "forward/engine.h"

namespace lutra::addon {

/// None unless the caller names it. Throws WrongType.
std::optional<forward::SparsityOptions> sparsity_property(const Napi::Object& options);

}  // namespace lutra::addon
