// What ranks the channels of a token: one function a predictor, all giving the bits of floats without a sign.
#pragma once

#include <cstdint>

namespace lutra::ffn {

/// |x|: TEAL (Liu et al. 2024), DIP (Federici et al. 2024).
void score_magnitude(const float* x, uint32_t n, uint32_t* scores);

/// |x| · norm, norms [n] of the weights' columns: WINA (Chen et al. 2025), eq. 6.
void score_weighted(const float* x, const float* norms, uint32_t n, uint32_t* scores);

/// The same for every call with this seed and nothing else: a control.
void score_random(uint64_t seed, uint32_t n, uint32_t* scores);

}  // namespace lutra::ffn
