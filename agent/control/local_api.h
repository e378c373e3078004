// The agent's local socket: what other programs of this node ask of it (docs/formats/agent-api.md).
#pragma once

#include "core/async/task.h"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "agent/blob_cache.h"
#include "agent/model/ingests.h"
#include "agent/model/last_copies.h"
#include "agent/model/library.h"
#include "agent/model/order_pins.h"
#include "agent/model/publications.h"
#include "agent/model/publisher.h"
#include "agent/model/pulls.h"
#include "agent/model/verifies.h"
#include "agent/origin/origins.h"
#include "agent/swarm/fetcher.h"
#include "agent/swarm/inventory.h"
#include "agent/tracker/catalogue_client.h"
#include "core/async/blocking_pool.h"
#include "core/http/server.h"
#include "core/store/blob_store.h"

namespace shoal::agent {

// Thread: the control thread. Lifetime: borrows everything given; stop() before destruction.
class LocalApi {
 public:
  struct Parts {
    store::BlobStore& store;
    BlobCache& blobs;
    Library& library;
    Inventory& inventory;
    Fetcher& fetcher;
    Pulls& pulls;
    Ingests& ingests;
    Publisher& publisher;
    Publications& publications;
    Verifies& verifies;
    LastCopies& copies;
    OrderPins& order_pins;
    CatalogueClient& catalogue;
    const Origins& origins;
    BlockingPool& pool;
  };
  // What GET /v1/status says beyond the store.
  struct Standing {
    std::string node;
    std::string epoch;
    std::string tracker_url;
    bool tracker_connected = false;
    std::string tracker_error;  // a sentence; empty when connected
    double peers_rate = 0;      // bytes per second
    double origin_rate = 0;
    double upload_rate = 0;
  };

  LocalApi(Executor executor, std::string socket, Parts parts, std::function<Standing()> standing);
  ~LocalApi();

  // Errors: those of http::Server::start().
  Status start();
  Task<void> stop(Deadline deadline);

 private:
  using Request = http::Request;
  using Response = http::Response;
  using Method = Task<Response> (LocalApi::*)(Request);
  // What one connection keeps as long as it lives.
  struct Connection {
    std::vector<store::ReadLease> leases;
    struct Want {
      swarm::Class cls = swarm::Class::kWindow;
      std::vector<content::PieceRange> pieces;
      swarm::Time deadline;
    };
    std::map<content::Digest, Want> wants;
  };
  enum class Who { kAny, kOwner };

  void route(std::string_view method, std::string_view pattern, Who who, Method handler);
  Task<Response> guarded(Who who, Method handler, Request request);

  Task<Response> get_status(Request request);
  Task<Response> get_blobs(Request request);
  Task<Response> post_listing(Request request);
  Task<Response> post_ingest(Request request);
  Task<Response> get_ingest(Request request);
  Task<Response> delete_ingest(Request request);
  Task<Response> post_publish(Request request);
  Task<Response> post_publication(Request request);
  Task<Response> get_publication(Request request);
  Task<Response> delete_publication(Request request);
  Task<Response> post_pull(Request request);
  Task<Response> get_pull(Request request);
  Task<Response> delete_pull(Request request);
  Task<Response> post_open(Request request);
  Task<Response> post_want(Request request);
  Task<Response> post_pin(Request request);
  Task<Response> post_unpin(Request request);
  Task<Response> post_verify(Request request);
  Task<Response> get_verify(Request request);
  Task<Response> post_gc(Request request);
  Task<Response> get_explain(Request request);
  Task<Response> forward(Request request);

  Task<Result<std::shared_ptr<const Library::Model>>> model_of(std::string body);
  Response pinned() const;
  void refresh_wants(const content::Digest& blob);
  void connection_closed(std::uint64_t connection);

  Parts parts_;
  const std::function<Standing()> standing_;
  http::Server server_;
  std::unordered_map<std::uint64_t, Connection> connections_;
};

}  // namespace shoal::agent
