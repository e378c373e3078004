// A ready map as a reader in another process gets it, for a blob of 70 pieces.
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "core/base/unique_fd.h"
#include "core/store/ready_map.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace shoal;
  static const UniqueFd fd(::memfd_create("ready", MFD_CLOEXEC));
  if (::ftruncate(fd.get(), 0) != 0 || ::pwrite(fd.get(), data, size, 0) != ssize_t(size)) return 0;
  const content::BlobLayout layout(70 * content::kMinPieceLength);
  auto reader = store::ReadyReader::open(fd.get(), content::digest_of("a blob"), layout);
  if (!reader) return 0;
  auto set = reader->snapshot();
  auto all = reader->ready(layout.all_pieces());
  if (set.has_value() != all.has_value()) std::abort();
  if (set && set->all() != *all) std::abort();
  const bool waited = reader->wait(layout.all_pieces(), {}).has_value();
  if (waited != (all && *all)) std::abort();
  return 0;
}
