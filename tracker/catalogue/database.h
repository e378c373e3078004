// SQLite behind a narrow door: one connection, prepared statements only, errors as Result. Internal
// to tracker/catalogue.
//
// Thread: one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/base/result.h"
#include "core/content/digest.h"

struct sqlite3;
struct sqlite3_stmt;

namespace shoal::tracker {

class Database {
 public:
  // Opens or creates `file`, for this process alone until destruction, with a write-ahead log and a
  // sync for each commit. Errors: conflict (another process has it open), denied, no_space,
  // internal (damaged, not a database, a failing disk).
  static Result<std::unique_ptr<Database>> open(const std::filesystem::path& file);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Constant SQL without parameters: schema and pragmas.
  Status run(const char* sql);

  // The error of SQLite's result code `code`, for the statement that just failed: no_space (full),
  // conflict (locked), denied, internal (a damaged file is one: no other source can be asked).
  Error error(int code, std::string_view doing) const;

  // Rows changed by the last INSERT, UPDATE or DELETE.
  std::int64_t changes() const;

 private:
  friend class Query;
  Database(sqlite3* handle, std::filesystem::path file);
  // The statement of that literal, prepared once. Null after an error, which is in *code.
  sqlite3_stmt* prepared(const char* sql, int* code);

  sqlite3* const handle_;
  const std::filesystem::path file_;
  std::map<const char*, sqlite3_stmt*> statements_;  // by the address of the literal
};

// One execution of a prepared statement. `sql` is a string literal with parameters ?1, ?2, …; a
// literal is not run by two Queries at a time.
//
//   Query query(db, "SELECT bytes FROM tables WHERE blob = ?1");
//   query.bind(digest);
//   Result<bool> row = query.next();   // true: there is a row; columns are valid until next()
class Query {
 public:
  Query(Database& database, const char* sql);
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  // The next parameter. Bytes and text stay valid until the Query's end.
  Query& bind(std::int64_t value);
  // A sha256 digest is its 32 bytes; an ingest name has a byte before them, so that the two never
  // meet.
  Query& bind(const content::Digest& value);
  Query& bind(const std::optional<content::Digest>& value);
  Query& bind(std::string_view text);
  Query& bind_bytes(std::string_view bytes);
  Query& bind(std::optional<std::int64_t> value);

  Result<bool> next();
  // For statements without rows.
  Status run();

  std::int64_t integer(int column) const;
  std::optional<std::int64_t> optional_integer(int column) const;
  std::string text(int column) const;  // also of bytes
  // Errors: internal (not what bind() writes).
  Result<content::Digest> digest(int column) const;
  Result<std::optional<content::Digest>> optional_digest(int column) const;

 private:
  Database& database_;
  const char* const sql_;
  sqlite3_stmt* statement_;
  int code_ = 0;
  int bound_ = 0;
};

// Rolled back at its end unless commit() succeeded.
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  // What begin gave; nothing else may be done after an error.
  const Status& begun() const { return begun_; }
  Status commit();

 private:
  Database& database_;
  Status begun_;
  bool open_;
};

}  // namespace shoal::tracker
