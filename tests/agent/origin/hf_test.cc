#include <gtest/gtest.h>

#include "agent/origin/hf_listing.h"
#include "agent/origin/hf_origin.h"
#include "tests/agent/origin/origin_fixture.h"

namespace shoal::agent {
namespace {

using fakes::http_answer;
using fakes::ScriptedServer;

const std::string kCommit = "0123456789abcdef0123456789abcdef01234567";
const std::string kSha(64, 'a');

TEST(HfUrl, IsARepositoryARevisionAndAPath) {
  auto place = parse_hf_url("hf://org/repo");
  ASSERT_TRUE(place);
  EXPECT_EQ(*place, (HfPlace{"models", "org/repo", "main", ""}));
  EXPECT_EQ(*parse_hf_url("hf://org/repo@v1.0/sub/a%20b.bin"),
            (HfPlace{"models", "org/repo", "v1.0", "sub/a b.bin"}));
  EXPECT_EQ(*parse_hf_url("hf://datasets/org/data@refs%2Fpr%2F1"),
            (HfPlace{"datasets", "org/data", "refs/pr/1", ""}));
  EXPECT_EQ(*parse_hf_url("hf://gpt2@main/config.json"),
            (HfPlace{"models", "gpt2", "main", "config.json"}));
  for (const HfPlace& one : {HfPlace{"models", "org/repo", "refs/pr/1", "a b"},
                             HfPlace{"datasets", "o/d", "main", ""}}) {
    EXPECT_EQ(*parse_hf_url(one.str()), one) << one.str();
  }
  for (const char* bad : {"hf://", "hf://org/", "hf:///repo", "hf://../repo", "hf://org/re po",
                          "hf://org/repo@", "hf://org/repo?x=1", "hf://org/repo#x",
                          "https://huggingface.co/org/repo", "hf://org/repo@a%0ab"}) {
    EXPECT_FALSE(parse_hf_url(bad)) << bad;
  }
}

TEST(HfUrl, TheHubsOwnAddresses) {
  HfPlace place{"models", "org/repo", "refs/pr/1", ""};
  EXPECT_EQ(hf_revision_url("https://h", place),
            "https://h/api/models/org/repo/revision/refs%2Fpr%2F1");
  EXPECT_EQ(hf_tree_url("https://h", place),
            "https://h/api/models/org/repo/tree/refs%2Fpr%2F1?recursive=true");
  place.path = "a b/c";
  EXPECT_EQ(hf_file_url("https://h", place), "https://h/org/repo/resolve/refs%2Fpr%2F1/a%20b/c");
  place.type = "datasets";
  EXPECT_EQ(hf_file_url("https://h", place),
            "https://h/datasets/org/repo/resolve/refs%2Fpr%2F1/a%20b/c");
}

TEST(HfTree, HasFilesAndWhatLfsSaysOfThem) {
  auto files = parse_hf_tree(
      R"([{"type":"directory","path":"sub","oid":"x"},)"
      R"({"type":"file","path":"config.json","size":5,"oid":"1234"},)"
      R"({"type":"file","path":"m.safetensors","size":1,"oid":"5678","lfs":{"oid":")" +
      kSha + R"(","size":100,"pointerSize":134}}])");
  ASSERT_TRUE(files) << files.error().str();
  ASSERT_EQ(files->size(), 2u);
  EXPECT_EQ((*files)[0].size, 5u);
  EXPECT_EQ((*files)[0].oid, "1234");
  EXPECT_FALSE((*files)[0].digest);
  EXPECT_EQ((*files)[1].size, 100u) << "of the file, not of its pointer";
  EXPECT_EQ((*files)[1].digest->hex(), kSha);
}

