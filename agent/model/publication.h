// One publication from an origin, as its parts in this folder see it. Internal to Publications.
#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/model/publications.h"
#include "core/async/event.h"
#include "core/store/blob.h"

namespace shoal::agent {

// One blob of a publication: files with the same name are one.
struct Publications::Part {
  explicit Part(Executor executor) : arrived(std::move(executor)) {}

  content::Digest name;  // until it is settled
  std::uint64_t size = 0;
  std::vector<std::size_t> files;  // indices
  const PublicationFile* source = nullptr;
  std::shared_ptr<store::Blob> blob;      // null: nothing has to be brought
  std::optional<store::ReadLease> keep;   // not to be evicted meanwhile
  Condition arrived;                      // more of it is here
  std::uint64_t done = 0;                 // bytes here
  std::optional<content::Digest> digest;  // once it is settled
  std::optional<content::Hash32> root;    // then; none if it is empty
  std::string how;
};

struct Publications::Publication {
  explicit Publication(Executor executor) : changed(std::move(executor)) {}

  Request request;
  PublicationView view;
  std::map<content::Digest, std::unique_ptr<Part>> parts;  // by name
  std::size_t left = 0;                                    // parts that are not settled
  std::size_t reading = 0;                                 // tasks
  bool announced = false;
  std::optional<Error> failure;
  std::shared_ptr<std::atomic<bool>> cancel = std::make_shared<std::atomic<bool>>(false);
  Condition changed;
  std::chrono::steady_clock::time_point last_bytes = std::chrono::steady_clock::now();
  std::chrono::steady_clock::time_point ended;
};

}  // namespace shoal::agent
