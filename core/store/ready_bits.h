// Reading the bits of a mapped ready map; shared by its two sides.
#pragma once

#include <cstdint>

#include "core/content/layout.h"
#include "core/content/piece_set.h"

namespace shoal::store {

// Whether all bits of `pieces` are set, with acquire order.
bool ready_bits_set(const std::uint64_t* words, content::PieceRange pieces);

content::PieceSet ready_bits_snapshot(const std::uint64_t* words, std::uint32_t piece_count);

}  // namespace shoal::store
