// Internal to agent/tracker: a JSON answer of the tracker as a message of the API.
#pragma once

#include "core/api/message.h"
#include "core/base/result.h"
#include "core/http/message.h"

namespace shoal::agent {

// Errors: the tracker's own for a status outside 2xx; corrupt when the body is not a T.
template <typename T>
Result<T> decode_answer(const Result<http::Response>& response) {
  if (!response) return fail(response.error());
  if (!response->ok()) return fail(http::response_error(*response));
  Result<T> message = api::decode<T>(response->body);
  if (!message) return fail(Errc::kCorrupt, "the tracker's answer: " + message.error().message());
  return message;
}

}  // namespace shoal::agent
