// What the mirror hands out, as seen from its listener: names, manifests, and blobs that are here
// or on their way.
#pragma once

#include "core/async/task.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/mirror/oci_request.h"
#include "core/async/deadline.h"
#include "core/base/result.h"
#include "core/base/units.h"
#include "core/content/digest.h"
#include "core/content/layout.h"
#include "core/content/reference.h"
#include "core/store/blob.h"

namespace shoal::agent {

// A manifest as a client gets it.
struct MirrorManifest {
  content::Digest digest;
  std::string media_type;
  std::uint64_t size = 0;
  std::string bytes;  // empty when only the head was asked for
};

// A blob of a manifest.
struct MirrorBlob {
  content::Digest digest;
  std::uint64_t size = 0;
  std::optional<content::Hash32> pieces_root;
  std::string media_type;
};

struct MirrorList {
  std::vector<std::string> entries;
  bool more = false;  // behind the last of them
};

// Thread: the control thread; everything is called there.
//
// Errors of the questions: not_found, and unavailable or what the tracker said when it cannot be
// answered now.
class MirrorContent {
 public:
  virtual ~MirrorContent() = default;

  virtual Task<Result<MirrorManifest>> manifest(content::Reference reference, bool head_only) = 0;
  // A blob that some manifest which the name knows is made of.
  virtual Task<Result<MirrorBlob>> blob(std::string name, content::Digest digest) = 0;
  // Whether anything has or had that name.
  virtual Task<Result<bool>> knows(std::string name) = 0;
  virtual Task<Result<MirrorList>> tags(std::string name, OciPage page) = 0;
  virtual Task<Result<MirrorList>> names(OciPage page) = 0;

  // A reader of some bytes of a blob: as long as it exists they are brought here, what it reads
  // next first.
  using ReaderId = std::uint64_t;
  virtual ReaderId begin_reading(MirrorBlob blob, ByteRange range, std::string pull_id) = 0;
  // Once the blob can be read, though perhaps no byte of it is there. Errors: timed_out (with what
  // it waits for, it goes on), and what no waiting will change.
  virtual Task<Result<std::shared_ptr<store::Blob>>> opened(ReaderId reader, Deadline deadline) = 0;
  // The reader has come to `offset`. What it waits for, in words, may be empty.
  virtual std::string advance(ReaderId reader, std::uint64_t offset) = 0;
  virtual void end_reading(ReaderId reader) = 0;

  // Ends all waits, now and in future.
  virtual Task<void> stop() = 0;
};

}  // namespace shoal::agent
