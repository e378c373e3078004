// Bencoding, the form of torrents and of a tracker's answers (BEP 52, "bencoding"). Writing only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shoal::content {

// Writes one value, which may be a list or dictionary of others. Calls that do not make a value
// (a dictionary's key missing, doubled or out of order, end() without a beginning) are bugs and
// abort.
//
// Thread: a value.
class BencodeWriter {
 public:
  BencodeWriter& string(std::string_view bytes);
  BencodeWriter& integer(std::int64_t value);
  BencodeWriter& begin_list();
  BencodeWriter& begin_dictionary();
  // Closes what was begun last.
  BencodeWriter& end();
  // In a dictionary: its value is written next. Keys must come in the order of their bytes, which
  // count as unsigned.
  BencodeWriter& key(std::string_view bytes);
  // A value that is bencoded already.
  BencodeWriter& encoded(std::string_view value);

  // The whole value; everything must have been closed. Leaves a writer of nothing.
  std::string take();

 private:
  struct Level {
    bool dictionary = false;
    bool value_expected = false;          // a key was written
    std::optional<std::string> last_key;  // of a dictionary
  };

  void before_value();
  void append_string(std::string_view bytes);

  std::string out_;
  std::vector<Level> levels_;
};

}  // namespace shoal::content
