// What several messages of the tracker's API share. Errors have the form of core/http/message.h.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/api/limits.h"
#include "core/api/message.h"
#include "core/base/error.h"

namespace shoal::api {

// Where a node is; compared as core/swarm/types.h says.
struct Topology {
  std::string region = {};
  std::string zone = {};
  std::string rack = {};
  std::string host = {};

  friend bool operator==(const Topology&, const Topology&) = default;
};

using Labels = std::map<std::string, std::string>;

// Bytes of one pull, by where they came from: other agents, an origin, or this node's store before
// the pull began.
struct BytesBySource {
  std::uint64_t peers = 0;   // "bytes_peers"
  std::uint64_t origin = 0;  // "bytes_origin"
  std::uint64_t local = 0;   // "bytes_local"

  friend bool operator==(const BytesBySource&, const BytesBySource&) = default;
};

struct StoreUsage {
  std::uint64_t used = 0;      // bytes of the store's own files
  std::uint64_t capacity = 0;  // bytes the store may use; 0: bounded by the file system only
  std::uint64_t free = 0;      // bytes free on the store's file system

  friend bool operator==(const StoreUsage&, const StoreUsage&) = default;
};

}  // namespace shoal::api
