// Where a first copy of a blob can be read by ranges. One implementation per kind of origin; each
// is blocking and runs on the agent's origin threads.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/async/retry.h"
#include "core/base/result.h"
#include "core/base/units.h"
#include "core/content/digest.h"
#include "core/content/relative_path.h"

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

// What shall be published from an origin.
struct OriginQuery {
  std::string source;                // "s3://bucket/llama-8b", "hf://org/repo@main", …
  std::vector<std::string> include;  // shell patterns of paths; empty: all
  std::vector<std::string> exclude;  // of those
  std::string platform;              // "linux/amd64": of an image index; empty: this node's

  bool wants(std::string_view path) const;
};

struct OriginEntry {
  content::RelativePath path;             // within the model
  OriginFile file;                        // its URL is pinned to what was found, where the kind can
  std::optional<content::Digest> digest;  // which the origin itself declares
};

// What an origin has there, as it was seen at one moment.
struct OriginListing {
  std::string source;  // pinned: for a branch its commit, for a tag its digest
  std::vector<OriginEntry> files;
  std::map<std::string, std::string> annotations;  // worth keeping in the manifest

  // For those who fill it. Adds the file `name`, if the query wants it. Errors: invalid (it cannot
  // be a file's name in a model, or there are too many).
  Status add(const OriginQuery& query, std::string_view name, OriginFile file,
             std::optional<content::Digest> digest = {});
  // All are added: puts them in order. Errors: not_found if there is none.
  Status finish();
};

// Set by another thread to end a read early with `cancelled`. A blocked read notices within a
// second.
using CancelFlag = std::atomic<bool>;

// Thread safe: any number of reads at once.
class Origin {
 public:
  virtual ~Origin() = default;

  // As in the catalogue and in metrics: "http", "dir", "s3", …
  virtual std::string_view kind() const = 0;

  // Does this origin answer for URLs of that scheme ("file", "http", "https")?
  virtual bool handles(std::string_view scheme) const = 0;

  // The files there that the query wants, ascending by path. Errors: those of probe; not_found also
  // when there is none.
  virtual OriginStatus list(const OriginQuery& query, OriginListing& found,
                            const CancelFlag& cancel) = 0;

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

// Sleeps; false as soon as the flag is set.
bool sleep_unless(std::chrono::milliseconds pause, const CancelFlag& cancel);

// Reads the whole file in order. What fails and may succeed later is tried again from where it
// ended, as `retry` says; each byte that arrives makes the next failure the first one. Errors:
// those of Origin::read.
Status read_whole(Origin& origin, const OriginFile& file, const RetryPolicy& retry,
                  const OriginSink& sink, const CancelFlag& cancel);

// "https" of "https://host/…", "file" of "file:///srv/models"; empty if there is none.
std::string_view scheme_of(std::string_view url);

}  // namespace shoal::agent
