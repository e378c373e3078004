// What tests of origins share: an environment of their own, files in a folder that goes with the
// test, and a client that reaches loopback only.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "agent/origin/environment.h"
#include "agent/origin/http_client.h"
#include "tests/fakes/scripted_server.h"
#include "tests/fakes/temp_directory.h"

namespace shoal::agent {

struct ReadResult {
  OriginStatus status;
  std::string bytes;
};

inline ReadResult read_from(Origin& origin, const OriginFile& file, ByteRange range) {
  ReadResult result;
  CancelFlag cancel{false};
  result.status = origin.read(
      file, range,
      [&](std::span<const std::byte> bytes) -> Status {
        result.bytes.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
        return {};
      },
      cancel);
  return result;
}

class OriginFixture : public ::testing::Test {
 protected:
  static AllowList allow(std::vector<std::string> entries) { return *AllowList::parse(entries); }
  static HttpClient::Options options() {
    HttpClient::Options options;
    options.connect_timeout = std::chrono::milliseconds(2000);
    options.stall_timeout = std::chrono::seconds(1);
    options.retry.first = std::chrono::milliseconds(1);
    options.retry.longest = std::chrono::milliseconds(5);
    return options;
  }
  std::unique_ptr<HttpClient> client(std::vector<std::string> entries = {"127.0.0.1"}) {
    return std::make_unique<HttpClient>(allow(std::move(entries)), limits_, options());
  }

  void set(const std::string& name, const std::string& value) { (*variables_)[name] = value; }
  Environment environment() const {
    return {[variables = variables_](const std::string& name) {
      auto it = variables->find(name);
      return it == variables->end() ? std::string() : it->second;
    }};
  }
  // The path of a file with that content.
  std::string file(const std::string& name, const std::string& content) {
    std::string path = folder_.path() + "/" + name;
    std::ofstream(path, std::ios::trunc) << content;
    return path;
  }

  OriginLimits limits_{{}};
  CancelFlag cancel_{false};
  fakes::TempDirectory folder_;

 private:
  std::shared_ptr<std::map<std::string, std::string>> variables_ =
      std::make_shared<std::map<std::string, std::string>>();
};

}  // namespace shoal::agent
