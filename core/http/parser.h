// HTTP/1.1 messages out of bytes, one at a time and without I/O. Hides Beast's parsers. Internal to
// core/http and its fuzzers.
#pragma once

#include "core/async/task.h"

#include <cstddef>
#include <memory>
#include <span>

#include "core/http/wire.h"

namespace shoal::http {

// Feed it the bytes of a connection from a message's first one; what it does not take, it wants to
// see again with more behind (kMore), or belongs to the next message (kDone).
class RequestParser {
 public:
  enum class State { kMore, kDone, kRefused };

  explicit RequestParser(MessageLimits limits);
  ~RequestParser();

  // Returns how many bytes of `data` (not empty) were taken. Not after kDone or kRefused.
  std::size_t feed(std::span<const std::byte> data);
  State state() const;
  // True once, when the head is complete, asks for "100-continue" and the body is not complete.
  bool wants_continue();
  // After kDone or kRefused.
  IncomingRequest take();

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

class ResponseParser {
 public:
  enum class State { kMore, kDone, kCorrupt };
  enum class Part { kHead, kWhole, kHeadOfNoBody };

  // kHead: done after the head. kHeadOfNoBody: the same, for the answer to HEAD.
  ResponseParser(MessageLimits limits, Part part);
  ~ResponseParser();

  std::size_t feed(std::span<const std::byte> data);
  State state() const;
  const Error& error() const;  // kCorrupt

  // After kDone. The body is empty unless kWhole; content_length is that of the head.
  ResponseHead take_head();
  std::string take_body();

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace shoal::http
