// Origin for `dir:/absolute/path`: a directory that this node can read, such as a network file
// system mounted on every node.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "agent/origin/allow_list.h"
#include "agent/origin/origin.h"

namespace shoal::agent {

// A file's version is its size, mtime (ns) and inode, looked at again after each read.
class DirectoryOrigin final : public Origin {
 public:
  explicit DirectoryOrigin(AllowList allow) : allow_(std::move(allow)) {}

  std::string_view kind() const override { return "dir"; }
  bool handles(std::string_view scheme) const override {
    return scheme == "file" || scheme == "dir";
  }
  // `source` is "dir:/folder" or the file:// URL of a folder. A symbolic link is the file it leads
  // to, within the folder.
  OriginStatus list(const OriginQuery& query, OriginListing& found,
                    const CancelFlag& cancel) override;
  OriginStatus probe(const std::string& url, OriginFile& file, const CancelFlag& cancel) override;
  OriginStatus read(const OriginFile& file, ByteRange range, const OriginSink& sink,
                    const CancelFlag& cancel) override;

 private:
  const AllowList allow_;
};

}  // namespace shoal::agent
