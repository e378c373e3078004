#include "core/content/manifest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/base/hex.h"
#include "core/content/piece_hasher.h"

namespace shoal::content {
namespace {

using Json = nlohmann::json;

ModelFile file(std::string_view path, std::string_view content) {
  BlobHasher hasher{BlobLayout(content.size())};
  EXPECT_TRUE(hasher.update(std::as_bytes(std::span(content))));
  BlobHashes hashes = *hasher.finish();
  return {*RelativePath::parse(path), hashes.digest, content.size(), hashes.pieces_root, ""};
}

std::vector<ModelFile> some_files() {
  return {file("model.safetensors", "weights"), file("1_Pooling/config.json", "{}"),
          file("README.md", "# read"), file("empty.txt", "")};
}

ModelDocuments documents() {
  Result<ModelDocuments> made = make_model("org/m", some_files(), "https://host:8000/m");
  EXPECT_TRUE(made) << made.error().str();
  return *made;
}

// What parse() says of the good manifest after `change`.
template <typename Change>
Result<ModelManifest> parse_changed(Change change) {
  Json json = Json::parse(documents().manifest_json);
  change(json);
  return ModelManifest::parse(json.dump());
}

template <typename Change>
void expect_refused(std::string_view because, Change change) {
  Result<ModelManifest> parsed = parse_changed(change);
  ASSERT_FALSE(parsed) << because;
  EXPECT_EQ(parsed.error().code(), Errc::kInvalid);
  EXPECT_NE(parsed.error().message().find(because), std::string::npos) << parsed.error().str();
}

TEST(ModelManifest, ReadsWhatMakeModelWrites) {
  ModelDocuments made = documents();
  Result<ModelManifest> parsed = ModelManifest::parse(made.manifest_json);
  ASSERT_TRUE(parsed) << parsed.error().str();
  EXPECT_EQ(*parsed, made.manifest);
  EXPECT_EQ(parsed->title, "org/m");
  EXPECT_EQ(parsed->origin, "https://host:8000/m");
  EXPECT_EQ(parsed->total_size(), 7u + 2 + 6);
  EXPECT_EQ(made.manifest_digest, digest_of(made.manifest_json));
  EXPECT_EQ(parsed->config.digest, digest_of(made.config_json));
  EXPECT_EQ(parsed->config.size, made.config_json.size());
}

// The exact bytes: a change of them changes the digest of every model published from now on.
TEST(MakeModel, WritesTheseBytes) {
  Result<ModelDocuments> made =
      make_model("t", {file("w.gguf", "abc"), file("e", "")}, std::nullopt);
  ASSERT_TRUE(made);
  const std::string abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  const std::string empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  EXPECT_EQ(made->config_json,
            R"({"descriptor":{"title":"t"},"config":{"format":"gguf"},"modelfs":{"type":"layers",)"
            R"("diffIds":["sha256:)" +
                empty + R"(","sha256:)" + abc + R"("]}})");
  // One leaf: the pieces root is the leaf's hash, which is the digest.
  std::string config_hex = digest_of(made->config_json).hex();
  EXPECT_EQ(
      made->manifest_json,
      R"({"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",)"
      R"("artifactType":"application/vnd.cncf.model.manifest.v1+json",)"
      R"("config":{"mediaType":"application/vnd.cncf.model.config.v1+json","digest":"sha256:)" +
          config_hex + R"(","size":)" + std::to_string(made->config_json.size()) +
          R"(,"annotations":{"dev.shoal.pieces-root":")" + config_hex +
          R"("}},"layers":[)"
          R"({"mediaType":"application/vnd.cncf.model.weight.config.v1.raw","digest":"sha256:)" +
          empty +
          R"(","size":0,"annotations":{"org.cncf.model.filepath":"e"}},)"
          R"({"mediaType":"application/vnd.cncf.model.weight.v1.raw","digest":"sha256:)" +
          abc + R"(","size":3,"annotations":{"dev.shoal.pieces-root":")" + abc +
          R"(","org.cncf.model.filepath":"w.gguf"}}],)"
          R"("annotations":{"org.opencontainers.image.title":"t"}})");
}

