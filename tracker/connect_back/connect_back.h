// "Is this agent really there?": asks a lane address who listens on it. A registration is believed
// only after it, and a node is taken for dead before its time only because of it.
//
// Thread: the executor's. Lifetime: close() and the end of all calls before destruction.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <memory>
#include <set>
#include <string>

#include "core/api/node.h"
#include "core/base/result.h"

namespace shoal::http {
class Client;
class TlsContext;
}  // namespace shoal::http

namespace shoal::tracker {

class ConnectBack {
 public:
  // `tls` null: plain. An address has `timeout` to answer.
  ConnectBack(Executor executor, std::shared_ptr<http::TlsContext> tls,
              std::chrono::milliseconds timeout);
  ConnectBack(const ConnectBack&) = delete;
  ConnectBack& operator=(const ConnectBack&) = delete;

  // Who listens at lane address `address` ("host:port"). With TLS its certificate must name `node`.
  // Errors: unavailable, timed_out (nothing there), denied (a certificate is refused), corrupt
  // (not an agent), invalid (not an address), cancelled.
  Task<Result<api::Identity>> identify(std::string node, std::string address);

  // Ends all calls, now and in future, with cancelled.
  void close();

 private:
  const Executor executor_;
  const std::shared_ptr<http::TlsContext> tls_;
  const std::chrono::milliseconds timeout_;
  std::set<http::Client*> asking_;
  bool closed_ = false;
};

}  // namespace shoal::tracker
