#include "model/safetensors.h"

#include <algorithm>
#include <boost/json/basic_parser_impl.hpp>
#include <optional>
#include <unordered_set>

namespace galley::model {
namespace {

namespace json = boost::json;
using Limits = SafetensorsLimits;

struct TypeName {
  StoredType type;
  std::string_view name;
  uint64_t size;
};

constexpr TypeName kTypes[] = {
    {StoredType::kBool, "BOOL", 1},      {StoredType::kU8, "U8", 1},
    {StoredType::kI8, "I8", 1},          {StoredType::kF8E5M2, "F8_E5M2", 1},
    {StoredType::kF8E4M3, "F8_E4M3", 1}, {StoredType::kF8E8M0, "F8_E8M0", 1},
    {StoredType::kI16, "I16", 2},        {StoredType::kU16, "U16", 2},
    {StoredType::kF16, "F16", 2},        {StoredType::kBF16, "BF16", 2},
    {StoredType::kI32, "I32", 4},        {StoredType::kU32, "U32", 4},
    {StoredType::kF32, "F32", 4},        {StoredType::kF64, "F64", 8},
    {StoredType::kI64, "I64", 8},        {StoredType::kU64, "U64", 8},
};

const TypeName& entry_of(StoredType type) {
  return kTypes[static_cast<size_t>(type)];
}

// A tensor as the header describes it.
struct Entry {
  StoredTensor tensor;
  std::optional<StoredType> type;
  bool has_shape = false;
  uint32_t num_offsets = 0;
  uint64_t offsets[2] = {0, 0};
};

// Receives the header's JSON event by event and accepts exactly the format: no document is built,
// so deep or huge input costs nothing.
class HeaderHandler {
 public:
  static constexpr size_t max_object_size = SIZE_MAX;
  static constexpr size_t max_array_size = SIZE_MAX;
  static constexpr size_t max_key_size = SIZE_MAX;
  static constexpr size_t max_string_size = SIZE_MAX;

  bool on_document_begin(json::error_code&) { return true; }
  bool on_document_end(json::error_code&) { return true; }

  bool on_object_begin(json::error_code& error) {
    if (state_ == State::kStart) return enter(State::kTop);
    if (state_ == State::kTensorValue) {
      entries_.emplace_back().tensor.name = key_;
      return enter(State::kTensor);
    }
    if (state_ == State::kMetadataValue) return enter(State::kMetadata);
    return refuse(error, "an object where none belongs");
  }

  bool on_object_end(size_t, json::error_code& error) {
    if (state_ == State::kTop) return enter(State::kEnd);
    if (state_ == State::kMetadata) return enter(State::kTop);
    const Entry& entry = entries_.back();
    if (!entry.type.has_value()) return refuse(error, "dtype is missing");
    if (!entry.has_shape) return refuse(error, "shape is missing");
    if (entry.num_offsets != 2) return refuse(error, "data_offsets must be two numbers");
    return enter(State::kTop);
  }

  bool on_array_begin(json::error_code& error) {
    if (state_ == State::kShapeValue) return enter(State::kShape);
    if (state_ == State::kOffsetsValue) return enter(State::kOffsets);
    return refuse(error, "a list where none belongs");
  }

  bool on_array_end(size_t, json::error_code&) { return enter(State::kTensor); }

  bool on_key_part(json::string_view part, size_t size, json::error_code& error) {
    if (size > Limits::kNameBytesMax) return refuse(error, "a name longer than 512 bytes");
    partial_.append(part.data(), part.size());
    return true;
  }

  bool on_key(json::string_view part, size_t size, json::error_code& error) {
    if (!on_key_part(part, size, error)) return false;
    std::string key = std::move(partial_);
    partial_.clear();
    if (state_ == State::kTop) return on_name(std::move(key), error);
    if (state_ == State::kTensor) return on_field(key, error);
    return enter(State::kMetadataString);
  }

  bool on_string_part(json::string_view part, size_t size, json::error_code& error) {
    if (state_ == State::kMetadataString) return true;
    if (size > Limits::kNameBytesMax) return refuse(error, "a string longer than 512 bytes");
    partial_.append(part.data(), part.size());
    return true;
  }