TEST(HfTree, RefusesWhatIsNone) {
  for (const std::string& bad :
       {std::string(""), std::string("{}"), std::string("[1]"), std::string(R"([{"type":"file"}])"),
        std::string(R"([{"type":"file","path":"a","size":-1}])"),
        std::string(R"([{"type":"file","path":"a","size":1,"lfs":{"oid":"zz","size":1}}])"),
        std::string(100'000, '[')}) {
    EXPECT_FALSE(parse_hf_tree(bad)) << bad.substr(0, 60);
  }
  EXPECT_FALSE(parse_hf_revision("{}"));
  EXPECT_FALSE(parse_hf_revision(R"({"sha":"main"})"));
  EXPECT_EQ(*parse_hf_revision(R"({"sha":")" + kCommit + R"("})"), kCommit);
}

TEST(HfLink, TheNextPageIsTheOneCalledNext) {
  EXPECT_EQ(next_link(R"(<https://h/a?cursor=1>; rel="next")"), "https://h/a?cursor=1");
  EXPECT_EQ(next_link(R"(<https://h/p>; rel="prev", <https://h/n>; rel=next)"), "https://h/n");
  EXPECT_EQ(next_link(R"(<https://h/p>; rel="prev")"), "");
  EXPECT_EQ(next_link(""), "");
  EXPECT_EQ(next_link("<https://h"), "");
}

class HfOriginTest : public OriginFixture {
 protected:
  std::unique_ptr<HfOrigin> origin(const ScriptedServer& server) {
    return std::make_unique<HfOrigin>(server.url(""), environment(), client());
  }
  std::string file_url(const std::string& path) { return "hf://org/repo@" + kCommit + "/" + path; }
};

TEST_F(HfOriginTest, ListsTheFilesOfTheCommitThatABranchIsAt) {
  set("HF_TOKEN", "hf_secret");
  std::string authority;
  ScriptedServer server([&](const std::string& head) {
    EXPECT_NE(head.find("Authorization: Bearer hf_secret"), std::string::npos);
    if (head.starts_with("GET /api/models/org/repo/revision/main ")) {
      return ScriptedServer::Answer{http_answer("200 OK", "", R"({"sha":")" + kCommit + R"("})")};
    }
    EXPECT_TRUE(head.starts_with("GET /api/models/org/repo/tree/" + kCommit)) << head;
    if (head.find("cursor=2") == std::string::npos) {
      return ScriptedServer::Answer{
          http_answer("200 OK",
                      "Link: <" + authority + "/api/models/org/repo/tree/" + kCommit +
                          "?recursive=true&cursor=2>; rel=\"next\"\r\n",
                      R"([{"type":"file","path":"z.txt","size":1,"oid":"o1"}])")};
    }
    return ScriptedServer::Answer{http_answer(
        "200 OK", "",
        R"([{"type":"file","path":"m.safetensors","size":1,"oid":"p","lfs":{"oid":")" + kSha +
            R"(","size":9}},{"type":"file","path":".gitattributes","size":3,"oid":"o2"}])")};
  });
  authority = server.url("");
  OriginListing listing;
  OriginQuery query{"hf://org/repo", {}, {".git*"}, ""};
  OriginStatus status = origin(server)->list(query, listing, cancel_);
  ASSERT_TRUE(status.status) << status.status.error().str();
  EXPECT_EQ(listing.source, "hf://org/repo@" + kCommit);
  EXPECT_EQ(listing.annotations.at("org.opencontainers.image.revision"), kCommit);
  ASSERT_EQ(listing.files.size(), 2u);
  EXPECT_EQ(listing.files[0].path.str(), "m.safetensors");
  EXPECT_EQ(listing.files[0].file, (OriginFile{file_url("m.safetensors"), 9, kSha}));
  EXPECT_EQ(listing.files[0].digest->hex(), kSha);
  EXPECT_EQ(listing.files[1].file.version, "o1");
}

