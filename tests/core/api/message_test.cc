#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <typeinfo>

#include "core/api/catalogue.h"
#include "core/api/ingest.h"
#include "core/api/lease.h"
#include "core/api/node.h"
#include "core/api/operate.h"
#include "core/api/paths.h"
#include "tests/core/api/samples.h"

namespace shoal::api {
namespace {

TEST(ApiMessages, ComeBackAsTheyWereSent) {
  samples::for_each([](const auto& message) {
    using Message = std::decay_t<decltype(message)>;
    Result<Message> decoded = decode<Message>(encode(message));
    ASSERT_TRUE(decoded) << typeid(Message).name() << " " << decoded.error().str();
    EXPECT_EQ(*decoded, message) << encode(message);
  });
}

TEST(ApiMessages, CutAnywhereAreInvalid) {
  samples::for_each([](const auto& message) {
    using Message = std::decay_t<decltype(message)>;
    std::string text = encode(message);
    for (std::size_t length = 0; length < text.size(); ++length) {
      Result<Message> decoded = decode<Message>(std::string_view(text).substr(0, length));
      ASSERT_FALSE(decoded) << text.substr(0, length);
      EXPECT_EQ(decoded.error().code(), Errc::kInvalid);
    }
  });
}

TEST(ApiMessages, IgnoreFieldsOfNewerVersions) {
  samples::for_each([](const auto& message) {
    using Message = std::decay_t<decltype(message)>;
    std::string text = encode(message);
    text.insert(1, R"("from_the_future":{"a":[1,{"b":null}]},)");
    Result<Message> decoded = decode<Message>(text);
    ASSERT_TRUE(decoded) << decoded.error().str();
    EXPECT_EQ(*decoded, message);
  });
}

TEST(ApiMessages, RefuseOtherJsonThanAnObject) {
  samples::for_each([](const auto& message) {
    using Message = std::decay_t<decltype(message)>;
    for (const char* text : {"[]", "1", "\"x\"", "null", "true", "[{}]"}) {
      EXPECT_FALSE(decode<Message>(text)) << text;
    }
  });
}

// Each value within each message, replaced by each kind of wrong one: an answer, never a crash, and
// what is accepted comes back unchanged.
TEST(ApiMessages, SurviveEveryValueReplacedByAWrongOne) {
  using Json = nlohmann::json;
  const Json wrong[] = {nullptr,
                        -1,
                        1.5,
                        1e99,
                        true,
                        "",
                        "x",
                        Json::array(),
                        Json::object(),
                        Json::array({nullptr}),
                        {{"code", 1}},
                        std::uint64_t{0} - 1};
  samples::for_each([&](const auto& message) {
    using Message = std::decay_t<decltype(message)>;
    const Json whole = Json::parse(encode(message));
    std::set<std::string> places;
    const Json flat = whole.flatten();
    for (const auto& [leaf, value] : flat.items()) {
      for (Json::json_pointer at(leaf); !at.empty(); at = at.parent_pointer()) {
        places.insert(at.to_string());
      }
    }
    ASSERT_FALSE(places.empty());
    for (const std::string& place : places) {
      for (const Json& value : wrong) {
        Json changed = whole;
        changed[Json::json_pointer(place)] = value;
        Result<Message> decoded = decode<Message>(changed.dump());
        if (!decoded) {
          EXPECT_EQ(decoded.error().code(), Errc::kInvalid);
          continue;
        }
        Result<Message> again = decode<Message>(encode(*decoded));
        ASSERT_TRUE(again) << changed.dump();
        EXPECT_EQ(*again, *decoded) << changed.dump();
      }
    }
  });
}

TEST(ApiMessages, NameTheFieldThatIsWrong) {
  auto error = [](std::string_view body) {
    Result<HeartbeatRequest> decoded = decode<HeartbeatRequest>(body);
    return decoded ? "accepted" : decoded.error().message();
  };
  EXPECT_EQ(error("{"), "the body is not JSON");
  EXPECT_EQ(error("[]"), "the body must be an object");
  EXPECT_EQ(error("{}"), "epoch is required");
  EXPECT_EQ(error(R"({"epoch":null})"), "epoch is required");
  EXPECT_EQ(error(R"({"epoch":""})"), "epoch must not be empty");
  EXPECT_EQ(error(R"({"epoch":"XY","seq":1})"), "epoch must be lower-case hexadecimal digits");
  EXPECT_EQ(error(R"({"epoch":"a","seq":-1})"),
            "seq must be a whole number from 0 to 18446744073709551615");
  EXPECT_EQ(error(R"({"epoch":"a","seq":1.5})"),
            "seq must be a whole number from 0 to 18446744073709551615");
  EXPECT_EQ(error(R"({"epoch":"a","seq":1,"full":1})"), "full must be true or false");
  EXPECT_EQ(error(R"({"epoch":"a","seq":1,"blobs":{}})"), "blobs must be an array");
  EXPECT_EQ(error(R"({"epoch":"a","seq":1,"blobs":[{"size":1}]})"), "blobs[0].digest is required");
  EXPECT_EQ(error(R"({"epoch":"a","seq":1,"removed":["sha256:AB"]})"),
            "removed[0] must be sha256: and 64 lower-case hexadecimal digits");
  EXPECT_EQ(error(R"({"epoch":"a","seq":1,"peers":[{"node":"n","epoch":"1","fault":"rude"}]})"),
            "peers[0].fault must be one of unreachable, bad_bytes");
  EXPECT_EQ(error(R"({"epoch":"a","seq":1,"store":{"used":"1"}})"),
            "store.used must be a whole number from 0 to 18446744073709551615");
}

TEST(ApiMessages, RefuseWhatExceedsALimit) {
  HeartbeatRequest heartbeat;
  heartbeat.epoch = "1";
  heartbeat.removed.assign(kMaxBlobReports, samples::digest("b"));
  EXPECT_TRUE(decode<HeartbeatRequest>(encode(heartbeat)));
  heartbeat.removed.push_back(samples::digest("b"));
  EXPECT_FALSE(decode<HeartbeatRequest>(encode(heartbeat)));

  RegisterRequest request = samples::register_request();
  request.topology.zone = std::string(kMaxName, 'z');
  EXPECT_TRUE(decode<RegisterRequest>(encode(request)));
  request.topology.zone += 'z';
  EXPECT_FALSE(decode<RegisterRequest>(encode(request)));

  request = samples::register_request();
  request.labels.clear();
  for (std::size_t i = 0; i < kMaxLabels; ++i) request.labels[std::to_string(i)] = "x";
  EXPECT_TRUE(decode<RegisterRequest>(encode(request)));
  request.labels["one more"] = "x";
  EXPECT_FALSE(decode<RegisterRequest>(encode(request)));

  LeaseRequest leases = samples::lease_request();
  leases.asks.assign(kMaxLeaseAsks + 1, leases.asks[0]);
  EXPECT_FALSE(decode<LeaseRequest>(encode(leases)));

  for (content::PieceRange pieces :
       {samples::pieces(0, 0), samples::pieces(content::kMaxPieces, 1),
        samples::pieces(1, content::kMaxPieces), samples::pieces(0xffffffff, 0xffffffff)}) {
    leases = samples::lease_request();
    leases.progress[0].pieces = {pieces};
    EXPECT_FALSE(decode<LeaseRequest>(encode(leases))) << encode(leases);
  }

  PrefetchRequest prefetch{.reference = std::string(kMaxReference + 1, 'r')};
  EXPECT_FALSE(decode<PrefetchRequest>(encode(prefetch)));
  prefetch = {.reference = "a:b"};
  prefetch.timeout = kMaxTimeout + std::chrono::milliseconds(1);
  EXPECT_FALSE(decode<PrefetchRequest>(encode(prefetch)));
}

TEST(ApiMessages, RefuseDeepNestingBeforeParsingIt) {
  std::string deep(100'000, '[');
  Result<VersionInfo> decoded = decode<VersionInfo>(deep);
  ASSERT_FALSE(decoded);
  EXPECT_NE(decoded.error().message().find("nests deeper"), std::string::npos);
  // Brackets within text do not count.
  EXPECT_TRUE(decode<VersionInfo>(R"({"program":"[[[[[[[[[[[[[[[[[[[[\"[["})"));
}

TEST(ApiMessages, ShortenSentencesInsteadOfRefusingThem) {
  HeartbeatRequest heartbeat = samples::heartbeat_request();
  heartbeat.pulls[0].waiting_for = std::string(kMaxText - 1, 'a') + "é and more";
  heartbeat.pulls[0].error = Error(Errc::kCorrupt, std::string(3 * kMaxText, 'e'));
  Result<HeartbeatRequest> decoded = decode<HeartbeatRequest>(encode(heartbeat));
  ASSERT_TRUE(decoded) << decoded.error().str();
  // Not within the two bytes of the é.
  EXPECT_EQ(decoded->pulls[0].waiting_for, std::string(kMaxText - 1, 'a'));
  EXPECT_EQ(decoded->pulls[0].error->message(), std::string(kMaxText, 'e'));

  std::string long_text = R"({"epoch":"1","seq":1,"peers":[{"node":"n","epoch":"1","text":")" +
                          std::string(2 * kMaxText, 'x') + "\"}]}";
  decoded = decode<HeartbeatRequest>(long_text);
  ASSERT_TRUE(decoded) << decoded.error().str();
  EXPECT_EQ(decoded->peers[0].text.size(), kMaxText);
}

TEST(ApiMessages, ReplaceBytesThatAreNotUtf8) {
  HeartbeatRequest heartbeat = samples::heartbeat_request();
  heartbeat.pulls[0].waiting_for = "peer said \xff\xfe";
  Result<HeartbeatRequest> decoded = decode<HeartbeatRequest>(encode(heartbeat));
  ASSERT_TRUE(decoded) << decoded.error().str();
  EXPECT_EQ(decoded->pulls[0].waiting_for, "peer said \xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_FALSE(decode<VersionInfo>("{\"program\":\"\xff\"}"));
}

TEST(ApiMessages, SelectNodesInThreeForms) {
  auto nodes = [](std::string_view text) {
    return decode<PrefetchRequest>(R"({"reference":"a:b","nodes":)" + std::string(text) + "}");
  };
  EXPECT_TRUE(nodes(R"("all")")->nodes.all);
  EXPECT_TRUE(decode<PrefetchRequest>(R"({"reference":"a:b"})")->nodes.all);
  EXPECT_EQ(nodes(R"(["a","b"])")->nodes,
            (NodeSelector{.all = false, .ids = {"a", "b"}, .labels = {}}));
  EXPECT_EQ(nodes(R"({"rack":"r1"})")->nodes,
            (NodeSelector{.all = false, .ids = {}, .labels = {{"rack", "r1"}}}));
  for (const char* bad : {R"("some")", "[]", "{}", "1", R"(["../x"])", R"([1])", R"({"a":1})"}) {
    EXPECT_FALSE(nodes(bad)) << bad;
  }
  PrefetchRequest labels{.reference = "a:b",
                         .nodes = {.all = false, .ids = {}, .labels = {{"rack", "r1"}}}};
  EXPECT_EQ(*decode<PrefetchRequest>(encode(labels)), labels);
}

TEST(ApiMessages, AnIngestThatEndedSaysHow) {
  auto error = [](std::string_view fields) {
    auto decoded = decode<IngestUpdate>(R"({"reference":"a:b","node":"n","epoch":"1")" +
                                        std::string(fields) + "}");
    return decoded ? "accepted" : decoded.error().message();
  };
  const std::string settled_as = R"("settled_as":")" + samples::digest("m").str() + '"';
  EXPECT_EQ(error(R"(,"state":"running")"), "accepted");
  EXPECT_EQ(error(R"(,"state":"settled",)" + settled_as), "accepted");
  EXPECT_EQ(error(R"(,"state":"failed","error":{"code":"unavailable","message":"x"})"), "accepted");
  EXPECT_EQ(error(""), "state is required");
  EXPECT_EQ(error(R"(,"state":"done")"), "state must be one of running, settled, failed");
  EXPECT_EQ(error(R"(,"state":"settled")"), "settled_as is required when state is settled");
  EXPECT_EQ(error(R"(,"state":"failed",)" + settled_as), "error is required when state is failed");
  EXPECT_EQ(error(R"(,"state":"failed","error":"x")"),
            "error must be an object with code and message");
  EXPECT_NE(error(R"(,"state":"running","settled_as":"sha256:AB")"), "accepted");
  EXPECT_EQ(decode<IngestUpdate>(R"({"reference":"a:b","epoch":"1","state":"running"})")
                .error()
                .message(),
            "node is required");
  EXPECT_EQ(
      decode<IngestUpdate>(R"({"reference":"a:b","node":"n","state":"running"})").error().message(),
      "epoch is required");

  IngestList list;
  list.ingests.assign(kMaxIngests, samples::ingest_status());
  EXPECT_TRUE(decode<IngestList>(encode(list)));
  list.ingests.push_back(samples::ingest_status());
  EXPECT_FALSE(decode<IngestList>(encode(list)));
}

TEST(ApiLimits, NodeIdsAreWhatACertificateCanName) {
  for (const char* good : {"a", "gpu-17", "gpu_17.rack-3.example", "A1", "0"}) {
    EXPECT_TRUE(valid_node_id(good)) << good;
  }
  for (const char* bad : {"", ".a", "-a", "a/b", "a b", "a\n", "ä", "..", "a%2f"}) {
    EXPECT_FALSE(valid_node_id(bad)) << bad;
  }
  EXPECT_TRUE(valid_node_id(std::string(kMaxNodeId, 'a')));
  EXPECT_FALSE(valid_node_id(std::string(kMaxNodeId + 1, 'a')));
}

TEST(ApiLimits, AddressesHaveHostAndPort) {
  for (const char* good : {"a:1", "10.0.0.1:65535", "[::1]:6970", "gpu-1.example:80"}) {
    EXPECT_TRUE(valid_address(good)) << good;
  }
  for (const char* bad : {"", "a", "a:", "a:0", "a:65536", "a:1x", ":1", "::1:1", "[]:1", "[x]:1",
                          "a b:1", "http://a:1", "a:+1", "a:-1"}) {
    EXPECT_FALSE(valid_address(bad)) << bad;
  }
  EXPECT_TRUE(valid_address(":6970", true));
  EXPECT_FALSE(valid_address(":", true));
}

TEST(ApiPaths, AreThoseOfTheReference) {
  content::Digest digest = samples::digest("x");
  EXPECT_EQ(paths::node_heartbeat("gpu-1"), "/v1/nodes/gpu-1/heartbeat");
  EXPECT_EQ(paths::statement(digest, "gpu-1"), "/v1/statements/" + digest.str() + "/gpu-1");
  EXPECT_EQ(paths::prefetch("7"), "/v1/prefetch/7");
  EXPECT_EQ(paths::ingest(digest), "/v1/ingests/" + digest.str());
  EXPECT_EQ(paths::events_query("e", 3, std::chrono::milliseconds(20)),
            (paths::Query{{"epoch", "e"}, {"since", "3"}, {"wait", "20"}}));
}

}  // namespace
}  // namespace shoal::api
