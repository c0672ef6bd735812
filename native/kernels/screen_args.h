// What the screen of a split matrix takes and gives (KernelTable::screen).
#pragma once

#include <cstdint>

#include "kernels/kernels.h"

namespace lutra::kernels {

/// Activation rows of one call, at most.
constexpr uint32_t kScreenRows = 8;
/// From so many on their low planes are left out: few rows wait for memory anyway, more would wait for arithmetic.
constexpr uint32_t kScreenOnePlane = 3;

/// First look at a split Q8_0 matrix (panel_layout.h): what the high parts alone say of a panel's logits, and how far
/// they can reach. With d_b a weight row's scale, n_b its panel's radius and H_b = Σ high · c of block b, c an
/// activation row's codes or just their high planes: score = 16 · Σ_b d_b · (scale_b · H_b + centre_b); best is the
/// largest score of the panel, and reach the largest score + Σ_b |d_b| · (box_b + n_b · ball_b). Rows that a ragged
/// panel lacks have scales, and so scores, of zero, and take part.
struct ScreenArgs {
  const uint8_t* panels;  ///< high parts, behind their radii
  const uint8_t* radii;   ///< before them, also panel_bytes apart
  uint64_t panel_bytes;
  uint32_t n_blocks;
  uint32_t panel_begin;
  uint32_t panel_end;
  uint32_t n;                    ///< activation rows, 1..kScreenRows
  PlaneActivations activations;  ///< [n], their planes alone
  const float* scale;            ///< [n_blocks][kScreenRows], as the next three
  const float* centre;
  const float* box;
  const float* ball;
  float* best;      ///< [n][stride], of panel p at p
  float* reach;     ///< [n][stride]
  uint64_t stride;  ///< floats
};

}  // namespace lutra::kernels
