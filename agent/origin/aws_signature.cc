#include "agent/origin/aws_signature.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <map>
#include <vector>

#include "agent/origin/text.h"
#include "core/base/check.h"
#include "core/base/hex.h"
#include "core/content/digest.h"

namespace shoal::agent {
namespace {

std::string hex_hash(std::string_view text) { return content::digest_of(text).hex(); }

// "20130524T000000Z"
std::string amz_date(std::chrono::system_clock::time_point now) {
  std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  struct tm parts {};
  ::gmtime_r(&seconds, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ", &parts);
  return text.data();
}

// Names and values are encoded already: what is left is their order, and "=" after a bare name.
std::string canonical_query(std::string_view query) {
  std::vector<std::string> parts;
  while (!query.empty()) {
    auto end = query.find('&');
    std::string part(query.substr(0, end));
    query = end == std::string_view::npos ? std::string_view() : query.substr(end + 1);
    if (part.empty()) continue;
    if (part.find('=') == std::string::npos) part += '=';
    parts.push_back(std::move(part));
  }
  std::sort(parts.begin(), parts.end(), [](const std::string& a, const std::string& b) {
    auto name_of = [](const std::string& part) { return part.substr(0, part.find('=')); };
    return std::pair(name_of(a), a) < std::pair(name_of(b), b);
  });
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : "&") + part;
  return out;
}

}  // namespace

HeaderList sign_aws_request(std::string_view method, const std::string& url, std::string_view body,
                            const AwsCredentials& credentials, const AwsScope& scope,
                            std::chrono::system_clock::time_point now,
                            const HeaderList& also_signed) {
  std::optional<HttpPlace> place = http_place(url);
  SHOAL_CHECK(place.has_value(), "a URL to sign is not one");
  const bool usual_port = place->port == (place->scheme == "https" ? 443 : 80);
  std::string host =
      place->host.find(':') == std::string::npos ? place->host : "[" + place->host + "]";
  if (!usual_port) host += ":" + std::to_string(place->port);
  auto path_start = url.find('/', url.find("//") + 2);
  std::string target = path_start == std::string::npos ? "/" : url.substr(path_start);
  auto question = target.find('?');
  const std::string path = target.substr(0, question);
  const std::string query = question == std::string::npos ? "" : target.substr(question + 1);

  const std::string date = amz_date(now);
  const std::string body_hash = hex_hash(body);
  HeaderList added{{"x-amz-content-sha256", body_hash}, {"x-amz-date", date}};
  if (!credentials.session_token.empty()) {
    added.emplace_back("x-amz-security-token", credentials.session_token);
  }
  std::map<std::string, std::string> headers{{"host", host}};
  for (const auto& [name, value] : added) headers[name] = value;
  for (const auto& [name, value] : also_signed) headers[lower(name)] = std::string(trim(value));
  std::string canonical_headers;
  std::string names;
  for (const auto& [name, value] : headers) {
    canonical_headers += name + ":" + value + "\n";
    names += (names.empty() ? "" : ";") + name;
  }
  const std::string canonical = std::string(method) + "\n" + path + "\n" + canonical_query(query) +
                                "\n" + canonical_headers + "\n" + names + "\n" + body_hash;
  const std::string day = date.substr(0, 8);
  const std::string where = day + "/" + scope.region + "/" + scope.service + "/aws4_request";
  const std::string to_sign =
      "AWS4-HMAC-SHA256\n" + date + "\n" + where + "\n" + hex_hash(canonical);
  std::string key = "AWS4" + credentials.secret_key;
  for (const std::string& part : {day, scope.region, scope.service, std::string("aws4_request")}) {
    const content::Hash32 next = content::hmac_sha256(key, part);
    key.assign(reinterpret_cast<const char*>(next.data()), next.size());
  }
  const std::string signature = to_hex(content::hmac_sha256(key, to_sign));
  added.emplace_back("Authorization", "AWS4-HMAC-SHA256 Credential=" + credentials.access_key +
                                          "/" + where + ", SignedHeaders=" + names +
                                          ", Signature=" + signature);
  return added;
}

}  // namespace shoal::agent