TEST(MakeModel, DoesNotDependOnTheOrderOfTheFiles) {
  std::vector<ModelFile> files = some_files();
  std::reverse(files.begin(), files.end());
  Result<ModelDocuments> made = make_model("org/m", files, "https://host:8000/m");
  ASSERT_TRUE(made);
  EXPECT_EQ(made->manifest_json, documents().manifest_json);
}

TEST(MakeModel, ChoosesMediaTypesByName) {
  auto type = [](std::string_view path) { return model_media_type(*RelativePath::parse(path)); };
  EXPECT_EQ(type("a/Model.SafeTensors"), kWeightMediaType);
  EXPECT_EQ(type("pytorch_model.bin"), kWeightMediaType);
  EXPECT_EQ(type("config.json"), kWeightConfigMediaType);
  EXPECT_EQ(type("vocab"), kWeightConfigMediaType);
  EXPECT_EQ(type("LICENSE"), kDocMediaType);
  EXPECT_EQ(type("x.md/tokenizer.model"), kWeightConfigMediaType);
  EXPECT_EQ(type("modeling.py"), kCodeMediaType);
}

TEST(MakeModel, RefusesWhatNoReaderWouldAccept) {
  auto refused = [](Result<ModelDocuments> made) {
    return !made && made.error().code() == Errc::kInvalid;
  };
  EXPECT_TRUE(refused(make_model("t", {}, std::nullopt)));
  EXPECT_TRUE(refused(make_model("t", {file("a", "x"), file("a", "x")}, std::nullopt)));
  EXPECT_TRUE(refused(make_model("t", {file("a", "x"), file("a/b", "y")}, std::nullopt)));
  EXPECT_TRUE(refused(make_model("t\n", some_files(), std::nullopt)));
  EXPECT_TRUE(refused(make_model("\xff", some_files(), std::nullopt)));
  EXPECT_TRUE(refused(make_model(std::string(256, 't'), some_files(), std::nullopt)));
  ModelFile rootless = file("a", "x");
  rootless.pieces_root.reset();
  EXPECT_TRUE(refused(make_model("t", {rootless}, std::nullopt)));
  ModelFile rooted = file("a", "");
  rooted.pieces_root = Hash32{};
  EXPECT_TRUE(refused(make_model("t", {rooted}, std::nullopt)));
  ModelFile large = file("a", "x");
  large.size = kMaxBlobSize + 1;
  EXPECT_TRUE(refused(make_model("t", {large}, std::nullopt)));
  EXPECT_TRUE(refused(
      make_model("t", std::vector<ModelFile>(kMaxModelFiles + 1, file("a", "x")), std::nullopt)));
}

TEST(MakeModel, RefusesOriginsThatAreNoPlainUrlAndDoesNotRepeatThem) {
  for (std::string origin :
       {"", "host/m", "ftp://host/m", "file:///m", "https://", "https:///m",
        "https://user:secret@host/m", "https://host/m?token=secret", "https://host/m#f",
        "https://host/a b", "https://host/\n", "https://host/\xc3\xa9", "https://host/\\"}) {
    Result<ModelDocuments> made = make_model("t", some_files(), origin);
    ASSERT_FALSE(made) << origin;
    EXPECT_EQ(made.error().message().find("secret"), std::string::npos);
  }
  EXPECT_TRUE(make_model("t", some_files(), "http://127.0.0.1:8080"));
  EXPECT_TRUE(make_model("t", some_files(), "https://h/a%20b/@x/"));
}

std::vector<ModelFile> files_being_read() {
  std::vector<ModelFile> files = some_files();
  files[0].digest = ingest_name("https://host/m", "v1", files[0].size);
  files[0].pieces_root.reset();
  files[1].pieces_root.reset();  // its origin tells the digest alone
  return files;
}

TEST(MakeProvisionalModel, WritesWhatIsKnownAndIsReadAsSuch) {
  Result<ModelDocuments> made = make_provisional_model("org/m", files_being_read(), {{"k", "v"}});
  ASSERT_TRUE(made) << made.error().str();
  Result<ModelManifest> parsed = ModelManifest::parse(made->manifest_json);
  ASSERT_TRUE(parsed) << parsed.error().str();
  EXPECT_EQ(*parsed, made->manifest);
  EXPECT_TRUE(parsed->provisional);
  EXPECT_EQ(parsed->annotations, (std::map<std::string, std::string>{{"k", "v"}}));
  EXPECT_EQ(made->config_json, "{}");
  std::size_t names = 0;
  for (const ModelFile& each : parsed->files) names += each.digest.is_ingest() ? 1 : 0;
  EXPECT_EQ(names, 1u);
  EXPECT_FALSE(ModelManifest::parse(documents().manifest_json)->provisional);
}

