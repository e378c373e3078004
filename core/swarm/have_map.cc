#include "core/swarm/have_map.h"

#include <algorithm>

#include "core/base/check.h"

namespace shoal::swarm {
namespace {

// docs/formats/have.md
constexpr std::byte kMagic[4] = {std::byte{'S'}, std::byte{'H'}, std::byte{'A'}, std::byte{'V'}};
constexpr std::uint8_t kFormat = 1;
constexpr std::size_t kHeader = 4 + 1 + 4;
constexpr std::size_t kEntryHeader = 8 + 8 + 1 + 4;
constexpr std::size_t kMostVarint = 5;

template <typename T>
void put(std::vector<std::byte>& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    out.push_back(static_cast<std::byte>(value >> (8 * i) & 0xff));
  }
}

void put_varint(std::vector<std::byte>& out, std::uint32_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<std::byte>(value | 0x80));
    value >>= 7;
  }
  out.push_back(static_cast<std::byte>(value));
}

// Reads what is there; after the first failure everything fails.
class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : left_(bytes) {}

  template <typename T>
  bool get(T& value) {
    if (left_.size() < sizeof(T)) return false;
    value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      value = static_cast<T>(value | static_cast<T>(static_cast<T>(left_[i]) << (8 * i)));
    }
    left_ = left_.subspan(sizeof(T));
    return true;
  }
  // Only the shortest spelling of a number is accepted.
  bool get_varint(std::uint32_t& value) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < kMostVarint && i < left_.size(); ++i) {
      auto byte = static_cast<std::uint64_t>(left_[i]);
      sum |= (byte & 0x7f) << (7 * i);
      if ((byte & 0x80) != 0) continue;
      if ((byte == 0 && i != 0) || sum > 0xffff'ffff) return false;
      left_ = left_.subspan(i + 1);
      value = static_cast<std::uint32_t>(sum);
      return true;
    }
    return false;
  }
  bool get_bytes(std::size_t count, std::span<const std::byte>& bytes) {
    if (left_.size() < count) return false;
    bytes = left_.first(count);
    left_ = left_.subspan(count);
    return true;
  }
  std::size_t left() const { return left_.size(); }

 private:
  std::span<const std::byte> left_;
};

tl::unexpected<Error> bad(const char* what) {
  return fail(Errc::kInvalid, std::string("have message: ") + what);
}

Result<std::vector<content::PieceRange>> decode_runs(Reader& reader, std::uint32_t piece_count) {
  std::uint32_t count = 0;
  if (!reader.get_varint(count)) return bad("truncated");
  // Each takes at least two bytes, so this also bounds what is allocated.
  if (count > kMaxHaveRuns || count > reader.left() / 2) return bad("too many runs");
  std::vector<content::PieceRange> runs;
  runs.reserve(count);
  std::uint64_t at = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    std::uint32_t gap = 0;
    std::uint32_t length = 0;
    if (!reader.get_varint(gap) || !reader.get_varint(length)) return bad("truncated");
    if (length == 0 || (i != 0 && gap == 0)) return bad("runs are not disjoint");
    at += gap;
    if (at + length > piece_count) return bad("a run beyond the blob's end");
    runs.push_back({content::PieceIndex(static_cast<std::uint32_t>(at)), length});
    at += length;
  }
  return runs;
}

}  // namespace

std::uint64_t blob_key(const content::Digest& digest) {
  std::uint64_t key = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    key = key << 8 | static_cast<std::uint64_t>(digest.bytes()[i]);
  }
  return key;
}

std::vector<std::byte> encode_have(std::span<const HaveEntry> entries) {
  SHOAL_CHECK(entries.size() <= kMaxHaveEntries, "too many have entries");
  std::vector<std::byte> out(kMagic, kMagic + 4);
  put(out, kFormat);
  put(out, static_cast<std::uint32_t>(entries.size()));
  for (const HaveEntry& entry : entries) {
    put(out, entry.blob);
    put(out, entry.version);
    put(out, static_cast<std::uint8_t>(entry.kind));
    put(out, entry.piece_count);
    if (entry.kind == HaveKind::kDelta) {
      SHOAL_CHECK(entry.added.size() <= kMaxHaveRuns, "too many runs");
      put_varint(out, static_cast<std::uint32_t>(entry.added.size()));
      std::uint32_t at = 0;
      for (content::PieceRange run : entry.added) {
        put_varint(out, run.first.value() - at);
        put_varint(out, run.count);
        at = run.end().value();
      }
    } else if (entry.kind == HaveKind::kBitmap) {
      std::vector<std::byte> bytes = entry.pieces.to_bytes();
      out.insert(out.end(), bytes.begin(), bytes.end());
    }
  }
  return out;
}

