#include "core/http/message.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>

namespace shoal::http {

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [&](char x, char y) { return lower(x) == lower(y); });
}

std::optional<std::string_view> Headers::get(std::string_view name) const {
  for (const Field& field : fields_) {
    if (equal_ignoring_case(field.first, name)) return field.second;
  }
  return std::nullopt;
}

std::string_view Headers::value(std::string_view name) const { return get(name).value_or(""); }

void Headers::set(std::string_view name, std::string value) {
  remove(name);
  add(std::string(name), std::move(value));
}

void Headers::add(std::string name, std::string value) {
  fields_.emplace_back(std::move(name), std::move(value));
}

void Headers::remove(std::string_view name) {
  std::erase_if(fields_, [&](const Field& f) { return equal_ignoring_case(f.first, name); });
}

std::string_view Request::query_value(std::string_view name) const {
  const auto found = query.find(name);
  return found == query.end() ? std::string_view() : found->second;
}

std::string_view Request::param(std::string_view name) const {
  const auto found = params.find(name);
  return found == params.end() ? std::string_view() : found->second;
}

std::string Request::target() const {
  return (raw_path.empty() ? percent_encode_path(path) : raw_path) +
         (raw_query.empty() ? format_query(query) : "?" + raw_query);
}

Request Request::get(std::string path, Query query) {
  Request request;
  request.path = std::move(path);
  request.query = std::move(query);
  return request;
}

Request Request::post_json(std::string path, std::string json) {
  Request request;
  request.method = "POST";
  request.path = std::move(path);
  request.headers.set("Content-Type", "application/json");
  request.body = std::move(json);
  return request;
}

namespace {

Response with_body(std::string body, std::string_view type, int status) {
  Response response;
  response.status = status;
  response.headers.set("Content-Type", std::string(type));
  response.body = std::move(body);
  return response;
}

constexpr std::chrono::milliseconds kDefaultRetryAfter{1000};

}  // namespace

Response Response::json(std::string text, int status) {
  return with_body(std::move(text), "application/json", status);
}

Response Response::text(std::string text, int status) {
  return with_body(std::move(text), "text/plain; charset=utf-8", status);
}

Response Response::empty(int status) {
  Response response;
  response.status = status;
  return response;
}

Response Response::error(const Error& error, std::optional<std::chrono::milliseconds> retry_after) {
  Response response = json(error_body(error), status_of(error.code()));
  if (!retry_after && error.code() == Errc::kOverloaded) retry_after = kDefaultRetryAfter;
  if (retry_after) {
    const std::int64_t ms = std::max<std::int64_t>(retry_after->count(), 0);
    response.headers.set("Retry-After", std::to_string((ms + 999) / 1000));
    response.headers.set(kRetryAfterMsHeader, std::to_string(ms));
  }
  return response;
}

int status_of(Errc code) {
  switch (code) {
    case Errc::kNotFound:
      return 404;
    case Errc::kTimedOut:
      return 504;
    case Errc::kOverloaded:
      return 503;
    case Errc::kUnavailable:
      return 502;
    case Errc::kCorrupt:
      return 422;
    case Errc::kInvalid:
      return 400;
    case Errc::kDenied:
      return 403;
    case Errc::kConflict:
      return 409;
    case Errc::kNoSpace:
      return 507;
    case Errc::kCancelled:
      return 503;
    case Errc::kInternal:
      return 500;
  }
  return 500;
}

Errc errc_of_status(int status) {
  switch (status) {
    case 401:
    case 403:
    case 407:
      return Errc::kDenied;
    case 404:
    case 410:
      return Errc::kNotFound;
    case 408:
    case 504:
      return Errc::kTimedOut;
    case 409:
    case 412:
      return Errc::kConflict;
    case 422:
      return Errc::kCorrupt;
    case 425:
    case 429:
    case 503:
      return Errc::kOverloaded;
    case 507:
      return Errc::kNoSpace;
    default:
      break;
  }
  if (status >= 400 && status < 500) return Errc::kInvalid;
  if (status >= 500 && status < 600) return Errc::kUnavailable;
  return Errc::kInternal;
}

std::string_view reason_phrase(int status) {
  switch (status) {
    case 100:
      return "Continue";
    case 200:
      return "OK";
    case 201:
      return "Created";
    case 202:
      return "Accepted";
    case 204:
      return "No Content";
    case 206:
      return "Partial Content";
    case 301:
      return "Moved Permanently";
    case 302:
      return "Found";
    case 304:
      return "Not Modified";
    case 307:
      return "Temporary Redirect";
    case 400:
      return "Bad Request";
    case 401:
      return "Unauthorized";
    case 403:
      return "Forbidden";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 408:
      return "Request Timeout";
    case 409:
      return "Conflict";
    case 410:
      return "Gone";
    case 412:
      return "Precondition Failed";
    case 413:
      return "Content Too Large";
    case 416:
      return "Range Not Satisfiable";
    case 417:
      return "Expectation Failed";
    case 422:
      return "Unprocessable Content";
    case 429:
      return "Too Many Requests";
    case 431:
      return "Request Header Fields Too Large";
    case 500:
      return "Internal Server Error";
    case 501:
      return "Not Implemented";
    case 502:
      return "Bad Gateway";
    case 503:
      return "Service Unavailable";
    case 504:
      return "Gateway Timeout";
    case 505:
      return "HTTP Version Not Supported";
    case 507:
      return "Insufficient Storage";
    default:
      return "Unknown";
  }
}

std::string error_body(const Error& error) {
  const nlohmann::json body = {
      {"error", {{"code", errc_name(error.code())}, {"message", error.message()}}}};
  // Messages may quote foreign bytes that are not UTF-8.
  return body.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Error response_error(const Response& response) {
  const nlohmann::json body = nlohmann::json::parse(response.body, nullptr, false);
  if (body.is_object()) {
    const auto error = body.find("error");
    if (error != body.end() && error->is_object()) {
      const auto code = error->find("code");
      const auto message = error->find("message");
      if (code != error->end() && code->is_string() && message != error->end() &&
          message->is_string()) {
        return Error(errc_from_name(code->get<std::string>()), message->get<std::string>());
      }
    }
  }
  return Error(errc_of_status(response.status), "HTTP status " + std::to_string(response.status) +
                                                    " " +
                                                    std::string(reason_phrase(response.status)));
}

std::optional<std::chrono::milliseconds> retry_after(const Headers& headers) {
  const auto number = [&](std::string_view name) -> std::optional<std::int64_t> {
    const std::string_view text = headers.value(name);
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    // A day is more than anybody waits; it also keeps the seconds below from overflowing.
    if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < 0 ||
        value > 86'400'000) {
      return std::nullopt;
    }
    return value;
  };
  if (const auto ms = number(kRetryAfterMsHeader)) return std::chrono::milliseconds(*ms);
  if (const auto seconds = number("Retry-After")) return std::chrono::seconds(*seconds);
  return std::nullopt;
}

}  // namespace shoal::http
