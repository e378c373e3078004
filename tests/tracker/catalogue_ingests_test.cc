// What the catalogue keeps of ingests.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/tracker/catalogue_fixture.h"
#include "tracker/catalogue/database.h"

namespace shoal::tracker {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

const std::vector<TestFile> kFiles = {{"a.safetensors", std::string(300'000, 'a')},
                                      {"b.json", "{}"}};
constexpr std::int64_t kDay = Catalogue::kKeepUnreferencedMs;

class CatalogueIngestsTest : public CatalogueTest {
 protected:
  void SetUp() override {
    CatalogueTest::SetUp();
    put_model(unread_);
  }

  Result<Catalogue::IngestChange> begin(const TestModel& model, const std::string& node = "gpu-1",
                                        const std::string& epoch = "aa",
                                        const std::string& absent = "",
                                        const std::string& reference = "m:1",
                                        std::int64_t now = kNow) {
    return catalogue_->begin_ingest(tag(reference), model.digest(), {node, epoch}, absent, now);
  }
  content::Digest meant(const std::string& reference = "m:1") {
    auto blobs = catalogue_->resolve(tag(reference));
    return blobs ? blobs->manifest : content::Digest();
  }
  StoredIngest only() {
    auto all = catalogue_->ingests();
    EXPECT_TRUE(all) << all.error().str();
    EXPECT_EQ(all->size(), 1u);
    return all->at(0);
  }

  const TestModel unread_ = make_unread_model("m", kFiles);
  const TestModel newer_ = make_unread_model("m2", kFiles);
};

TEST_F(CatalogueIngestsTest, AnIngestNameIsNotTheDigestWithTheSameBytes) {
  const content::Digest name = unread_.documents.manifest.files[0].digest;
  ASSERT_TRUE(name.is_ingest());
  const content::Digest twin(name.bytes());
  const api::Origins of_name{{{.kind = "http", .url = "http://x/name"}}};
  const api::Origins of_twin{{{.kind = "http", .url = "http://x/twin"}}};
  ASSERT_TRUE(catalogue_->put_origins(name, of_name));
  ASSERT_TRUE(catalogue_->put_origins(twin, of_twin));
  open();
  EXPECT_EQ(*catalogue_->origins(name), of_name);
  EXPECT_EQ(*catalogue_->origins(twin), of_twin);
  EXPECT_THAT(*catalogue_->blobs_with_origins(), UnorderedElementsAre(name, twin));
  auto blobs = catalogue_->manifest_blobs(unread_.digest());
  ASSERT_TRUE(blobs) << blobs.error().str();
  std::size_t names = 0;
  for (const BlobEntry& blob : blobs->blobs) names += blob.digest.is_ingest() ? 1 : 0;
  EXPECT_EQ(names, 2u);
  EXPECT_EQ(blobs->bytes_total(), 300'002u + 2u);  // and the config
}

TEST_F(CatalogueIngestsTest, TheReferenceMeansTheProvisionalManifestAlsoAfterARestart) {
  auto begun = begin(unread_);
  ASSERT_TRUE(begun) << begun.error().str();
  EXPECT_EQ(begun->ingest, (StoredIngest{.manifest = unread_.digest(),
                                         .reference = "m:1",
                                         .node = "gpu-1",
                                         .epoch = "aa",
                                         .created_unix_ms = kNow,
                                         .updated_unix_ms = kNow}));
  open();
  EXPECT_EQ(only(), begun->ingest);
  EXPECT_EQ(meant(), unread_.digest());
  EXPECT_EQ(meant("m:2"), content::Digest());
  EXPECT_EQ(catalogue_->reference(tag("m:1")).error().code(), Errc::kNotFound);
  // It has a name: it stays, however long that takes.
  EXPECT_THAT(*catalogue_->collect(kNow + 10 * kDay, 0), IsEmpty());
}

TEST_F(CatalogueIngestsTest, BeginsOnlyWhatIsProvisionalAndThere) {
  EXPECT_EQ(begin(newer_).error().code(), Errc::kNotFound);
  put_model(model_);
  auto refused = begin(model_);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::kInvalid);
  EXPECT_THAT(refused.error().message(), HasSubstr("is not provisional"));
  refused = begin(unread_, "gpu-1", "aa", "", "m@" + unread_.digest().str());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), Errc::kInvalid);
  auto named = catalogue_->put_reference(tag("m:1"), unread_.digest(), kNow);
  ASSERT_FALSE(named);
  EXPECT_EQ(named.error().code(), Errc::kInvalid);
  EXPECT_THAT(named.error().message(), HasSubstr("is provisional"));
  EXPECT_THAT(*catalogue_->ingests(), IsEmpty());
}

TEST_F(CatalogueIngestsTest, OfOneReferenceOnePublisherReadsOneModel) {
  put_model(newer_);
  ASSERT_TRUE(begin(unread_));
  for (const TestModel* model : {&unread_, &newer_}) {
    auto refused = begin(*model, "gpu-2");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), Errc::kConflict);
    EXPECT_THAT(refused.error().message(), HasSubstr("node gpu-1 is publishing m:1"));
    EXPECT_FALSE(begin(*model, "gpu-2", "bb", "gpu-3"));
  }
  auto other_name = begin(unread_, "gpu-1", "aa", "", "m:2");
  ASSERT_FALSE(other_name);
  EXPECT_EQ(other_name.error().code(), Errc::kConflict);
  EXPECT_THAT(other_name.error().message(), HasSubstr("is being published as m:1"));
  EXPECT_EQ(only().node, "gpu-1");

  auto again = begin(newer_, "gpu-1", "aa", "", "m:1", kNow + 5);
  ASSERT_TRUE(again) << again.error().str();
  ASSERT_TRUE(again->replaced);
  EXPECT_EQ(again->replaced->manifest, unread_.digest());
  EXPECT_EQ(again->replaced->state, api::IngestState::kFailed);
  EXPECT_EQ(again->replaced->error->message(), "replaced by a newer publication");
  EXPECT_THAT(again->orphans, ElementsAre(unread_.digest()));
  EXPECT_EQ(meant(), newer_.digest());
  // The replaced one can be looked at for a day, and goes with its manifest.
  EXPECT_THAT(*catalogue_->collect(kNow + 5 + kDay - 1, 0), IsEmpty());
  EXPECT_EQ(catalogue_->ingests()->size(), 2u);
  EXPECT_THAT(*catalogue_->collect(kNow + 5 + kDay, 0), ElementsAre(unread_.digest()));
  EXPECT_EQ(only().manifest, newer_.digest());
}

