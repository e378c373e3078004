// Taking in content that lies in a file of this machine: by copy, by sharing blocks, or in place.

#include <algorithm>
#include <utility>

#include "core/store/blob_store.h"
#include "core/store/store_context.h"

namespace shoal::store {
namespace {

constexpr std::uint64_t kCopyPortion = 4 * kMiB;

}  // namespace

Result<ImportReport> BlobStore::import(const content::PieceTable& table, int source,
                                       ImportOptions options) {
  auto st = context_->fs.stat(source);
  if (!st) return fail(st.error());
  if (st->size != table.layout().size()) {
    return fail(Errc::kCorrupt, "the source is " + std::to_string(st->size) +
                                    " bytes long instead of " +
                                    std::to_string(table.layout().size()));
  }
  Order order;
  order.table = &table;
  order.meta.pins = options.pins;
  order.meta.annotations = options.annotations;
  order.reflink_source = source;
  auto made = make(std::move(order));
  if (!made) return fail(made.error());
  auto filled = fill_from(*made->blob, source, made->reflinked, options);
  if (!filled) {
    if (!made->existed) {
      made->blob.reset();
      (void)remove_if(table.digest(), RemoveWhen::kAlways).has_value();
    }
    return fail(filled.error());
  }
  return ImportReport{.blob = made->blob, .reflinked = made->reflinked};
}

Status BlobStore::fill_from(Blob& blob, int source, bool reflinked, const ImportOptions& options) {
  if (blob.in_place()) return {};
  const content::BlobLayout& layout = blob.layout();
  std::vector<std::byte> buffer;
  const auto step =
      static_cast<std::uint32_t>(std::max<std::uint64_t>(1, kCopyPortion / layout.piece_length()));
  for (content::PieceIndex at(0); at.value() < layout.piece_count();) {
    if (options.cancel != nullptr && options.cancel->load()) {
      return fail(Errc::kCancelled, "the import was cancelled");
    }
    const content::PieceRange pieces{at, std::min(step, layout.piece_count() - at.value())};
    if (reflinked) {
      for (content::PieceIndex piece : pieces) {
        auto good = blob.adopt_stored(piece, buffer, false);
        if (!good) return fail(good.error());
        if (!*good) {
          return fail(Errc::kCorrupt, "piece " + std::to_string(piece.value()) +
                                          " of the source does not match: it changed");
        }
      }
    } else if (!blob.has(pieces)) {
      const ByteRange range = layout.range_of(pieces);
      buffer.resize(range.length);
      auto n = context_->fs.pread(source, buffer, range.offset);
      if (!n) return fail(n.error().with_context("reading the source"));
      if (*n != range.length) return fail(Errc::kCorrupt, "the source became shorter");
      auto committed = blob.commit(at, buffer);
      if (!committed) return fail(committed.error().with_context("from the source"));
    }
    at = pieces.end();
    if (options.progress) options.progress(layout.range_of(pieces).end());
  }
  return blob.sync();
}

Result<std::shared_ptr<Blob>> BlobStore::add_in_place(
    const content::PieceTable& table, const InPlaceSource& source, std::set<std::string> pins,
    std::map<std::string, std::string> annotations) {
  if (source.path.empty() || source.path[0] != '/') {
    return fail(Errc::kInvalid, "\"" + source.path + "\" is not an absolute path");
  }
  if (source.size != table.layout().size()) {
    return fail(Errc::kInvalid, source.path + " is " + std::to_string(source.size) +
                                    " bytes long, its piece table says " +
                                    std::to_string(table.layout().size()));
  }
  auto st = context_->fs.stat(source.path);
  if (!st) return fail(st.error());
  if (!st->regular) {
    return fail(Errc::kInvalid, source.path + " is not a regular file");
  }
  if (st->size != source.size || st->mtime_ns != source.mtime_ns || st->inode != source.inode) {
    return fail(Errc::kConflict, source.path + " changed since it was hashed");
  }
  Order order;
  order.table = &table;
  order.meta.pins = std::move(pins);
  order.meta.annotations = std::move(annotations);
  order.meta.in_place = source;
  auto made = make(std::move(order));
  if (!made) return fail(made.error());
  return made->blob;
}

}  // namespace shoal::store
