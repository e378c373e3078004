// Index<Tag>: an integer that does not mix with other integers. A piece number passed as a leaf
// number must not compile.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace shoal {

template <typename Tag, typename Rep = std::uint32_t>
class Index {
 public:
  using rep = Rep;

  constexpr Index() = default;
  constexpr explicit Index(Rep value) : value_(value) {}

  constexpr Rep value() const { return value_; }

  constexpr Index& operator++() {
    ++value_;
    return *this;
  }
  friend constexpr Index operator+(Index index, Rep count) { return Index(index.value_ + count); }
  friend constexpr Index operator-(Index index, Rep count) { return Index(index.value_ - count); }
  friend constexpr Rep operator-(Index a, Index b) { return a.value_ - b.value_; }
  friend constexpr auto operator<=>(const Index&, const Index&) = default;

 private:
  Rep value_ = 0;
};

}  // namespace shoal

template <typename Tag, typename Rep>
struct std::hash<shoal::Index<Tag, Rep>> {
  std::size_t operator()(shoal::Index<Tag, Rep> index) const noexcept {
    return std::hash<Rep>()(index.value());
  }
};
