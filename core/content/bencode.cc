#include "core/content/bencode.h"

#include <utility>

#include "core/base/check.h"

namespace shoal::content {

void BencodeWriter::before_value() {
  if (levels_.empty()) {
    SHOAL_CHECK(out_.empty(), "one value only");
    return;
  }
  Level& level = levels_.back();
  SHOAL_CHECK(level.dictionary == level.value_expected, "a dictionary's value follows its key");
  level.value_expected = false;
}

void BencodeWriter::append_string(std::string_view bytes) {
  out_ += std::to_string(bytes.size());
  out_ += ':';
  out_ += bytes;
}

BencodeWriter& BencodeWriter::string(std::string_view bytes) {
  before_value();
  append_string(bytes);
  return *this;
}

BencodeWriter& BencodeWriter::integer(std::int64_t value) {
  before_value();
  out_ += 'i';
  out_ += std::to_string(value);
  out_ += 'e';
  return *this;
}

BencodeWriter& BencodeWriter::begin_list() {
  before_value();
  out_ += 'l';
  levels_.emplace_back();
  return *this;
}

BencodeWriter& BencodeWriter::begin_dictionary() {
  before_value();
  out_ += 'd';
  levels_.emplace_back().dictionary = true;
  return *this;
}

BencodeWriter& BencodeWriter::end() {
  SHOAL_CHECK(!levels_.empty() && !levels_.back().value_expected, "nothing to close");
  levels_.pop_back();
  out_ += 'e';
  return *this;
}

BencodeWriter& BencodeWriter::key(std::string_view bytes) {
  SHOAL_CHECK(!levels_.empty() && levels_.back().dictionary && !levels_.back().value_expected,
              "a key belongs into a dictionary");
  Level& level = levels_.back();
  // string_view compares as unsigned bytes.
  SHOAL_CHECK(!level.last_key || *level.last_key < bytes, "keys are sorted and unique");
  level.last_key = bytes;
  level.value_expected = true;
  append_string(bytes);
  return *this;
}

BencodeWriter& BencodeWriter::encoded(std::string_view value) {
  SHOAL_CHECK(!value.empty(), "no value");
  before_value();
  out_ += value;
  return *this;
}

std::string BencodeWriter::take() {
  SHOAL_CHECK(levels_.empty() && !out_.empty(), "the value is not complete");
  return std::exchange(out_, {});
}

}  // namespace shoal::content
