// What several messages of the tracker's API share, and the body of every error.
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
  std::string region;
  std::string zone;
  std::string rack;
  std::string host;

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

// The body of every answer that is not 2xx: {"error":{"code":"conflict","message":"…"}}.
struct ErrorBody {
  Error error{Errc::kInternal, ""};

  friend bool operator==(const ErrorBody&, const ErrorBody&) = default;
};

// The HTTP status that carries an error of that kind, and back: a status no kind maps to is
// unavailable for 5xx and invalid for 4xx.
int http_status(Errc code);
Errc errc_from_status(int status);

// The error in an answer: its ErrorBody when it has one, else one made of the status alone.
Error error_from_response(int status, std::string_view body);

}  // namespace shoal::api
