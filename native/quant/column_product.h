// The products of a step with column strips, as parallel passes.
#pragma once

#include <span>
#include <type_traits>

#include "base/thread_team.h"
#include "kernels/kernels.h"
#include "quant/channel_list.h"
#include "quant/matrix.h"

namespace lutra::quant {

/// multiply_tiles (matrix.h) over the channels of a list only. Both matrices have columns and the same rows; biases
/// are added. Tiles are whole strips of 64 rows, but for a ragged last one.
void multiply_column_tiles(base::ThreadTeam& team, const kernels::KernelTable& kernels, ChannelList& channels,
                           const Matrix& first, const Matrix* second, FinishTile finish, void* context);

template <typename F>
void multiply_column_tiles(base::ThreadTeam& team, const kernels::KernelTable& kernels, ChannelList& channels,
                           const Matrix& first, const Matrix* second, F&& finish) {
  using Callable = std::remove_reference_t<F>;
  FinishTile call = [](void* context, const ResultTile& tile) { (*static_cast<Callable*>(context))(tile); };
  multiply_column_tiles(team, kernels, channels, first, second, call,
                        const_cast<void*>(static_cast<const void*>(&finish)));
}

/// multiply (matrix.h) over the channels of a list only.
void multiply_columns(base::ThreadTeam& team, const kernels::KernelTable& kernels, ChannelList& channels,
                      std::span<const Product> products);

}  // namespace lutra::quant
