// API keys: who may use the server. Keys are kept and compared as digests, in constant time.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace galley::gateway {

class ApiKeys {
 public:
  explicit ApiKeys(const std::vector<std::string>& keys);

  bool required() const { return !digests_.empty(); }
  // Whether `authorization` is "Bearer KEY" with one of the keys. The time taken depends on the
  // length of what the client sent, never on the keys.
  bool accepts(std::string_view authorization) const;

 private:
  using Digest = std::array<unsigned char, 32>;
  std::vector<Digest> digests_;
};

}  // namespace galley::gateway