TEST(MakeProvisionalModel, OnlyThereMayAFileHaveAnIngestName) {
  EXPECT_FALSE(make_model("org/m", files_being_read(), std::nullopt));
  std::vector<ModelFile> rooted = files_being_read();
  rooted[0].pieces_root = some_files()[0].pieces_root;
  rooted[1].pieces_root = some_files()[1].pieces_root;
  Result<ModelDocuments> refused = make_model("org/m", rooted, std::nullopt);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message().find("not known yet"), std::string::npos);
  expect_refused("layer 0",
                 [](Json& json) { json["layers"][0]["digest"] = ingest_name("u", "v", 2).str(); });
  EXPECT_FALSE(parse_changed([](Json& json) {
    json["layers"][0]["digest"] = ingest_name("u", "v", 2).str();
    json["annotations"][std::string(kProvisionalAnnotation)] = "false";
  }));
  EXPECT_FALSE(
      make_model("t", some_files(), std::nullopt, {{std::string(kProvisionalAnnotation), "true"}}));
}

TEST(MakeProvisionalModel, AnEmptyFileIsWhatItIs) {
  std::vector<ModelFile> files = some_files();
  files[3].digest = ingest_name("u", "v", 0);
  EXPECT_FALSE(make_provisional_model("t", files));
  EXPECT_TRUE(make_provisional_model("t", some_files()));
}

TEST(ModelManifest, IgnoresUnknownFieldsAndMissingOptionalOnes) {
  Result<ModelManifest> parsed = parse_changed([](Json& json) {
    json["subject"] = {{"digest", 7}};
    json["layers"][0]["urls"] = {"http://x"};
    json["layers"][0]["annotations"]["other"] = "text";
    json["layers"][0]["annotations"].erase("dev.shoal.pieces-root");
    json.erase("mediaType");
    json.erase("annotations");
  });
  ASSERT_TRUE(parsed) << parsed.error().str();
  EXPECT_EQ(parsed->title, "");
  EXPECT_EQ(parsed->origin, std::nullopt);
  EXPECT_EQ(parsed->files[0].pieces_root, std::nullopt);
}

TEST(ModelManifest, RefusesDocumentsOfAnotherKind) {
  expect_refused("schemaVersion", [](Json& j) { j["schemaVersion"] = 1; });
  expect_refused("schemaVersion", [](Json& j) { j.erase("schemaVersion"); });
  expect_refused("mediaType", [](Json& j) { j["mediaType"] = "text/plain"; });
  expect_refused("not a model", [](Json& j) { j.erase("artifactType"); });
  expect_refused("not a model", [](Json& j) { j["artifactType"] = 3; });
  expect_refused("config", [](Json& j) { j.erase("config"); });
  expect_refused("config", [](Json& j) { j["config"]["mediaType"] = "x"; });
  expect_refused("layers", [](Json& j) { j["layers"] = Json::object(); });
  expect_refused("at least one file", [](Json& j) { j["layers"] = Json::array(); });
  expect_refused("JSON object", [](Json& j) { j = Json::array(); });
}