  bool on_string(json::string_view part, size_t size, json::error_code& error) {
    if (!on_string_part(part, size, error)) return false;
    const std::string text = std::move(partial_);
    partial_.clear();
    if (state_ == State::kMetadataString) return enter(State::kMetadata);
    if (state_ != State::kTypeValue) return refuse(error, "a string where none belongs");
    for (const TypeName& known : kTypes) {
      if (known.name != text) continue;
      entries_.back().type = known.type;
      return enter(State::kTensor);
    }
    return refuse(error, "dtype \"" + text.substr(0, 40) + "\" is not known");
  }

  bool on_number_part(json::string_view, json::error_code&) { return true; }
  bool on_int64(int64_t number, json::string_view, json::error_code& error) {
    if (number < 0) return refuse(error, "a negative number");
    return on_number(static_cast<uint64_t>(number), error);
  }
  bool on_uint64(uint64_t number, json::string_view, json::error_code& error) {
    return on_number(number, error);
  }
  bool on_double(double, json::string_view, json::error_code& error) {
    return refuse(error, "a number that is not a 64-bit integer");
  }
  bool on_bool(bool, json::error_code& error) { return refuse(error, "a boolean"); }
  bool on_null(json::error_code& error) { return refuse(error, "a null"); }
  bool on_comment_part(json::string_view, json::error_code&) { return true; }
  bool on_comment(json::string_view, json::error_code&) { return true; }

  const std::string& why() const { return why_; }
  std::vector<Entry>& entries() { return entries_; }

 private:
  // Where in the header the next event is expected.
  enum class State : uint8_t {
    kStart,
    kTop,
    kMetadataValue,
    kMetadata,
    kMetadataString,
    kTensorValue,
    kTensor,
    kTypeValue,
    kShapeValue,
    kShape,
    kOffsetsValue,
    kOffsets,
    kEnd
  };

  bool enter(State state) {
    state_ = state;
    return true;
  }

  bool refuse(json::error_code& error, std::string why) {
    const bool inside = state_ >= State::kTensor && state_ < State::kEnd && !entries_.empty();
    why_ = (inside ? "tensor \"" + entries_.back().tensor.name + "\": " : "") + std::move(why);
    error = json::error::syntax;
    return false;
  }

  bool on_name(std::string key, json::error_code& error) {
    if (key == "__metadata__") {
      if (has_metadata_) return refuse(error, "__metadata__ occurs twice");
      has_metadata_ = true;
      return enter(State::kMetadataValue);
    }
    if (entries_.size() == Limits::kTensorsMax) return refuse(error, "more than 2^20 tensors");
    if (!names_.insert(key).second) return refuse(error, "tensor \"" + key + "\" occurs twice");
    key_ = std::move(key);
    return enter(State::kTensorValue);
  }

  bool on_field(const std::string& key, json::error_code& error) {
    const Entry& entry = entries_.back();
    if (key == "dtype" && !entry.type.has_value()) return enter(State::kTypeValue);
    if (key == "shape" && !entry.has_shape) {
      entries_.back().has_shape = true;
      return enter(State::kShapeValue);
    }
    if (key == "data_offsets" && entry.num_offsets == 0) return enter(State::kOffsetsValue);
    return refuse(error, "field \"" + key.substr(0, 40) + "\" is not known or occurs twice");
  }

  bool on_number(uint64_t number, json::error_code& error) {
    if (state_ == State::kShape) {
      StoredTensor& tensor = entries_.back().tensor;
      if (tensor.rank == Limits::kRankMax) return refuse(error, "more than 8 dimensions");
      if (number > uint64_t{1} << 60) return refuse(error, "a dimension above 2^60");
      tensor.shape[tensor.rank++] = static_cast<int64_t>(number);
      return true;
    }
    if (state_ == State::kOffsets) {
      Entry& entry = entries_.back();
      if (entry.num_offsets == 2) return refuse(error, "data_offsets must be two numbers");
      entry.offsets[entry.num_offsets++] = number;
      return true;
    }
    return refuse(error, "a number where none belongs");
  }