Result<std::vector<HaveEntry>> decode_have(std::span<const std::byte> message) {
  if (message.size() > kMaxHaveMessage) return bad("too long");
  Reader reader(message);
  std::span<const std::byte> magic;
  std::uint8_t format = 0;
  std::uint32_t count = 0;
  if (!reader.get_bytes(4, magic) || !std::equal(magic.begin(), magic.end(), kMagic)) {
    return bad("not one");
  }
  if (!reader.get(format) || format != kFormat) return bad("unknown format");
  if (!reader.get(count)) return bad("truncated");
  if (count > kMaxHaveEntries || count > reader.left() / kEntryHeader) return bad("too many blobs");
  std::vector<HaveEntry> entries;
  entries.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    HaveEntry entry;
    std::uint8_t kind = 0;
    if (!reader.get(entry.blob) || !reader.get(entry.version) || !reader.get(kind) ||
        !reader.get(entry.piece_count)) {
      return bad("truncated");
    }
    if (kind > static_cast<std::uint8_t>(HaveKind::kGone)) return bad("unknown kind");
    entry.kind = static_cast<HaveKind>(kind);
    if (entry.piece_count > content::kMaxPieces) return bad("too many pieces");
    if (entry.kind == HaveKind::kGone && entry.piece_count != 0) return bad("pieces that are gone");
    if (entry.kind == HaveKind::kDelta) {
      auto runs = decode_runs(reader, entry.piece_count);
      if (!runs) return fail(runs.error());
      entry.added = std::move(*runs);
    } else if (entry.kind == HaveKind::kBitmap) {
      std::span<const std::byte> bytes;
      if (!reader.get_bytes((entry.piece_count + 7) / 8, bytes)) return bad("truncated");
      auto pieces = content::PieceSet::from_bytes(entry.piece_count, bytes);
      if (!pieces) return fail(pieces.error().with_context("have message"));
      entry.pieces = std::move(*pieces);
    }
    entries.push_back(std::move(entry));
  }
  if (reader.left() != 0) return bad("bytes after the end");
  return entries;
}

HaveLog::HaveLog(const content::BlobLayout& layout, content::PieceSet have, std::uint64_t salt)
    : have_(std::move(have)), version_((salt & 0xffff'ffff'ffff) + 1) {
  SHOAL_CHECK(have_.size() == layout.piece_count(), "pieces of another blob");
}

void HaveLog::add(content::PieceRange pieces) {
  if (have_.contains(pieces)) return;
  have_.set_range(pieces);
  ++version_;
  recent_.push_back(pieces);
  if (recent_.size() > kMemory) recent_.pop_front();
}

void HaveLog::remove(content::PieceRange pieces) {
  have_.reset_range(pieces);
  ++version_;
  recent_.clear();
}

HaveEntry HaveLog::since(std::uint64_t since, std::uint64_t blob) const {
  HaveEntry entry;
  entry.blob = blob;
  entry.version = version_;
  entry.piece_count = have_.size();
  if (have_.all()) {
    entry.kind = HaveKind::kComplete;
    return entry;
  }
  std::uint64_t oldest = version_ - recent_.size();  // the version before recent_.front()
  if (since >= oldest && since < version_) {
    entry.kind = HaveKind::kDelta;
    entry.added.assign(recent_.begin() + static_cast<std::ptrdiff_t>(since - oldest),
                       recent_.end());
    std::sort(entry.added.begin(), entry.added.end(),
              [](auto a, auto b) { return a.first < b.first; });
    std::size_t last = 0;
    for (std::size_t i = 1; i < entry.added.size(); ++i) {
      content::PieceRange& into = entry.added[last];
      content::PieceRange next = entry.added[i];
      if (next.first <= into.end()) {
        into.count = std::max(into.end(), next.end()) - into.first;
      } else {
        entry.added[++last] = next;
      }
    }
    entry.added.resize(last + 1);
    if (entry.added.size() * 4 <= have_.size() / 8 + 16) return entry;
    entry.added.clear();
  }
  entry.kind = HaveKind::kBitmap;
  entry.pieces = have_;
  return entry;
}

}  // namespace shoal::swarm