TEST(ModelManifest, RefusesBadLayersAndSaysWhich) {
  expect_refused("layer 1", [](Json& j) { j["layers"][1] = 5; });
  expect_refused("digest", [](Json& j) { j["layers"][1]["digest"] = "sha256:00"; });
  expect_refused("digest", [](Json& j) { j["layers"][1].erase("digest"); });
  expect_refused("size", [](Json& j) { j["layers"][1]["size"] = -1; });
  expect_refused("size", [](Json& j) { j["layers"][1]["size"] = 1.0; });
  expect_refused("size", [](Json& j) { j["layers"][1]["size"] = "1"; });
  expect_refused("limit", [](Json& j) { j["layers"][1]["size"] = kMaxBlobSize + 1; });
  expect_refused("size 0", [](Json& j) { j["layers"][1]["size"] = 0; });
  expect_refused("mediaType", [](Json& j) { j["layers"][1].erase("mediaType"); });
  expect_refused("archive", [](Json& j) {
    j["layers"][1]["mediaType"] = "application/vnd.cncf.model.weight.v1.tar+gzip";
  });
  expect_refused("filepath", [](Json& j) { j["layers"][1].erase("annotations"); });
  auto annotate = [](std::string_view key, std::string_view value) {
    return [=](Json& j) { j["layers"][1]["annotations"][std::string(key)] = value; };
  };
  expect_refused("'..'", annotate(kFilepathAnnotation, "../../etc/cron.d/x"));
  expect_refused("control", annotate(kFilepathAnnotation, "a\nb"));
  expect_refused("twice", annotate(kFilepathAnnotation, "model.safetensors"));
  expect_refused("directory", annotate(kFilepathAnnotation, "model.safetensors/x"));
  expect_refused("pieces root", annotate(kPiecesRootAnnotation, "00"));
  expect_refused("too long", annotate("key", std::string(kMaxAnnotationLength + 1, 'x')));
  expect_refused("not text", [](Json& j) { j["layers"][1]["annotations"]["x"] = 1; });
  expect_refused("annotations", [](Json& j) { j["layers"][1]["annotations"] = Json::array(); });
  expect_refused("empty file", [](Json& j) {
    for (Json& layer : j["layers"]) {
      if (layer["size"] == 0) layer["annotations"]["dev.shoal.pieces-root"] = std::string(64, '0');
    }
  });
  expect_refused("one digest", [](Json& j) {
    Json copy = j["layers"][0];
    copy["annotations"]["org.cncf.model.filepath"] = "other";
    copy["size"] = copy["size"].get<std::uint64_t>() + 1;
    j["layers"].push_back(copy);
  });
}

TEST(ModelManifest, RefusesBadAnnotationsOfTheWhole) {
  expect_refused("title", [](Json& j) { j["annotations"][kTitleAnnotation] = "a\x1b[2J"; });
  expect_refused("origin", [](Json& j) { j["annotations"][kOriginAnnotation] = "file:///etc"; });
}

TEST(ModelManifest, ChecksItsLimitsFirst) {
  expect_refused("layers",
                 [](Json& j) { j["layers"] = Json(std::vector<int>(kMaxModelFiles + 1, 0)); });
  expect_refused("256 annotations", [](Json& j) {
    for (int i = 0; i < 300; ++i) j["annotations"][std::to_string(i)] = "";
  });
  std::string deep = std::string(100'000, '[') + std::string(100'000, ']');
  EXPECT_NE(ModelManifest::parse(deep).error().message().find("deep"), std::string::npos);
  std::string many = "[";
  while (many.size() < kMaxManifestSize - 10) many += "{},";
  many += "{}]";
  EXPECT_NE(ModelManifest::parse(many).error().message().find("too many"), std::string::npos);
  std::string large(kMaxManifestSize + 1, ' ');
  EXPECT_NE(ModelManifest::parse(large).error().message().find("4 MiB"), std::string::npos);
}

TEST(ModelManifest, TakesTheLargestModelThatCanBeMade) {
  std::vector<ModelFile> files;
  for (std::size_t i = 0; i < kMaxModelFiles; ++i) {
    files.push_back(file("shard-" + std::to_string(i), "x"));
  }
  Result<ModelDocuments> made = make_model("large", files, std::nullopt);
  ASSERT_TRUE(made) << made.error().str();
  Result<ModelManifest> parsed = ModelManifest::parse(made->manifest_json);
  ASSERT_TRUE(parsed) << parsed.error().str();
  EXPECT_EQ(*parsed, made->manifest);
}

TEST(ModelManifest, CutAnywhereIsRefused) {
  std::string json = documents().manifest_json;
  for (std::size_t length = 0; length < json.size(); ++length) {
    Result<ModelManifest> parsed = ModelManifest::parse(std::string_view(json).substr(0, length));
    ASSERT_FALSE(parsed) << length;
    EXPECT_EQ(parsed.error().code(), Errc::kInvalid);
  }
}

}  // namespace
}  // namespace shoal::content
