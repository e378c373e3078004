#include "tracker/catalogue/catalogue.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <set>

#include "core/base/hex.h"
#include "core/base/unique_fd.h"
#include "tests/tracker/catalogue_fixture.h"
#include "tracker/catalogue/database.h"

namespace shoal::tracker {
namespace {

TEST_F(CatalogueTest, GivesBackAManifestByteForByteAfterReopening) {
  put_model(model_);
  put_model(model_);  // again: no change, no error
  open();
  auto stored = catalogue_->manifest(model_.digest());
  ASSERT_TRUE(stored) << stored.error().str();
  EXPECT_EQ(stored->bytes, model_.manifest());
  EXPECT_EQ(stored->media_type, kType);

  auto blobs = catalogue_->manifest_blobs(model_.digest());
  ASSERT_TRUE(blobs);
  EXPECT_EQ(blobs->files, 2u);
  EXPECT_EQ(blobs->blobs.size(), 3u);  // and the config
  EXPECT_EQ(blobs->bytes_total(), 300'002u + model_.documents.config_json.size());
  EXPECT_EQ(blobs->manifest_size, model_.manifest().size());
  EXPECT_EQ(*catalogue_->manifests(), std::vector{model_.digest()});
}

TEST_F(CatalogueTest, CountsABlobThatTwoFilesShareOnce) {
  TestModel twins = make_test_model("t", {{"x", "same"}, {"y", "same"}});
  put_model(twins);
  auto blobs = catalogue_->manifest_blobs(twins.digest());
  ASSERT_TRUE(blobs);
  EXPECT_EQ(blobs->files, 2u);
  EXPECT_EQ(blobs->bytes_total(), 4u + twins.documents.config_json.size());
}

TEST_F(CatalogueTest, RefusesAManifestThatIsNotWhatItsDigestSays) {
  std::string changed(model_.manifest());
  changed.back() = ' ';
  auto status = catalogue_->put_manifest(model_.digest(), kType, changed, kNow);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), Errc::kCorrupt);

