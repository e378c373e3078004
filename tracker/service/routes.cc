#include "tracker/service/routes.h"

#include <algorithm>
#include <charconv>

#include "core/api/limits.h"

namespace shoal::tracker {

Status check_caller(const http::Request& request, const Control& control, std::string_view id) {
  if (!control.secure() || request.peer.identity.is_node(id)) return {};
  std::string uri = request.peer.identity.uri();
  return fail(Errc::kDenied, "the certificate is of " + (uri.empty() ? "no node" : uri) +
                                 ", not of node " + std::string(id));
}

Result<std::string> caller_node(const http::Request& request, const Control& control) {
  std::string id(request.param("id"));
  if (!api::valid_node_id(id)) return fail(Errc::kInvalid, "the path does not name a node id");
  SHOAL_TRY(check_caller(request, control, id));
  return id;
}

Result<std::uint64_t> number_query(const http::Request& request, std::string_view name,
                                   std::uint64_t fallback) {
  std::string_view text = request.query_value(name);
  if (text.empty()) return fallback;
  std::uint64_t value = 0;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    return fail(Errc::kInvalid, std::string(name) + " must be a whole number");
  }
  return value;
}

Result<PollQuery> poll_query(const http::Request& request) {
  Result<std::uint64_t> since = number_query(request, "since", 0);
  if (!since) return fail(since.error());
  Result<std::uint64_t> wait = number_query(request, "wait", 0);
  if (!wait) return fail(wait.error());
  auto longest = static_cast<std::uint64_t>(api::kMaxWait.count());
  return PollQuery{*since, std::chrono::milliseconds(std::min(*wait, longest))};
}

Result<content::Digest> digest_param(const http::Request& request) {
  return content::Digest::parse_name(request.param("digest"));
}

Result<content::Reference> reference_query(const http::Request& request) {
  std::string_view text = request.query_value("reference");
  if (text.empty()) return fail(Errc::kInvalid, "the query needs reference=NAME:TAG");
  return content::Reference::parse(text);
}

http::Response answer_of(const Status& status) {
  return status ? http::Response::empty() : http::Response::error(status.error());
}

}  // namespace shoal::tracker