TEST_F(HfOriginTest, ReadsThroughARedirectWithoutGivingTheTokenAway) {
  set("HF_TOKEN", "hf_secret");
  ScriptedServer cdn([](const std::string& head) {
    EXPECT_EQ(head.find("hf_secret"), std::string::npos);
    EXPECT_NE(head.find("Range: bytes=2-5"), std::string::npos);
    return ScriptedServer::Answer{http_answer(
        "206 Partial Content", "ETag: \"of-the-cdn\"\r\nContent-Range: bytes 2-5/10\r\n", "2345")};
  });
  std::string linked = "\"" + kSha + "\"";
  ScriptedServer server([&](const std::string& head) {
    EXPECT_TRUE(head.starts_with("GET /org/repo/resolve/" + kCommit + "/m.safetensors ")) << head;
    return ScriptedServer::Answer{http_answer(
        "302 Found",
        "Location: " + cdn.url("/x?signature=abc") + "\r\nX-Linked-Etag: " + linked + "\r\n", "")};
  });
  auto hf = origin(server);
  ReadResult read = read_from(*hf, {file_url("m.safetensors"), 10, kSha}, {2, 4});
  ASSERT_TRUE(read.status.status) << read.status.status.error().str();
  EXPECT_EQ(read.bytes, "2345");
  linked = "\"" + std::string(64, 'b') + "\"";
  ReadResult changed = read_from(*hf, {file_url("m.safetensors"), 10, kSha}, {2, 4});
  ASSERT_FALSE(changed.status.status);
  EXPECT_EQ(changed.status.status.error().code(), Errc::kConflict);
  EXPECT_EQ(changed.bytes, "");
}

TEST_F(HfOriginTest, ExplainsWhyARepositoryCannotBeRead) {
  struct Case {
    const char* status;
    const char* code;
    const char* token;
    Errc expected;
    const char* advice;
  };
  for (const Case& one :
       {Case{"403 Forbidden", "GatedRepo", "t", Errc::kDenied, "accept its conditions at http"},
        Case{"401 Unauthorized", "GatedRepo", "", Errc::kDenied, "HF_TOKEN"},
        Case{"401 Unauthorized", "RepoNotFound", "", Errc::kDenied, "no HF_TOKEN"},
        Case{"404 Not Found", "RepoNotFound", "t", Errc::kNotFound, "may not see it"},
        Case{"404 Not Found", "RevisionNotFound", "t", Errc::kNotFound, "no revision 'main'"},
        Case{"403 Forbidden", "", "t", Errc::kDenied, "no right"}}) {
    set("HF_TOKEN", one.token);
    ScriptedServer server([&](const std::string&) {
      std::string header =
          *one.code ? "X-Error-Code: " + std::string(one.code) + "\r\n" : std::string();
      return ScriptedServer::Answer{http_answer(one.status, header, "{}")};
    });
    OriginListing listing;
    OriginStatus status = origin(server)->list({"hf://org/repo", {}, {}, ""}, listing, cancel_);
    ASSERT_FALSE(status.status) << one.code;
    EXPECT_EQ(status.status.error().code(), one.expected) << one.code;
    EXPECT_NE(status.status.error().message().find(one.advice), std::string::npos)
        << status.status.error().message();
  }
}

TEST_F(HfOriginTest, ANextPageElsewhereIsRefused) {
  set("HF_TOKEN", "hf_secret");
  ScriptedServer other([](const std::string&) { return ScriptedServer::Answer{"", true, false}; });
  ScriptedServer server([&](const std::string& head) {
    if (head.find("/revision/") != std::string::npos) {
      return ScriptedServer::Answer{http_answer("200 OK", "", R"({"sha":")" + kCommit + R"("})")};
    }
    return ScriptedServer::Answer{
        http_answer("200 OK", "Link: <" + other.url("/x") + ">; rel=\"next\"\r\n", "[]")};
  });
  OriginListing listing;
  OriginStatus status = origin(server)->list({"hf://org/repo", {}, {}, ""}, listing, cancel_);
  ASSERT_FALSE(status.status);
  EXPECT_EQ(status.status.error().code(), Errc::kDenied);
  EXPECT_EQ(other.connections(), 0);
}

TEST_F(HfOriginTest, TheTokenMayBeInAFile) {
  set("HF_TOKEN_PATH", file("token", "  hf_from_file\n"));
  bool seen = false;
  ScriptedServer server([&](const std::string& head) {
    seen = head.find("Bearer hf_from_file\r\n") != std::string::npos;
    return ScriptedServer::Answer{http_answer("404 Not Found", "", "")};
  });
  OriginListing listing;
  EXPECT_FALSE(origin(server)->list({"hf://org/repo", {}, {}, ""}, listing, cancel_).status);
  EXPECT_TRUE(seen);
}

}  // namespace
}  // namespace shoal::agent