  for (std::string_view garbage : {"", "{}", "[1]", "\xff\xfe", "{\"schemaVersion\":2}"}) {
    status = catalogue_->put_manifest(content::digest_of(garbage), kType, garbage, kNow);
    ASSERT_FALSE(status) << garbage;
    EXPECT_EQ(status.error().code(), Errc::kInvalid) << garbage;
  }
  EXPECT_EQ(catalogue_->manifest(model_.digest()).error().code(), Errc::kNotFound);
  EXPECT_TRUE(catalogue_->manifests()->empty());
}

TEST_F(CatalogueTest, TakesATableOnlyForItsOwnBlob) {
  const content::PieceTable& table = model_.tables[0];
  std::string bytes = bytes_of(table);
  EXPECT_EQ(catalogue_->table(table.digest()).error().code(), Errc::kNotFound);
  ASSERT_TRUE(catalogue_->put_table(table.digest(), bytes, kNow));
  ASSERT_TRUE(catalogue_->put_table(table.digest(), bytes, kNow));
  open();
  EXPECT_EQ(*catalogue_->table(table.digest()), bytes);

  EXPECT_EQ(catalogue_->put_table(model_.tables[1].digest(), bytes, kNow).error().code(),
            Errc::kCorrupt);
  for (std::size_t length = 0; length < bytes.size(); length += 7) {
    EXPECT_EQ(catalogue_->put_table(table.digest(), bytes.substr(0, length), kNow).error().code(),
              Errc::kCorrupt);
  }
  bytes.back() ^= 1;
  EXPECT_EQ(catalogue_->put_table(table.digest(), bytes, kNow).error().code(), Errc::kCorrupt);

  // A consistent table that claims the same blob but other bytes: the first one stays.
  content::BlobHasher hasher{content::BlobLayout(300'000)};
  std::string other(300'000, 'z');
  ASSERT_TRUE(hasher.update(std::as_bytes(std::span(other))));
  auto hashes = *hasher.finish();
  hashes.digest = table.digest();
  auto status =
      catalogue_->put_table(table.digest(), bytes_of(content::PieceTable::make(hashes)), kNow);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), Errc::kConflict);
}

TEST_F(CatalogueTest, MovesATagAndRemembersWhenItWasMade) {
  TestModel second = make_test_model("m", {{"a", "2"}});
  put_model(model_);
  put_model(second);
  auto put = catalogue_->put_reference(tag("llama:v1"), model_.digest(), kNow);
  ASSERT_TRUE(put) << put.error().str();
  EXPECT_EQ(put->record.reference, "llama:v1");
  EXPECT_FALSE(put->orphan);
  ASSERT_TRUE(catalogue_->put_reference(tag("llama:also"), model_.digest(), kNow));
  EXPECT_FALSE(catalogue_->put_reference(tag("llama:v1"), second.digest(), kNow + 5)->orphan);
  EXPECT_EQ(catalogue_->put_reference(tag("llama:also"), second.digest(), kNow)->orphan,
            model_.digest());
  open();
  auto record = catalogue_->reference(tag("llama:v1"));
  ASSERT_TRUE(record);
  EXPECT_EQ(record->manifest, second.digest());
  EXPECT_EQ(record->created_unix_ms, kNow);
  EXPECT_EQ(record->updated_unix_ms, kNow + 5);
  EXPECT_EQ(catalogue_->resolve(tag("llama:v1"))->manifest, second.digest());
  EXPECT_EQ(catalogue_->resolve(tag("llama@" + model_.digest().str()))->manifest, model_.digest());
}

TEST_F(CatalogueTest, NamesOnlyManifestsThatItHas) {
  auto record = catalogue_->put_reference(tag("llama:v1"), model_.digest(), kNow);
  ASSERT_FALSE(record);
  EXPECT_EQ(record.error().code(), Errc::kNotFound);
  EXPECT_EQ(catalogue_->reference(tag("llama:v1")).error().code(), Errc::kNotFound);
  EXPECT_EQ(catalogue_->resolve(tag("llama:v1")).error().code(), Errc::kNotFound);
  put_model(model_);
  record = catalogue_->put_reference(tag("llama@" + model_.digest().str()), model_.digest(), kNow);
  ASSERT_FALSE(record);
  EXPECT_EQ(record.error().code(), Errc::kInvalid);
}

TEST_F(CatalogueTest, ListsReferencesInPagesWithoutLossOrRepetition) {
  put_model(model_);
  std::vector<std::string> all = {"a:1", "a:2", "a/b:1", "a-x:latest", "b:0", "b:1", "b:2"};
  for (const std::string& name : all) {
    ASSERT_TRUE(catalogue_->put_reference(tag(name), model_.digest(), kNow)) << name;
  }
  for (std::size_t limit = 1; limit <= all.size() + 1; ++limit) {
    std::vector<std::string> seen;
    std::string after;
    do {
      auto page = catalogue_->references(after, limit);
      ASSERT_TRUE(page);
      EXPECT_LE(page->references.size(), limit);
      for (const auto& record : page->references) seen.push_back(record.reference);
      after = page->next;
    } while (!after.empty());
    EXPECT_EQ(seen.size(), all.size());
    EXPECT_EQ(std::set(seen.begin(), seen.end()), std::set(all.begin(), all.end()));
  }
}

TEST_F(CatalogueTest, ForgetsAManifestADayAfterItsLastReference) {
  TestModel other = make_test_model("o", {{"b.json", "{}"}, {"c", "c"}});  // shares b.json
  put_model(model_);
  put_model(other);
  for (const auto& table : model_.tables) {
    ASSERT_TRUE(catalogue_->put_table(table.digest(), bytes_of(table), kNow));
    ASSERT_TRUE(catalogue_->put_statement(table.digest(), {"gpu-1", "signed"}));
    ASSERT_TRUE(catalogue_->put_origins(table.digest(), {{{.kind = "http", .url = "http://x/"}}}));
  }
  ASSERT_TRUE(catalogue_->put_reference(tag("m:1"), model_.digest(), kNow));
  ASSERT_TRUE(catalogue_->put_reference(tag("m:2"), model_.digest(), kNow));
  ASSERT_TRUE(catalogue_->put_reference(tag("o:1"), other.digest(), kNow));

  EXPECT_FALSE(catalogue_->remove_reference(tag("m:1"), kNow)->was_last);
  EXPECT_TRUE(catalogue_->remove_reference(tag("m:2"), kNow)->was_last);
  EXPECT_EQ(catalogue_->remove_reference(tag("m:2"), kNow).error().code(), Errc::kNotFound);

  const std::int64_t day = Catalogue::kKeepUnreferencedMs;
  EXPECT_TRUE(catalogue_->collect(kNow + day - 1, 0)->empty());
  EXPECT_TRUE(catalogue_->manifest(model_.digest()));
  EXPECT_EQ(*catalogue_->collect(kNow + day, 0), std::vector{model_.digest()});
  EXPECT_EQ(catalogue_->manifest(model_.digest()).error().code(), Errc::kNotFound);
  const content::Digest& own = model_.tables[0].digest();
  const content::Digest& shared = model_.tables[1].digest();
  EXPECT_EQ(catalogue_->table(own).error().code(), Errc::kNotFound);
  EXPECT_TRUE(catalogue_->origins(own)->origins.empty());
  EXPECT_TRUE(catalogue_->statements(own)->statements.empty());
  EXPECT_TRUE(catalogue_->table(shared));
  EXPECT_EQ(catalogue_->origins(shared)->origins.size(), 1u);
  EXPECT_EQ(catalogue_->statements(shared)->statements.size(), 1u);
}

TEST_F(CatalogueTest, KeepsAnUnnamedManifestThatAPrefetchIsRunningFor) {
  put_model(model_);
  StoredPrefetch prefetch{.id = "1",
                          .manifest = model_.digest(),
                          .request = {.reference = "m:1"},
                          .created_unix_ms = kNow};
  ASSERT_TRUE(catalogue_->put_prefetch(prefetch));
  const std::int64_t late = kNow + 2 * Catalogue::kKeepUnreferencedMs;
  EXPECT_TRUE(catalogue_->collect(late, 0)->empty());
  prefetch.ended_unix_ms = kNow + 1;
  ASSERT_TRUE(catalogue_->put_prefetch(prefetch));
  EXPECT_EQ(catalogue_->collect(late, 0)->size(), 1u);
  EXPECT_EQ(catalogue_->prefetches()->size(), 1u);
  ASSERT_TRUE(catalogue_->collect(late, kNow + 2));
  EXPECT_TRUE(catalogue_->prefetches()->empty());
}

TEST_F(CatalogueTest, MergesOriginsByKindAndUrl) {
  content::Digest blob = content::digest_of("blob");
  api::Origin http{.kind = "http", .url = "http://models.example/a", .etag = "\"1\"", .size = 5};
  api::Origin dir{.kind = "dir",
                  .url = "file:///models/a",
                  .mtime_ns = -7,
                  .nodes = {"gpu-1"},
                  .labels = {{"pool", "x"}}};
  ASSERT_TRUE(catalogue_->put_origins(blob, {{http}}));
  http.etag = "\"2\"";
  ASSERT_TRUE(catalogue_->put_origins(blob, {{http, dir}}));
  open();
  EXPECT_EQ(*catalogue_->origins(blob), (api::Origins{{dir, http}}));
  EXPECT_EQ(*catalogue_->blobs_with_origins(), std::vector{blob});

  api::Origins many;
  for (std::size_t i = 0; i < api::kMaxOrigins; ++i) {
    many.origins.push_back({.kind = "http", .url = "http://x/" + std::to_string(i)});
  }
  EXPECT_EQ(catalogue_->put_origins(blob, many).error().code(), Errc::kInvalid);
  EXPECT_EQ(catalogue_->origins(blob)->origins.size(), 2u);  // nothing of it was taken
}

TEST_F(CatalogueTest, KeepsOneStatementPerNode) {
  content::Digest blob = content::digest_of("blob");
  ASSERT_TRUE(catalogue_->put_statement(blob, {"gpu-1", "old"}));
  ASSERT_TRUE(catalogue_->put_statement(blob, {"gpu-1", "new"}));
  for (std::size_t i = 1; i < api::kMaxStatements; ++i) {
    ASSERT_TRUE(catalogue_->put_statement(blob, {"other-" + std::to_string(i), "x"}));
  }
  EXPECT_EQ(catalogue_->put_statement(blob, {"one-more", "x"}).error().code(), Errc::kConflict);
  EXPECT_TRUE(catalogue_->put_statement(blob, {"gpu-1", "newest"}));
  auto all = catalogue_->statements(blob);
  ASSERT_EQ(all->statements.size(), api::kMaxStatements);
  EXPECT_EQ(all->statements[0], (api::Statement{"gpu-1", "newest"}));
}

TEST_F(CatalogueTest, AWithdrawnTableAndItsStatementsAreGoneForGood) {
  const content::PieceTable& table = model_.tables[0];
  const content::PieceTable& other = model_.tables[1];
  for (const content::PieceTable* one : {&table, &other}) {
    ASSERT_TRUE(catalogue_->put_table(one->digest(), bytes_of(*one), kNow));
    ASSERT_TRUE(catalogue_->put_statement(one->digest(), {"gpu-1", "signed"}));
  }
  const api::Withdrawal withdrawal{table.digest(), to_hex(*table.pieces_root()), "gpu-1"};
  ASSERT_TRUE(catalogue_->withdraw(withdrawal, "gpu-2, gpu-3", kNow));
  ASSERT_TRUE(catalogue_->withdraw(withdrawal, "gpu-4, gpu-5", kNow + 1));
  catalogue_.reset();
  open();
  EXPECT_EQ(*catalogue_->withdrawals(), std::vector{withdrawal});
  EXPECT_EQ(catalogue_->table(table.digest()).error().code(), Errc::kNotFound);
  EXPECT_TRUE(catalogue_->statements(table.digest())->statements.empty());
  EXPECT_EQ(catalogue_->put_table(table.digest(), bytes_of(table), kNow).error().code(),
            Errc::kConflict);
  EXPECT_TRUE(catalogue_->table(other.digest()));
  EXPECT_EQ(catalogue_->statements(other.digest())->statements.size(), 1u);
}

TEST_F(CatalogueTest, KeepsPrefetchesAcrossARestart) {
  StoredPrefetch prefetch{
      .id = "0123456789abcdef",
      .manifest = model_.digest(),
      .request = {.reference = "m:1",
                  .nodes = {.all = false, .ids = {}, .labels = {{"rack", "r1"}}},
                  .pin = true,
                  .timeout = std::chrono::milliseconds(5000)},
      .created_unix_ms = kNow};
  ASSERT_TRUE(catalogue_->put_prefetch(prefetch));
  open();
  ASSERT_EQ(*catalogue_->prefetches(), std::vector{prefetch});
  prefetch.state = api::PrefetchState::kTimedOut;
  prefetch.ended_unix_ms = kNow + 9;
  ASSERT_TRUE(catalogue_->put_prefetch(prefetch));
  open();
  EXPECT_EQ(*catalogue_->prefetches(), std::vector{prefetch});
}

TEST_F(CatalogueTest, RefusesASecondTrackerOnTheSameFolder) {
  auto second = Catalogue::open(folder_.path());
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code(), Errc::kConflict);
  EXPECT_NE(second.error().message().find("in use by another process"), std::string::npos)
      << second.error().message();
}

TEST_F(CatalogueTest, RefusesWhatANewerVersionMade) {
  catalogue_.reset();
  {
    auto database = Database::open(file());
    ASSERT_TRUE(database);
    ASSERT_TRUE((*database)->run("PRAGMA user_version=2"));
  }
  auto opened = Catalogue::open(folder_.path());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Errc::kConflict);
  EXPECT_NE(opened.error().message().find("newer tracker"), std::string::npos);
}