TEST_F(CatalogueIngestsTest, AnotherNodeTakesOverFromOneThatIsAbsent) {
  put_model(newer_);
  ASSERT_TRUE(begin(unread_));
  auto same = begin(unread_, "gpu-2", "bb", "gpu-1", "m:1", kNow + 1);
  ASSERT_TRUE(same) << same.error().str();
  EXPECT_FALSE(same->replaced);
  EXPECT_EQ(only().node, "gpu-2");
  EXPECT_EQ(only().created_unix_ms, kNow);
  auto next = begin(newer_, "gpu-3", "cc", "gpu-2");
  ASSERT_TRUE(next) << next.error().str();
  EXPECT_EQ(next->replaced->node, "gpu-2");
  EXPECT_EQ(meant(), newer_.digest());
}

TEST_F(CatalogueIngestsTest, BeginsAgainWhatItsPublisherBeginsAgain) {
  ASSERT_TRUE(begin(unread_));
  auto same = begin(unread_, "gpu-1", "aa", "", "m:1", kNow + 1);
  ASSERT_TRUE(same);
  EXPECT_EQ(same->ingest.updated_unix_ms, kNow);  // nothing changed
  ASSERT_TRUE(begin(unread_, "gpu-1", "bb", "", "m:1", kNow + 2));
  EXPECT_EQ(only().epoch, "bb");
  const Error gone(Errc::kUnavailable, "gone");
  EXPECT_EQ(catalogue_->fail_ingest(unread_.digest(), {"gpu-1", "aa"}, gone, kNow).error().code(),
            Errc::kConflict);
  ASSERT_TRUE(catalogue_->fail_ingest(unread_.digest(), {"gpu-1", "bb"}, gone, kNow + 3));
  EXPECT_EQ(meant(), content::Digest());
  ASSERT_TRUE(begin(unread_, "gpu-1", "bb", "", "m:1", kNow + 4));
  EXPECT_EQ(meant(), unread_.digest());
  EXPECT_FALSE(only().error);
  EXPECT_THAT(*catalogue_->collect(kNow + 10 * kDay, 0), IsEmpty());
}

