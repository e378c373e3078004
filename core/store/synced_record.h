// The `synced` record: which pieces of a blob survive a power cut. Its bytes are described in
// docs/formats/store.md. Pure.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/content/piece_set.h"

namespace shoal::store {

inline constexpr std::size_t kSyncedHeaderSize = 56;
inline constexpr std::size_t kMaxSyncedSize =
    kSyncedHeaderSize + content::kMaxPieces / 8 + sizeof(content::Hash32);

std::vector<std::byte> encode_synced(const content::Digest& digest,
                                     const content::BlobLayout& layout,
                                     const content::PieceSet& pieces);

// Errors: corrupt when it is not, to the last byte, a record of this blob.
Result<content::PieceSet> decode_synced(const content::Digest& digest,
                                        const content::BlobLayout& layout,
                                        std::span<const std::byte> bytes);

}  // namespace shoal::store