TEST_F(CatalogueTest, RefusesADatabaseOfAnotherProgram) {
  catalogue_.reset();
  std::filesystem::remove(file());
  {
    auto database = Database::open(file());
    ASSERT_TRUE(database);
    ASSERT_TRUE((*database)->run("CREATE TABLE theirs (x)"));
  }
  auto opened = Catalogue::open(folder_.path());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Errc::kConflict);
}

TEST_F(CatalogueTest, SaysWhatToDoWithADamagedFile) {
  put_model(model_);
  catalogue_.reset();
  { std::ofstream(file(), std::ios::binary | std::ios::trunc) << std::string(40'000, 'x'); }
  auto opened = Catalogue::open(folder_.path());
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code(), Errc::kInternal);
  EXPECT_NE(opened.error().message().find("move the file away"), std::string::npos);
}

TEST_F(CatalogueTest, ReportsDamageFoundWhileReading) {
  std::string big(2'000'000, 'a');
  TestModel model = make_test_model("big", {{"a", big}});
  put_model(model);
  std::vector<content::Digest> blobs;
  for (int i = 0; i < 40; ++i) {
    TestModel more = make_test_model("n" + std::to_string(i), {{"a", std::to_string(i)}});
    put_model(more);
    blobs.push_back(more.digest());
  }
  catalogue_.reset();  // the log is written back
  std::uintmax_t size = std::filesystem::file_size(file());
  {
    std::fstream out(file(), std::ios::binary | std::ios::in | std::ios::out);
    for (std::uintmax_t page = 1; page < size / 16384; ++page) {
      out.seekp(static_cast<std::streamoff>(page * 16384));
      out << std::string(16384, '\xee');
    }
  }
  auto opened = Catalogue::open(folder_.path());
  ASSERT_TRUE(opened) << opened.error().str();
  auto manifest = (*opened)->manifest(model.digest());
  ASSERT_FALSE(manifest);
  EXPECT_EQ(manifest.error().code(), Errc::kInternal) << manifest.error().str();
  EXPECT_NE(manifest.error().message().find("is damaged"), std::string::npos);
}

TEST_F(CatalogueTest, ChangesNothingWhenTheDiskIsFull) {
  put_model(model_);
  ASSERT_TRUE(catalogue_->put_reference(tag("m:1"), model_.digest(), kNow));
  ASSERT_TRUE(catalogue_->limit_size(std::filesystem::file_size(file()) + 16384));
  Status status;
  int taken = 0;
  for (; taken < 1000 && status; ++taken) {
    std::vector<TestFile> files;
    for (int i = 0; i < 50; ++i) files.push_back({"f" + std::to_string(i), std::to_string(taken)});
    TestModel model = make_test_model("full", files);
    status = catalogue_->put_manifest(model.digest(), kType, model.manifest(), kNow);
  }
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), Errc::kNoSpace) << status.error().str();
  EXPECT_EQ(catalogue_->manifests()->size(), static_cast<std::size_t>(taken));  // none in part
  EXPECT_TRUE(catalogue_->reference(tag("m:1")));
  ASSERT_TRUE(catalogue_->limit_size(1ull << 30));
  TestModel model = make_test_model("fits", {{"a", "a"}});
  EXPECT_TRUE(catalogue_->put_manifest(model.digest(), kType, model.manifest(), kNow));
}