TEST_F(CatalogueIngestsTest, SettlesReferenceAndOrdersAtOnce) {
  const TestModel old = make_test_model("old", {{"a", "1"}});
  put_model(old);
  put_model(model_);
  ASSERT_TRUE(catalogue_->put_reference(tag("m:1"), old.digest(), kNow));
  ASSERT_TRUE(begin(unread_));
  EXPECT_EQ(meant(), unread_.digest());
  StoredPrefetch running{.id = "1",
                         .manifest = unread_.digest(),
                         .request = {.reference = "m:1"},
                         .created_unix_ms = kNow};
  StoredPrefetch ended = running;
  ended.id = "2";
  ended.state = api::PrefetchState::kCancelled;
  ended.ended_unix_ms = kNow;
  ASSERT_TRUE(catalogue_->put_prefetch(running));
  ASSERT_TRUE(catalogue_->put_prefetch(ended));

  const Catalogue::Publisher publisher{"gpu-1", "aa"};
  auto settle = [&](const content::Digest& as, const Catalogue::Publisher& who) {
    return catalogue_->settle_ingest(unread_.digest(), who, as, kNow + 7);
  };
  EXPECT_EQ(settle(newer_.digest(), publisher).error().code(), Errc::kNotFound);
  EXPECT_EQ(settle(unread_.digest(), publisher).error().code(), Errc::kInvalid);
  EXPECT_EQ(settle(model_.digest(), {"gpu-2", "aa"}).error().code(), Errc::kConflict);
  EXPECT_EQ(settle(model_.digest(), {"gpu-1", "bb"}).error().code(), Errc::kConflict);
  EXPECT_EQ(
      catalogue_->settle_ingest(model_.digest(), publisher, model_.digest(), kNow).error().code(),
      Errc::kNotFound);
  EXPECT_EQ(meant(), unread_.digest());
  EXPECT_EQ(catalogue_->reference(tag("m:1"))->manifest, old.digest());

  auto settled = settle(model_.digest(), publisher);
  ASSERT_TRUE(settled) << settled.error().str();
  EXPECT_EQ(settled->record->manifest, model_.digest());
  EXPECT_EQ(settled->record->created_unix_ms, kNow);
  EXPECT_THAT(settled->orphans, UnorderedElementsAre(old.digest(), unread_.digest()));
  EXPECT_FALSE(settle(model_.digest(), publisher)->record);  // nothing more to do
  EXPECT_EQ(settle(old.digest(), publisher).error().code(), Errc::kConflict);
  EXPECT_EQ(
      catalogue_->fail_ingest(unread_.digest(), publisher, Error(Errc::kInternal, "late"), kNow)
          .error()
          .code(),
      Errc::kConflict);
  open();
  EXPECT_EQ(meant(), model_.digest());
  EXPECT_EQ(only().state, api::IngestState::kSettled);
  EXPECT_EQ(only().settled_as, model_.digest());
  running.manifest = model_.digest();
  EXPECT_THAT(*catalogue_->prefetches(), UnorderedElementsAre(running, ended));
  EXPECT_THAT(*catalogue_->collect(kNow + 7 + kDay - 1, 0), IsEmpty());
  EXPECT_THAT(*catalogue_->collect(kNow + 7 + kDay, 0),
              UnorderedElementsAre(old.digest(), unread_.digest()));
  EXPECT_THAT(*catalogue_->ingests(), IsEmpty());
  EXPECT_EQ(meant(), model_.digest());
}

TEST_F(CatalogueIngestsTest, AFailedOneGivesTheReferenceBackItsMeaning) {
  put_model(model_);
  ASSERT_TRUE(catalogue_->put_reference(tag("m:1"), model_.digest(), kNow));
  ASSERT_TRUE(begin(unread_));
  const Error first(Errc::kDenied, "the origin refuses: log in");
  auto failed = catalogue_->fail_ingest(unread_.digest(), {"gpu-1", "aa"}, first, kNow + 1);
  ASSERT_TRUE(failed) << failed.error().str();
  EXPECT_THAT(failed->orphans, ElementsAre(unread_.digest()));
  const Error second(Errc::kInternal, "something else");
  EXPECT_TRUE(catalogue_->fail_ingest(unread_.digest(), {"gpu-1", "aa"}, second, kNow + 2));
  open();
  EXPECT_EQ(only().state, api::IngestState::kFailed);
  EXPECT_EQ(only().error, first);
  EXPECT_EQ(only().updated_unix_ms, kNow + 1);
  EXPECT_EQ(meant(), model_.digest());
  auto late = catalogue_->settle_ingest(unread_.digest(), {"gpu-1", "aa"}, model_.digest(), kNow);
  ASSERT_FALSE(late);
  EXPECT_THAT(late.error().message(), HasSubstr("the origin refuses: log in"));
  EXPECT_EQ(catalogue_->fail_ingest(model_.digest(), {"gpu-1", "aa"}, first, kNow).error().code(),
            Errc::kNotFound);
}

