#include "core/http/url.h"

#include <charconv>
#include <optional>
#include <utility>

#include "core/base/percent.h"

namespace shoal::http {

namespace {

constexpr std::size_t kMaxHost = 253;

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alnum(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_visible(char c) { return c > 0x20 && c < 0x7f; }

int hex_value(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// Names and IPv4 addresses, or with `v6` the inside of brackets.
bool valid_host(std::string_view host, bool v6) {
  if (host.empty() || host.size() > kMaxHost) return false;
  for (char c : host) {
    const bool allowed = v6 ? hex_value(c) >= 0 || c == ':' || c == '.'
                            : is_alnum(c) || c == '-' || c == '.' || c == '_';
    if (!allowed) return false;
  }
  return !v6 || host.find(':') != std::string_view::npos;
}

Result<std::uint16_t> parse_port(std::string_view text) {
  unsigned port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (text.empty() || !is_digit(text[0]) || error != std::errc() ||
      end != text.data() + text.size() || port > 65535) {
    return fail(Errc::kInvalid, "port is not a number from 0 to 65535");
  }
  return static_cast<std::uint16_t>(port);
}

// The port is optional when `default_port` is given.
Result<HostPort> parse_authority(std::string_view text, const std::uint16_t* default_port) {
  HostPort result;
  std::string_view rest;
  if (text.starts_with('[')) {
    const std::size_t close = text.find(']');
    if (close == std::string_view::npos) return fail(Errc::kInvalid, "']' is missing");
    result.host = text.substr(1, close - 1);
    if (!valid_host(result.host, true)) return fail(Errc::kInvalid, "not an IPv6 address");
    rest = text.substr(close + 1);
  } else {
    const std::size_t colon = text.find(':');
    result.host = text.substr(0, colon);
    if (!valid_host(result.host, false)) return fail(Errc::kInvalid, "not a host name or address");
    rest = colon == std::string_view::npos ? std::string_view() : text.substr(colon);
  }
  if (rest.empty() && default_port != nullptr) {
    result.port = *default_port;
    return result;
  }
  if (!rest.starts_with(':')) return fail(Errc::kInvalid, "':port' is missing");
  Result<std::uint16_t> port = parse_port(rest.substr(1));
  if (!port) return fail(port.error());
  result.port = *port;
  return result;
}

// A unix address has 108 bytes, the closing NUL included.
bool valid_unix_path(std::string_view path) {
  return path.size() >= 2 && path.size() < 108 && path[0] == '/' &&
         path.find('\0') == std::string_view::npos;
}

}  // namespace

std::string HostPort::str() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Result<HostPort> parse_host_port(std::string_view text) {
  Result<HostPort> result = parse_authority(text, nullptr);
  if (!result) return fail(result.error().with_context("address '" + std::string(text) + "'"));
  return result;
}

std::string Endpoint::str() const { return is_unix() ? "unix:" + unix_path : tcp.str(); }

Result<Endpoint> parse_endpoint(std::string_view text) {
  Endpoint endpoint;
  if (text.starts_with("unix:") || text.starts_with('/')) {
    const std::string_view path = text.starts_with('/') ? text : text.substr(5);
    if (!valid_unix_path(path)) {
      return fail(Errc::kInvalid, "unix socket needs an absolute path of 2 to 107 bytes");
    }
    endpoint.unix_path = path;
    return endpoint;
  }
  Result<HostPort> tcp = parse_host_port(text);
  if (!tcp) return fail(tcp.error());
  endpoint.tcp = std::move(*tcp);
  return endpoint;
}

std::string Url::str() const {
  switch (scheme) {
    case Scheme::kHttp:
      return "http://" + endpoint.tcp.str() + target;
    case Scheme::kHttps:
      return "https://" + endpoint.tcp.str() + target;
    case Scheme::kUnix:
      return endpoint.str();
  }
  return {};
}

Result<Url> parse_url(std::string_view text) {
  if (text.size() > kMaxUrl) return fail(Errc::kInvalid, "URL is too long");
  Url url;
  url.target = "/";
  if (text.starts_with("unix:")) {
    Result<Endpoint> endpoint = parse_endpoint(text);
    if (!endpoint) return fail(endpoint.error());
    url.scheme = Url::Scheme::kUnix;
    url.endpoint = std::move(*endpoint);
    return url;
  }
  std::uint16_t default_port = 80;
  if (text.starts_with("http://")) {
    text.remove_prefix(7);
  } else if (text.starts_with("https://")) {
    text.remove_prefix(8);
    url.scheme = Url::Scheme::kHttps;
    default_port = 443;
  } else {
    return fail(Errc::kInvalid, "URL must begin with http://, https:// or unix:/");
  }
  for (char c : text) {
    if (!is_visible(c)) return fail(Errc::kInvalid, "URL holds a space or unprintable character");
    if (c == '#') return fail(Errc::kInvalid, "URL must not have a fragment");
  }
  const std::size_t path = text.find_first_of("/?");
  const std::string_view authority = text.substr(0, path);
  if (authority.find('@') != std::string_view::npos) {
    return fail(Errc::kInvalid, "URL must not carry a user name or password");
  }
  Result<HostPort> tcp = parse_authority(authority, &default_port);
  if (!tcp) return fail(tcp.error().with_context("URL"));
  url.endpoint.tcp = std::move(*tcp);
  if (path != std::string_view::npos) {
    url.target = text.substr(path);
    if (url.target.front() == '?') url.target.insert(0, "/");
  }
  return url;
}

Result<std::string> percent_decode(std::string_view text) {
  std::optional<std::string> out = shoal::percent_decode(text);
  if (!out) return fail(Errc::kInvalid, "'%' without two hex digits");
  if (out->find('\0') != std::string::npos) return fail(Errc::kInvalid, "NUL");
  return *std::move(out);
}

std::string percent_encode(std::string_view text) { return shoal::percent_encode(text); }
std::string percent_encode_path(std::string_view text) { return shoal::percent_encode(text, "/:"); }

Result<Query> parse_query(std::string_view text) {
  Query query;
  while (!text.empty()) {
    const std::size_t end = text.find('&');
    std::string pair(text.substr(0, end));
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
    if (pair.empty()) continue;
    for (char& c : pair) {
      if (c == '+') c = ' ';
    }
    const std::size_t equals = pair.find('=');
    Result<std::string> key = percent_decode(std::string_view(pair).substr(0, equals));
    if (!key) return fail(key.error());
    Result<std::string> value =
        percent_decode(equals == std::string::npos ? std::string_view()
                                                   : std::string_view(pair).substr(equals + 1));
    if (!value) return fail(value.error());
    if (!query.emplace(std::move(*key), std::move(*value)).second) {
      return fail(Errc::kInvalid, "query names a key twice");
    }
  }
  return query;
}

std::string format_query(const Query& query) {
  std::string out;
  for (const auto& [key, value] : query) {
    out += out.empty() ? '?' : '&';
    out += percent_encode(key);
    out += '=';
    out += percent_encode(value);
  }
  return out;
}

}  // namespace shoal::http
