#include "core/content/piece_set.h"

#include <bit>
#include <string>

#include "core/base/check.h"

namespace shoal::content {
namespace {

constexpr std::uint32_t kWordBits = 64;
constexpr std::uint64_t kAllOnes = ~std::uint64_t{0};

constexpr std::size_t words_for(std::uint32_t bits) { return (bits + kWordBits - 1) / kWordBits; }

constexpr std::uint64_t bit(std::uint32_t index) { return std::uint64_t{1} << index % kWordBits; }

// Calls on_word(word index, mask of the range's bits in it) for every word that [first, end)
// touches.
template <typename OnWord>
void for_each_word(std::uint32_t first, std::uint32_t end, OnWord on_word) {
  while (first < end) {
    std::uint32_t word = first / kWordBits;
    std::uint32_t word_end = std::min(end, (word + 1) * kWordBits);
    std::uint64_t mask = kAllOnes >> (kWordBits - (word_end - first)) << first % kWordBits;
    on_word(word, mask);
    first = word_end;
  }
}

std::uint32_t popcount(std::uint64_t word) {
  return static_cast<std::uint32_t>(std::popcount(word));
}

}  // namespace

PieceSet::PieceSet(std::uint32_t size) : size_(size), words_(words_for(size)) {
  SHOAL_CHECK(size <= kMaxPieces, "too many pieces");
}

PieceSet PieceSet::full(std::uint32_t size) {
  PieceSet set(size);
  set.set_range({PieceIndex(0), size});
  return set;
}

bool PieceSet::test(PieceIndex piece) const {
  SHOAL_CHECK(piece.value() < size_, "piece out of range");
  return (words_[piece.value() / kWordBits] & bit(piece.value())) != 0;
}

bool PieceSet::set(PieceIndex piece) {
  if (test(piece)) return false;
  words_[piece.value() / kWordBits] |= bit(piece.value());
  ++count_;
  return true;
}

bool PieceSet::reset(PieceIndex piece) {
  if (!test(piece)) return false;
  words_[piece.value() / kWordBits] &= ~bit(piece.value());
  --count_;
  return true;
}

void PieceSet::check(PieceRange pieces) const {
  SHOAL_CHECK(pieces.first.value() <= size_ && pieces.count <= size_ - pieces.first.value(),
              "pieces out of range");
}

void PieceSet::set_range(PieceRange pieces) {
  check(pieces);
  for_each_word(pieces.first.value(), pieces.end().value(),
                [&](std::size_t word, std::uint64_t mask) {
                  count_ += popcount(mask & ~words_[word]);
                  words_[word] |= mask;
                });
}

void PieceSet::reset_range(PieceRange pieces) {
  check(pieces);
  for_each_word(pieces.first.value(), pieces.end().value(),
                [&](std::size_t word, std::uint64_t mask) {
                  count_ -= popcount(mask & words_[word]);
                  words_[word] &= ~mask;
                });
}

std::uint32_t PieceSet::count(PieceRange pieces) const {
  check(pieces);
  std::uint32_t total = 0;
  for_each_word(
      pieces.first.value(), pieces.end().value(),
      [&](std::size_t word, std::uint64_t mask) { total += popcount(words_[word] & mask); });
  return total;
}

bool PieceSet::intersects(const PieceSet& other) const {
  SHOAL_CHECK(size_ == other.size_, "sets of different blobs");
  for (std::size_t i = 0; i < words_.size(); ++i) {
    if ((words_[i] & other.words_[i]) != 0) return true;
  }
  return false;
}

std::uint32_t PieceSet::count_common(const PieceSet& other) const {
  SHOAL_CHECK(size_ == other.size_, "sets of different blobs");
  std::uint32_t total = 0;
  for (std::size_t i = 0; i < words_.size(); ++i) total += popcount(words_[i] & other.words_[i]);
  return total;
}

// The first index >= `from` whose bit, XORed with `flip`, is 1; size_ if there is none.
std::uint32_t PieceSet::find(std::uint32_t from, std::uint64_t flip) const {
  SHOAL_CHECK(from <= size_, "piece out of range");
  std::uint64_t mask = kAllOnes << from % kWordBits;
  for (std::size_t word = from / kWordBits; word < words_.size(); ++word) {
    std::uint64_t candidates = (words_[word] ^ flip) & mask;
    if (candidates != 0) {
      auto index = static_cast<std::uint32_t>(
          word * kWordBits + static_cast<std::uint32_t>(std::countr_zero(candidates)));
      return std::min(index, size_);  // flipped spare bits lie beyond the end
    }
    mask = kAllOnes;
  }
  return size_;
}

std::optional<PieceIndex> PieceSet::first_set(PieceIndex from) const {
  std::uint32_t index = find(from.value(), 0);
  return index < size_ ? std::optional(PieceIndex(index)) : std::nullopt;
}

std::optional<PieceIndex> PieceSet::first_missing(PieceIndex from) const {
  std::uint32_t index = find(from.value(), kAllOnes);
  return index < size_ ? std::optional(PieceIndex(index)) : std::nullopt;
}

PieceRange PieceSet::next_run(PieceIndex from) const {
  std::uint32_t first = find(from.value(), 0);
  return {PieceIndex(first), find(first, kAllOnes) - first};
}

PieceRange PieceSet::next_gap(PieceIndex from) const {
  std::uint32_t first = find(from.value(), kAllOnes);
  return {PieceIndex(first), find(first, 0) - first};
}

PieceSet& PieceSet::operator|=(const PieceSet& other) {
  SHOAL_CHECK(size_ == other.size_, "sets of different blobs");
  for (std::size_t i = 0; i < words_.size(); ++i) words_[i] |= other.words_[i];
  recount();
  return *this;
}

PieceSet& PieceSet::operator&=(const PieceSet& other) {
  SHOAL_CHECK(size_ == other.size_, "sets of different blobs");
  for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= other.words_[i];
  recount();
  return *this;
}

PieceSet& PieceSet::operator-=(const PieceSet& other) {
  SHOAL_CHECK(size_ == other.size_, "sets of different blobs");
  for (std::size_t i = 0; i < words_.size(); ++i) words_[i] &= ~other.words_[i];
  recount();
  return *this;
}

void PieceSet::recount() {
  count_ = 0;
  for (std::uint64_t word : words_) count_ += popcount(word);
}

std::vector<std::byte> PieceSet::to_bytes() const {
  std::vector<std::byte> bytes((size_ + 7) / 8);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::byte>(words_[i / 8] >> (i % 8 * 8));
  }
  return bytes;
}

Result<PieceSet> PieceSet::from_bytes(std::uint32_t size, std::span<const std::byte> bytes) {
  if (size > kMaxPieces) {
    return fail(Errc::kInvalid, std::to_string(size) + " pieces are above the limit");
  }
  if (bytes.size() != (size + 7) / 8) {
    return fail(Errc::kInvalid, "a map of " + std::to_string(size) + " pieces cannot have " +
                                    std::to_string(bytes.size()) + " bytes");
  }
  if (size % 8 != 0 && std::to_integer<unsigned>(bytes.back()) >> (size % 8) != 0) {
    return fail(Errc::kInvalid, "a bit beyond the last piece is set");
  }
  PieceSet set(size);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    set.words_[i / 8] |= std::to_integer<std::uint64_t>(bytes[i]) << (i % 8 * 8);
  }
  set.recount();
  return set;
}

}  // namespace shoal::content
