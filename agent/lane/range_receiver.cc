#include "agent/lane/range_receiver.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>

#include "core/base/check.h"

namespace shoal::agent {
namespace {

// The buffer holds whole pieces and about this much, and one read may fill it: the sender fills the
// socket's buffer meanwhile, and the longer both work in turn the fewer are their wake-ups.
constexpr std::size_t kBufferSize = 4 << 20;
constexpr std::size_t kPage = 4096;
// A long buffer that is gone through again and again spends less on translations in large pages.
constexpr std::size_t kLargePage = 2 << 20;

std::size_t buffer_size(const content::BlobLayout& layout, content::PieceRange pieces) {
  std::size_t piece = layout.piece_length();
  std::size_t wanted = std::max<std::size_t>(1, kBufferSize / piece) * piece;
  return std::min<std::size_t>(wanted, std::size_t{pieces.count} * piece);
}

}  // namespace

void ReceiveBuffer::Free::operator()(std::byte* bytes) const { std::free(bytes); }

std::span<std::byte> ReceiveBuffer::get(std::size_t size) {
  const std::size_t page = size >= kLargePage ? kLargePage : kPage;
  size = (size + page - 1) / page * page;
  if (size > size_) {
    bytes_.reset();
    bytes_.reset(static_cast<std::byte*>(std::aligned_alloc(page, size)));
    SHOAL_CHECK(bytes_ != nullptr, "out of memory");
    // Where the system has none the small ones do.
    if (page == kLargePage) (void)::madvise(bytes_.get(), size, MADV_HUGEPAGE);
    size_ = size;
  }
  return {bytes_.get(), size_};
}

void ReceiveBuffer::shrink() {
  if (size_ <= kKeep) return;
  bytes_.reset();
  size_ = 0;
}

RangeReceiver::RangeReceiver(std::shared_ptr<store::Blob> blob, content::PieceRange pieces,
                             ReceiveBuffer& buffer, Source source)
    : blob_(std::move(blob)),
      pieces_(pieces),
      learns_(source == Source::kOrigin && !blob_->settled()),
      buffer_(buffer.get(buffer_size(blob_->layout(), pieces))
                  .first(buffer_size(blob_->layout(), pieces))),
      next_(pieces.first) {
  SHOAL_CHECK(!pieces.empty() && pieces.end() <= blob_->layout().all_pieces().end(),
              "pieces outside the blob");
  begin_batch(pieces.first);
}

void RangeReceiver::begin_batch(content::PieceIndex first) {
  const content::BlobLayout& layout = blob_->layout();
  auto fit = static_cast<std::uint32_t>(buffer_.size() / layout.piece_length());
  batch_ = {first, std::min(fit, pieces_.end() - first)};
  end_ = 0;
  hashed_ = 0;
  if (batch_.empty()) return;
  hashes_.resize(batch_.count);
  hasher_.begin(layout, batch_);
}

std::span<std::byte> RangeReceiver::space() {
  std::size_t batch_size = blob_->layout().range_of(batch_).length;
  return buffer_.subspan(end_, batch_size - end_);
}

bool RangeReceiver::filled(std::size_t count) {
  const std::uint64_t batch_size = blob_->layout().range_of(batch_).length;
  SHOAL_CHECK(count <= batch_size - end_, "more bytes than there was space for");
  end_ += count;
  hashed_ = hasher_.advance(buffer_.first(end_), hashes_);
  return end_ == batch_size;
}

Result<content::PieceRange> RangeReceiver::commit() {
  const content::BlobLayout& layout = blob_->layout();
  content::PieceRange complete{next_, batch_.first + hashed_ - next_};
  if (complete.empty()) return complete;
  ByteRange bytes = layout.range_of(complete);
  const auto hashes = std::span(hashes_).subspan(next_ - batch_.first, complete.count);
  if (learns_) SHOAL_TRY(blob_->learn(next_, hashes));
  Result<std::uint32_t> stored = blob_->commit(
      next_, buffer_.subspan(bytes.offset - layout.offset_of(batch_.first), bytes.length), hashes);
  if (!stored) {
    // Good pieces before the one that failed are in the store: verified() tells of them.
    while (next_ != complete.end() && blob_->has(next_)) ++next_;
    return fail(stored.error());
  }
  next_ = complete.end();
  if (next_ == batch_.end()) begin_batch(next_);
  return complete;
}

}  // namespace shoal::agent
