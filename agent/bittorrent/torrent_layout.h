// Where the bytes of a torrent lie: which blob, and where in it. Every file of a v2 torrent begins
// at a piece boundary (BEP 52); what lies between the end of a file and the next boundary is in no
// blob and reads as zeros.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/base/result.h"
#include "core/base/units.h"
#include "core/content/digest.h"

namespace shoal::agent::bittorrent {

// Thread: an immutable value.
class TorrentLayout {
 public:
  struct File {
    std::uint64_t begin = 0;  // in the torrent, a multiple of the piece length
    std::uint64_t size = 0;   // > 0
    content::Digest blob;
  };
  // A part of a range that lies in one blob, or in none.
  struct Part {
    const content::Digest* blob = nullptr;  // null: padding
    ByteRange in_blob;                      // its length also for padding
    std::size_t at = 0;                     // where it begins in the range asked for
  };

  TorrentLayout() = default;
  // `files` in the order of the torrent, without empty ones. Errors: invalid (they overlap, do not
  // begin at piece boundaries, or do not end within `size`).
  static Result<TorrentLayout> make(std::uint64_t piece_length, std::uint64_t size,
                                    std::vector<File> files);

  std::uint64_t piece_length() const { return piece_length_; }
  const std::vector<File>& files() const { return files_; }

  // The parts of [offset, offset + length) in order. Errors: invalid (not within the torrent).
  Result<std::vector<Part>> parts(std::uint64_t piece, std::uint64_t start,
                                  std::uint64_t length) const;
  // The bytes of the one file in the piece, without padding: what its hash covers. Errors: invalid
  // (there is no such piece).
  Result<Part> of_piece(std::uint64_t piece) const;

 private:
  std::uint64_t piece_length_ = 0;
  std::uint64_t size_ = 0;  // with padding
  std::vector<File> files_;
};

}  // namespace shoal::agent::bittorrent
