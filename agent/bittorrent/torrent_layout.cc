#include "agent/bittorrent/torrent_layout.h"

#include <algorithm>
#include <string>
#include <utility>

namespace shoal::agent::bittorrent {

Result<TorrentLayout> TorrentLayout::make(std::uint64_t piece_length, std::uint64_t size,
                                          std::vector<File> files) {
  std::uint64_t end = 0;
  for (const File& file : files) {
    if (piece_length == 0 || file.size == 0 || file.begin < end || file.begin % piece_length != 0 ||
        file.begin > size || file.size > size - file.begin) {
      return fail(Errc::kInvalid,
                  "a file that cannot be in a torrent, at byte " + std::to_string(file.begin));
    }
    end = file.begin + file.size;
  }
  TorrentLayout layout;
  layout.piece_length_ = piece_length;
  layout.size_ = size;
  layout.files_ = std::move(files);
  return layout;
}

Result<std::vector<TorrentLayout::Part>> TorrentLayout::parts(std::uint64_t piece,
                                                              std::uint64_t start,
                                                              std::uint64_t length) const {
  // Piece numbers are 31 bits and pieces are shorter than 2^30 bytes: no overflow.
  std::uint64_t at = piece * piece_length_ + start;
  if (start > piece_length_ || at > size_ || length > size_ - at) {
    return fail(Errc::kInvalid, "bytes outside the torrent");
  }
  auto next = std::upper_bound(
      files_.begin(), files_.end(), at,
      [](std::uint64_t byte, const File& file) { return byte < file.begin + file.size; });
  std::vector<Part> out;
  for (std::uint64_t done = 0; done < length;) {
    Part part;
    part.at = done;
    const std::uint64_t left = length - done;
    if (next == files_.end() || at < next->begin) {
      part.in_blob.length = next == files_.end() ? left : std::min(left, next->begin - at);
    } else {
      part.blob = &next->blob;
      part.in_blob.offset = at - next->begin;
      part.in_blob.length = std::min(left, next->size - part.in_blob.offset);
      ++next;
    }
    done += part.in_blob.length;
    at += part.in_blob.length;
    out.push_back(part);
  }
  return out;
}

Result<TorrentLayout::Part> TorrentLayout::of_piece(std::uint64_t piece) const {
  if (piece_length_ > 0 && piece < size_ / piece_length_ + 1) {
    const std::uint64_t begin = piece * piece_length_;
    const std::uint64_t length = begin < size_ ? std::min(piece_length_, size_ - begin) : 0;
    Result<std::vector<Part>> all = parts(piece, 0, length);
    // A piece begins with a file and has no second one.
    if (all && !all->empty() && all->front().blob != nullptr) return all->front();
  }
  return fail(Errc::kInvalid, "the torrent has no piece " + std::to_string(piece));
}

}  // namespace shoal::agent::bittorrent
