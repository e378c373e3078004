#include "tracker/catalogue/database.h"

#include <sqlite3.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace shoal::tracker {
namespace {

constexpr char kIngestMark = 1;  // before the bytes of an ingest name

}  // namespace

Result<std::unique_ptr<Database>> Database::open(const std::filesystem::path& file) {
  sqlite3* handle = nullptr;
  int code = sqlite3_open_v2(
      file.c_str(), &handle,
      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
      nullptr);
  std::unique_ptr<Database> database(new Database(handle, file));
  if (code != SQLITE_OK) return fail(database->error(code, "opening"));
  // Exclusive first: the write-ahead log's index then stays in memory, and a second tracker on the
  // same folder is refused. The lock ends with the process, however it ends.
  for (const char* sql :
       {"PRAGMA locking_mode=EXCLUSIVE", "PRAGMA page_size=16384", "PRAGMA journal_mode=WAL",
        "PRAGMA synchronous=FULL", "PRAGMA foreign_keys=ON", "BEGIN IMMEDIATE", "COMMIT"}) {
    SHOAL_TRY(database->run(sql));
  }
  return database;
}

Database::Database(sqlite3* handle, std::filesystem::path file)
    : handle_(handle), file_(std::move(file)) {}

Database::~Database() {
  for (const auto& [sql, statement] : statements_) sqlite3_finalize(statement);
  sqlite3_close(handle_);
}

Status Database::run(const char* sql) {
  int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return fail(error(code, sql));
  return {};
}

Error Database::error(int code, std::string_view doing) const {
  std::string what = "the catalogue's database " + file_.string();
  std::string detail = std::string(" (") + sqlite3_errstr(code) + ", " + std::string(doing) + ")";
  switch (code & 0xff) {
    case SQLITE_FULL:
      return Error(Errc::kNoSpace, what + ": the file system is full; free space and repeat the " +
                                       "request, nothing was changed" + detail);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return Error(Errc::kInternal, what + " is damaged: stop the tracker, move the file away or " +
                                        "restore a copy of it, start again and publish what is " +
                                        "missing" + detail);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Error(Errc::kConflict,
                   what + " is in use by another process: one tracker per --data" + detail);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return Error(Errc::kDenied, what + " cannot be opened for writing" + detail);
    case SQLITE_IOERR:
      if (handle_ && sqlite3_system_errno(handle_) == ENOSPC) {
        return Error(Errc::kNoSpace, what + ": the file system is full" + detail);
      }
      return Error(Errc::kInternal, what + ": the disk failed" + detail);
    default:
      return Error(Errc::kInternal,
                   what + detail + (handle_ ? std::string(": ") + sqlite3_errmsg(handle_) : ""));
  }
}

std::int64_t Database::changes() const { return sqlite3_changes64(handle_); }

sqlite3_stmt* Database::prepared(const char* sql, int* code) {
  auto [entry, is_new] = statements_.try_emplace(sql, nullptr);
  if (is_new) {
    *code =
        sqlite3_prepare_v3(handle_, sql, -1, SQLITE_PREPARE_PERSISTENT, &entry->second, nullptr);
    if (*code != SQLITE_OK) {
      statements_.erase(entry);
      return nullptr;
    }
  }
  return entry->second;
}

Query::Query(Database& database, const char* sql)
    : database_(database), sql_(sql), statement_(database.prepared(sql, &code_)) {}

Query::~Query() {
  if (!statement_) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Query& Query::bind(std::int64_t value) {
  if (code_ == SQLITE_OK) code_ = sqlite3_bind_int64(statement_, ++bound_, value);
  return *this;
}

Query& Query::bind(std::optional<std::int64_t> value) {
  if (value) return bind(*value);
  ++bound_;  // a parameter that is not bound is NULL
  return *this;
}

Query& Query::bind(const content::Digest& value) {
  char bytes[1 + sizeof(content::Hash32)];
  bytes[0] = kIngestMark;
  std::memcpy(bytes + 1, value.bytes().data(), sizeof(content::Hash32));
  const int skipped = value.is_ingest() ? 0 : 1;
  if (code_ == SQLITE_OK) {
    code_ = sqlite3_bind_blob(statement_, ++bound_, bytes + skipped,
                              static_cast<int>(sizeof bytes) - skipped, SQLITE_TRANSIENT);
  }
  return *this;
}

Query& Query::bind(const std::optional<content::Digest>& value) {
  if (value) return bind(*value);
  ++bound_;  // a parameter that is not bound is NULL
  return *this;
}

Query& Query::bind(std::string_view text) {
  if (code_ == SQLITE_OK) {
    code_ = sqlite3_bind_text64(statement_, ++bound_, text.data() ? text.data() : "", text.size(),
                                SQLITE_STATIC, SQLITE_UTF8);
  }
  return *this;
}

Query& Query::bind_bytes(std::string_view bytes) {
  if (code_ == SQLITE_OK) {
    code_ = sqlite3_bind_blob64(statement_, ++bound_, bytes.data() ? bytes.data() : "",
                                bytes.size(), SQLITE_STATIC);
  }
  return *this;
}

Result<bool> Query::next() {
  if (code_ == SQLITE_OK || code_ == SQLITE_ROW) code_ = sqlite3_step(statement_);
  if (code_ == SQLITE_ROW) return true;
  if (code_ == SQLITE_DONE) return false;
  return fail(database_.error(code_, sql_));
}

Status Query::run() {
  Result<bool> row = next();
  if (!row) return fail(row.error());
  return {};
}

std::int64_t Query::integer(int column) const { return sqlite3_column_int64(statement_, column); }

std::optional<std::int64_t> Query::optional_integer(int column) const {
  if (sqlite3_column_type(statement_, column) == SQLITE_NULL) return std::nullopt;
  return integer(column);
}

std::string Query::text(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  int size = sqlite3_column_bytes(statement_, column);
  return std::string(static_cast<const char*>(data), data ? static_cast<std::size_t>(size) : 0);
}

Result<content::Digest> Query::digest(int column) const {
  content::Hash32 bytes;
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement_, column));
  const auto size = static_cast<std::size_t>(sqlite3_column_bytes(statement_, column));
  if (data && size == bytes.size()) {
    std::memcpy(bytes.data(), data, bytes.size());
    return content::Digest(bytes);
  }
  if (data && size == 1 + bytes.size() && *data == kIngestMark) {
    std::memcpy(bytes.data(), data + 1, bytes.size());
    return content::Digest::of_ingest(bytes);
  }
  return fail(database_.error(SQLITE_CORRUPT, sql_));
}

Result<std::optional<content::Digest>> Query::optional_digest(int column) const {
  if (sqlite3_column_type(statement_, column) == SQLITE_NULL) return std::nullopt;
  Result<content::Digest> value = digest(column);
  if (!value) return fail(value.error());
  return *value;
}

Transaction::Transaction(Database& database)
    : database_(database), begun_(database.run("BEGIN IMMEDIATE")), open_(begun_.has_value()) {}

Transaction::~Transaction() {
  // A failed statement may have rolled back by itself; the error of a second rollback says nothing.
  if (open_) (void)database_.run("ROLLBACK");
}

Status Transaction::commit() {
  SHOAL_TRY(database_.run("COMMIT"));
  open_ = false;
  return {};
}

}  // namespace shoal::tracker
