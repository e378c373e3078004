// What travels over the agent's local socket, as values. docs/formats/agent-api.md has the JSON.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/result.h"
#include "core/base/unique_fd.h"
#include "core/base/units.h"
#include "core/content/digest.h"

namespace shoal::agent_client {

struct AgentStatus {
  std::string node;
  std::string epoch;
  std::string version;
  std::string tracker_url;
  bool tracker_connected = false;
  std::string tracker_error;         // a sentence; empty when connected
  std::uint64_t store_used = 0;      // bytes
  std::uint64_t store_capacity = 0;  // bytes; 0: bounded by the file system only
  std::uint64_t store_free = 0;      // bytes free on the store's file system
  std::uint64_t blobs = 0;
  double peers_rate = 0;  // bytes per second received from peers
  double origin_rate = 0;
  double upload_rate = 0;
  std::uint64_t peers = 0;
};

struct BlobInfo {
  content::Digest digest;
  std::uint64_t size = 0;
  std::uint64_t bytes_have = 0;
  std::string state;  // live, complete, failed, revoked
  bool pinned = false;
  bool opened = false;
  std::optional<std::chrono::milliseconds> last_used_ago;  // none: never read
  std::vector<std::string> references;
};

// What of an origin shall be published.
struct OriginQuery {
  std::string source;                // "hf://org/repo", "s3://bucket/folder", …
  std::vector<std::string> include;  // shell patterns of paths; empty: all
  std::vector<std::string> exclude;  // of those
  std::string platform;              // "linux/amd64": of an image index; empty: the agent's
};

struct OriginFile {
  std::string path;
  std::string url;  // pinned to what was found, where the kind of origin can
  std::uint64_t size = 0;
  std::string version;                    // empty: the origin tells none
  std::optional<content::Digest> digest;  // which the origin declares
};

struct OriginListing {
  std::string source;  // pinned
  std::map<std::string, std::string> annotations;
  std::vector<OriginFile> files;  // ascending by path
};

enum class IngestMode { kCopy, kInPlace, kHash };

struct IngestState {
  enum class Phase { kRunning, kDone, kFailed };
  Phase phase = Phase::kRunning;
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_total = 0;
  // Known once done
  content::Digest digest;
  std::uint64_t size = 0;
  std::optional<content::Hash32> pieces_root;  // none for an empty file
  std::string how;                             // reflink, copy, in-place, hash, present
  std::optional<Error> error;                  // kFailed
};

struct BlobOrigin {
  content::Digest blob;
  std::string url;
  std::string version = {};  // of the file that was read there; empty: not known
};

// Which nodes can read the origins of a model.
struct OriginReaders {
  enum class Kind { kAll, kPublisher, kNodes, kLabels } kind = Kind::kAll;
  std::vector<std::string> nodes;             // kNodes: their ids
  std::map<std::string, std::string> labels;  // kLabels: all of them
};

struct PublishRequest {
  std::string reference;
  std::string manifest;  // the document's text
  std::string config;
  std::vector<BlobOrigin> origins;
  OriginReaders readers = {};
};

// A model to be published from an origin while the cluster reads it.
struct PublicationRequest {
  std::string reference;
  std::string title;
  std::vector<OriginFile> files;
  std::map<std::string, std::string> annotations;
  OriginReaders readers = {};
};

struct PublicationState {
  enum class Phase { kRunning, kComplete, kFailed, kCancelled };
  struct File {
    std::string path;
    std::uint64_t size = 0;
    std::uint64_t bytes_done = 0;
    content::Digest digest;  // once complete
    std::string how;         // then: copy, present
  };
  Phase phase = Phase::kRunning;
  std::uint64_t bytes_total = 0;
  std::uint64_t bytes_done = 0;  // are on the agent's node
  std::uint64_t bytes_origin = 0;
  std::uint64_t bytes_peers = 0;
  std::uint64_t bytes_local = 0;            // were there before
  std::optional<content::Digest> manifest;  // once complete
  std::string waiting_for;                  // a sentence; empty while bytes flow
  std::vector<File> files;                  // ascending by path
  std::optional<Error> error;
};

enum class PullClass { kPlan, kPrefetch, kBackground };

struct PullStarted {
  std::string pull;
  content::Digest manifest;
};

struct FileProgress {
  std::string path;
  content::Digest digest;
  std::uint64_t size = 0;
  std::uint64_t bytes_done = 0;
};

struct PullProgress {
  enum class Phase { kRunning, kComplete, kFailed, kCancelled };
  std::uint64_t version = 0;
  Phase phase = Phase::kRunning;
  content::Digest manifest;
  std::string reference;
  std::uint64_t bytes_total = 0;
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_peers = 0;
  std::uint64_t bytes_origin = 0;
  std::uint64_t bytes_local = 0;  // were in the store before
  double rate = 0;                // bytes per second
  std::optional<std::chrono::milliseconds> eta;
  std::string waiting_for;  // a sentence; empty while bytes flow
  std::vector<FileProgress> files;
  std::optional<Error> error;
};

struct OpenedBlob {
  UniqueFd data;   // read-only; only what `ready` says may be read
  UniqueFd ready;  // for store::ReadyReader
  std::uint64_t size = 0;
  std::uint64_t piece_length = 0;
  std::string state;  // live, complete, failed, revoked
};

enum class WantClass { kFault, kWindow, kPlan };

struct Want {
  content::Digest digest;
  std::vector<ByteRange> ranges;
  std::chrono::milliseconds by{2000};  // from now
  WantClass want_class = WantClass::kWindow;
};

struct Pinned {
  std::string reference;  // empty if pinned by its manifest's digest
  content::Digest manifest;
};

struct VerifyState {
  enum class Phase { kRunning, kDone, kFailed };
  struct BadFile {
    content::Digest digest;
    std::string path;
    std::uint64_t pieces = 0;  // how many do not match
  };
  Phase phase = Phase::kRunning;
  std::uint64_t bytes_done = 0;
  std::uint64_t bytes_total = 0;
  std::vector<BadFile> bad;
  std::vector<std::string> missing;  // paths of files that are not whole here
  std::optional<Error> error;        // kFailed
};

struct GcResult {
  struct Kept {
    content::Digest digest;
    std::string reason;
  };
  std::uint64_t freed_bytes = 0;
  std::vector<content::Digest> evicted;
  std::vector<Kept> kept;
};

struct Explanation {
  struct Source {
    std::string kind;  // peer, origin
    std::string name;
    double rate = 0;              // bytes per second
    std::uint64_t in_flight = 0;  // bytes
  };
  struct Wait {
    std::string kind;  // piece, peer, lease, disk, limit, source
    std::string text;
    std::chrono::milliseconds since{0};
  };
  struct File {
    std::string path;
    content::Digest digest;
    std::uint64_t size = 0;
    std::uint64_t pieces_have = 0;
    std::uint64_t pieces_total = 0;
    std::vector<Source> sources;
    std::vector<Wait> waits;
    std::vector<std::string> last_errors;
  };
  std::string reference;
  content::Digest manifest;
  std::string state;
  std::string waiting_for;
  std::vector<File> files;
};

}  // namespace shoal::agent_client
