// HTTP calls to another agent's lane that carry no pieces: have-maps, piece tables, hashes.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "agent/transfer.h"
#include "core/http/client.h"
#include "core/http/tls.h"

namespace shoal::agent {

// A client of that peer and no other; `tls` null: plain. An answer has at most `max_body` bytes.
http::Client::Options peer_client_options(const PeerAddress& peer,
                                          std::shared_ptr<http::TlsContext> tls,
                                          std::size_t max_body);

// GET `path`. A plain connection has no certificate: the request says that `node` asks.
http::Request peer_get(std::string path, const std::string& node, bool plain,
                       http::Query query = {});

}  // namespace shoal::agent
