// What ranks the channels of a token where it is not their activations: the bits of floats without a sign, as
// kernels::ChannelKernels::score gives for |x| (TEAL, Liu et al. 2024; DIP, Federici et al. 2024) and |x| · column norm
// (WINA, Chen et al. 2025, eq. 6).
#pragma once

#include <cstdint>

namespace lutra::ffn {

/// The same for every call with this seed and nothing else: a control.
void score_random(uint64_t seed, uint32_t n, uint32_t* scores);

}  // namespace lutra::ffn