  State state_ = State::kStart;
  std::string partial_;  // of a key or string that comes in parts
  std::string key_;      // the tensor whose value follows
  std::string why_;
  bool has_metadata_ = false;
  std::vector<Entry> entries_;
  std::unordered_set<std::string> names_;
};

// Bytes of a tensor; nothing when the product does not fit 2^60.
std::optional<uint64_t> bytes_of(const StoredTensor& tensor) {
  uint64_t bytes = size_of(tensor.type);
  for (const int64_t dim : tensor.dims()) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(dim), &bytes) || bytes > uint64_t{1}
                                                                                         << 60)
      return std::nullopt;
  }
  return bytes;
}

// Checks that the tensors tile `data` exactly, and points each at its bytes.
Status place(std::span<const std::byte> data, const std::string& where,
             std::vector<Entry>* entries) {
  std::stable_sort(entries->begin(), entries->end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.offsets[0], a.offsets[1]) < std::pair(b.offsets[0], b.offsets[1]);
  });
  uint64_t at = 0;
  for (Entry& entry : *entries) {
    entry.tensor.type = *entry.type;
    const uint64_t begin = entry.offsets[0], end = entry.offsets[1];
    const auto refused = [&](const std::string& why) {
      std::string message = where + ": tensor \"" + entry.tensor.name + "\": data_offsets [" +
                            std::to_string(begin) + ", " + std::to_string(end) + "] ";
      return Status(Code::kCorrupt, message.append(why));
    };
    if (begin > end) return refused("run backwards");
    if (end > data.size())
      return refused("reach past the file's " + std::to_string(data.size()) + " bytes of data");
    const std::optional<uint64_t> expected = bytes_of(entry.tensor);
    if (!expected.has_value() || *expected != end - begin) {
      return refused("hold " + std::to_string(end - begin) + " bytes, but shape " +
                     shape_text(entry.tensor.dims()) + " of " +
                     std::string(name_of(entry.tensor.type)) + " needs " +
                     (expected.has_value() ? std::to_string(*expected) : "more than 2^60"));
    }
    if (begin < at) return refused("overlap another tensor");
    if (begin > at)
      return refused("leave " + std::to_string(begin - at) + " bytes before them to no tensor");
    at = end;
    entry.tensor.data = data.subspan(begin, end - begin);
  }
  if (at != data.size()) {
    return Status(Code::kCorrupt, where + ": the last " + std::to_string(data.size() - at) +
                                      " bytes belong to no tensor");
  }
  return {};
}

}  // namespace

std::string_view name_of(StoredType type) {
  return entry_of(type).name;
}
uint64_t size_of(StoredType type) {
  return entry_of(type).size;
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  return text + "]";
}

Result<std::vector<StoredTensor>> parse_safetensors(std::span<const std::byte> file,
                                                    const std::string& where) {
  const auto corrupt = [&](const std::string& why) {
    return Status(Code::kCorrupt, where + ": " + why);
  };
  if (file.size() < 8)
    return corrupt("only " + std::to_string(file.size()) + " bytes, not a safetensors file");
  uint64_t header_bytes = 0;
  for (size_t i = 0; i < 8; ++i)
    header_bytes |= static_cast<uint64_t>(file[i]) << (8 * i);  // little-endian
  if (header_bytes > Limits::kHeaderBytesMax || header_bytes > file.size() - 8) {
    return corrupt("claims a header of " + std::to_string(header_bytes) + " bytes; the file has " +
                   std::to_string(file.size()) + " and the limit is " +
                   std::to_string(Limits::kHeaderBytesMax));
  }
  json::parse_options options;
  options.max_depth = 4;
  json::basic_parser<HeaderHandler> parser(options);
  json::error_code error;
  const char* const text = reinterpret_cast<const char*>(file.data()) + 8;
  const size_t used = parser.write_some(false, text, header_bytes, error);
  if (error) {
    const std::string& why = parser.handler().why();
    return corrupt("header: " + (why.empty() ? error.message() : why) + " (near byte " +
                   std::to_string(8 + used) + ")");
  }
  if (!std::all_of(text + used, text + header_bytes, [](char c) { return c == ' '; }))
    return corrupt("header: more than one JSON value");

  std::vector<Entry> entries = std::move(parser.handler().entries());
  GALLEY_RETURN_IF_ERROR(place(file.subspan(8 + header_bytes), where, &entries));
  std::vector<StoredTensor> tensors;
  tensors.reserve(entries.size());
  for (Entry& entry : entries) tensors.push_back(std::move(entry.tensor));
  return tensors;
}

}  // namespace galley::model