// A writer that is killed without warning, at a different moment each time: what it had reported as
// done is there, whole, and the database opens.
TEST_F(CatalogueTest, KeepsWhatWasAcknowledgedWhenItsWriterIsKilled) {
  catalogue_.reset();
  int next = 0;
  for (int round = 0; round < 5; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto catalogue = Catalogue::open(folder_.path());
      if (!catalogue) ::_exit(1);
      for (int i = next;; ++i) {
        TestModel model = make_test_model("k", {{"a", std::to_string(i)}});
        if (!(*catalogue)->put_manifest(model.digest(), kType, model.manifest(), kNow) ||
            !(*catalogue)->put_reference(tag("k:" + std::to_string(i)), model.digest(), kNow)) {
          ::_exit(2);
        }
        if (::write(ends[1], &i, sizeof i) != sizeof i) ::_exit(3);
      }
    }
    UniqueFd reader(ends[0]);
    ::close(ends[1]);
    int last = -1;
    for (int n = 0; n < 3 + 4 * round; ++n) {
      ASSERT_EQ(::read(reader.get(), &last, sizeof last), static_cast<ssize_t>(sizeof last));
    }
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status));
    int more = 0;
    while (::read(reader.get(), &more, sizeof more) == static_cast<ssize_t>(sizeof more))
      last = more;

    open();
    for (int i = 0; i <= last; ++i) {
      auto resolved = catalogue_->resolve(tag("k:" + std::to_string(i)));
      ASSERT_TRUE(resolved) << i << ": " << resolved.error().str();
      auto manifest = catalogue_->manifest(resolved->manifest);
      ASSERT_TRUE(manifest);
      EXPECT_EQ(content::digest_of(manifest->bytes), resolved->manifest);
    }
    catalogue_.reset();
    next = last + 1;
  }
}

}  // namespace
}  // namespace shoal::tracker
