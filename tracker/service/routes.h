// The routes of docs/formats/tracker-api.md, in groups. Each add_ function registers its
// handlers; `control` and `server` outlive them. Internal to tracker/service.
#pragma once

#include "core/async/task.h"

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/base/result.h"
#include "core/content/digest.h"
#include "core/content/reference.h"
#include "core/http/message.h"
#include "core/http/server.h"
#include "tracker/service/control.h"

namespace shoal::tracker {

void add_node_routes(http::Server& server, Control& control);
void add_catalogue_routes(http::Server& server, Control& control);
void add_ingest_routes(http::Server& server, Control& control);
void add_operator_routes(http::Server& server, Control& control);

// What several groups need.

// Errors: denied (the certificate names somebody else), invalid (not a node id).
Result<std::string> caller_node(const http::Request& request, const Control& control);
// Whether the caller may speak for node `id`. Errors: denied (the certificate names somebody else).
Status check_caller(const http::Request& request, const Control& control, std::string_view id);
// `since` and `wait`. Errors: invalid.
struct PollQuery {
  std::uint64_t since = 0;
  std::chrono::milliseconds wait{0};
};
Result<PollQuery> poll_query(const http::Request& request);
// Of a query value that is a whole number; `fallback` if it is absent. Errors: invalid.
Result<std::uint64_t> number_query(const http::Request& request, std::string_view name,
                                   std::uint64_t fallback);
// Errors: invalid.
Result<content::Digest> digest_param(const http::Request& request);
Result<content::Reference> reference_query(const http::Request& request);

// The message as a 200 answer, or the error's.
template <typename T>
http::Response answer_of(const Result<T>& message) {
  return message ? http::Response::json(api::encode(*message))
                 : http::Response::error(message.error());
}
// 204, or the error's.
http::Response answer_of(const Status& status);

}  // namespace shoal::tracker