TEST_F(CatalogueIngestsTest, RemovingTheReferenceEndsItsIngest) {
  ASSERT_TRUE(begin(unread_));
  auto removed = catalogue_->remove_reference(tag("m:1"), kNow + 1);
  ASSERT_TRUE(removed) << removed.error().str();
  EXPECT_EQ(removed->record.reference, "m:1");
  EXPECT_EQ(removed->record.manifest, unread_.digest());
  EXPECT_TRUE(removed->was_last);
  EXPECT_EQ(removed->ingest->error->message(), "removed by an operator");
  EXPECT_EQ(only(), *removed->ingest);
  EXPECT_EQ(catalogue_->remove_reference(tag("m:1"), kNow).error().code(), Errc::kNotFound);

  put_model(model_);
  ASSERT_TRUE(catalogue_->put_reference(tag("m:1"), model_.digest(), kNow));
  ASSERT_TRUE(begin(unread_));
  removed = catalogue_->remove_reference(tag("m:1"), kNow + 2);
  ASSERT_TRUE(removed) << removed.error().str();
  EXPECT_EQ(removed->record.manifest, model_.digest());
  EXPECT_TRUE(removed->was_last);
  EXPECT_EQ(removed->ingest->manifest, unread_.digest());
  EXPECT_EQ(meant(), content::Digest());
  EXPECT_THAT(*catalogue_->collect(kNow + 2 + kDay, 0),
              UnorderedElementsAre(model_.digest(), unread_.digest()));
}

TEST_F(CatalogueIngestsTest, OtherReferencesDoNotUnnameWhatIsBeingRead) {
  const TestModel other = make_test_model("o", {{"a", "1"}});
  put_model(model_);
  put_model(other);
  ASSERT_TRUE(begin(unread_));
  EXPECT_FALSE(catalogue_->put_reference(tag("x:1"), model_.digest(), kNow)->orphan);
  EXPECT_EQ(catalogue_->put_reference(tag("x:1"), other.digest(), kNow)->orphan, model_.digest());
  ASSERT_TRUE(catalogue_->remove_reference(tag("x:1"), kNow));
  EXPECT_THAT(*catalogue_->collect(kNow + kDay, 0),
              UnorderedElementsAre(model_.digest(), other.digest()));
  EXPECT_EQ(meant(), unread_.digest());
}

TEST_F(CatalogueIngestsTest, ACatalogueOfBeforeIngestsOpensAndTakesThem) {
  put_model(model_);
  ASSERT_TRUE(catalogue_->put_reference(tag("m:1"), model_.digest(), kNow));
  catalogue_.reset();
  {
    auto database = Database::open(file());
    ASSERT_TRUE(database);
    ASSERT_TRUE((*database)->run("DROP TABLE ingests"));
  }
  open();
  EXPECT_EQ(meant(), model_.digest());
  EXPECT_THAT(*catalogue_->ingests(), IsEmpty());
  ASSERT_TRUE(begin(unread_));
  EXPECT_EQ(meant(), unread_.digest());
}

// Until the disk is full: the ingest that has no room leaves the one before as it was.
TEST_F(CatalogueIngestsTest, AFullDiskChangesNothing) {
  put_model(model_);
  std::vector<TestModel> models;
  for (int i = 0; i < 200; ++i) {
    models.push_back(make_unread_model("m" + std::to_string(i), {{"a", "1"}}));
    put_model(models.back());
  }
  catalogue_.reset();  // the log is written back: the file has its size
  open();
  ASSERT_TRUE(catalogue_->limit_size(std::filesystem::file_size(file()) + 16384));
  Status status;
  std::size_t taken = 0;
  const std::string reference = "z:" + std::string(120, '1');
  for (; taken < models.size() && status; ++taken) {
    auto begun = begin(models[taken], "gpu-1", "aa", "", reference);
    if (!begun) status = fail(begun.error());
  }
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code(), Errc::kNoSpace) << status.error().str();
  ASSERT_GE(taken, 2u);
  const TestModel& last = models[taken - 2];
  EXPECT_EQ(meant(reference), last.digest());
  auto all = catalogue_->ingests();
  ASSERT_EQ(all->size(), taken - 1);
  EXPECT_EQ(std::count_if(all->begin(), all->end(), [](const auto& i) { return i.running(); }), 1);

  // A settlement needs room for a tag, which comes behind those that fill what is left.
  int tags = 1000;
  while (tags < 9999 &&
         catalogue_->put_reference(tag("y:" + std::to_string(tags)), model_.digest(), kNow)) {
    ++tags;
  }
  ASSERT_LT(tags, 9999);
  auto settle = [&] {
    return catalogue_->settle_ingest(last.digest(), {"gpu-1", "aa"}, model_.digest(), kNow + 1);
  };
  auto settled = settle();
  ASSERT_FALSE(settled);
  EXPECT_EQ(settled.error().code(), Errc::kNoSpace) << settled.error().str();
  EXPECT_EQ(meant(reference), last.digest());
  EXPECT_EQ(catalogue_->reference(tag(reference)).error().code(), Errc::kNotFound);
  ASSERT_TRUE(catalogue_->limit_size(1ull << 30));
  ASSERT_TRUE(settle());
  EXPECT_EQ(meant(reference), model_.digest());
}

}  // namespace
}  // namespace shoal::tracker
