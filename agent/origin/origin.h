// Where a first copy of a blob can be read by ranges. One implementation per kind of origin; each
// is blocking and runs on the agent's origin threads.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "core/base/result.h"
#include "core/base/units.h"

namespace shoal::agent {

// A file at an origin as it was seen at one moment. `version` (an ETag, or size, mtime and inode)
// is pinned: bytes of another version are never mixed in.
struct OriginFile {
  std::string url;
  std::uint64_t size = 0;
  std::string version;  // empty: the origin gives none, so a change shows only as a bad piece

  friend bool operator==(const OriginFile&, const OriginFile&) = default;
};

// What a read or probe came to, beyond its status.
struct OriginStatus {
  Status status;
  // Set with overloaded: the origin asked not to be called again before this has passed.
  std::chrono::milliseconds retry_after{0};
};

// Takes the next bytes of a read, in order. An error ends the read and becomes its status.
using OriginSink = std::function<Status(std::span<const std::byte>)>;

// Set by another thread to end a read early with `cancelled`. A blocked read notices within a
// second.
using CancelFlag = std::atomic<bool>;

// Thread safe: any number of reads at once.
class Origin {
 public:
  virtual ~Origin() = default;

  // Does this origin answer for URLs of that scheme ("file", "http", "https")?
  virtual bool handles(std::string_view scheme) const = 0;

  // Looks at the file without reading it and fills in size and version.
  // Errors: not_found, denied (credentials, or the place is not on the allow-list: the message has
  // the line to add), overloaded, unavailable, timed_out, invalid (not a URL or file that can be
  // read).
  virtual OriginStatus probe(const std::string& url, OriginFile& file,
                             const CancelFlag& cancel) = 0;

  // Reads `range` of `file` (not empty, within file.size) into `sink`. On success exactly
  // range.length bytes were delivered; after an error, a prefix of them. Errors: those of probe;
  // conflict (the file is no longer the version pinned); invalid (the origin does not honour
  // ranges); the sink's own error.
  virtual OriginStatus read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                            const CancelFlag& cancel) = 0;

  // Gives back what is kept for a next read that has not come for a while. Called now and then.
  virtual void tidy() {}
};

// "https" of "https://host/…", "file" of "file:///srv/models"; empty if there is none.
std::string_view scheme_of(std::string_view url);

}  // namespace shoal::agent
