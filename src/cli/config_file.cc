#include "cli/config_file.h"

#include <yaml-cpp/yaml.h>

#include <boost/json/serialize.hpp>
#include <boost/json/value.hpp>
#include <fstream>
#include <set>
#include <sstream>

#include "cli/settings.h"

namespace galley::cli {

namespace {

constexpr int kDepthMax = 16;
constexpr int kNodesMax = 10'000;  // in one mapping; aliases can multiply nodes

Status wrong(const std::string& path, int line, const std::string& why) {
  return Status(Code::kInvalid, path + ": line " + std::to_string(line) + ": " + why);
}

// A YAML value as JSON: unquoted numbers, booleans and null keep their type.
Result<boost::json::value> to_json(const YAML::Node& node, int depth, int* nodes) {
  if (depth > kDepthMax || ++*nodes > kNodesMax)
    return Status(Code::kInvalid, "too deep or too large");
  switch (node.Type()) {
    case YAML::NodeType::Map: {
      boost::json::object object;
      for (const auto& item : node) {
        if (!item.first.IsScalar()) return Status(Code::kInvalid, "a key is not a plain name");
        GALLEY_ASSIGN_OR_RETURN(boost::json::value value, to_json(item.second, depth + 1, nodes));
        object[item.first.Scalar()] = std::move(value);
      }
      return boost::json::value(std::move(object));
    }
    case YAML::NodeType::Sequence: {
      boost::json::array array;
      for (const auto& item : node) {
        GALLEY_ASSIGN_OR_RETURN(boost::json::value value, to_json(item, depth + 1, nodes));
        array.push_back(std::move(value));
      }
      return boost::json::value(std::move(array));
    }
    case YAML::NodeType::Scalar: {
      const bool plain = node.Tag() == "?";  // not quoted
      int64_t whole = 0;
      double real = 0;
      bool truth = false;
      if (plain && YAML::convert<int64_t>::decode(node, whole)) return boost::json::value(whole);
      if (plain && YAML::convert<double>::decode(node, real)) return boost::json::value(real);
      if (plain && YAML::convert<bool>::decode(node, truth)) return boost::json::value(truth);
      return boost::json::value(node.Scalar());
    }
    case YAML::NodeType::Null:
    case YAML::NodeType::Undefined:
      break;
  }
  return boost::json::value(nullptr);
}

Result<ConfigEntry> read_entry(const std::string& path, const YAML::Node& key,
                               const YAML::Node& value) {
  ConfigEntry entry;
  entry.line = key.Mark().line + 1;
  if (!key.IsScalar()) return wrong(path, entry.line, "a key is not a plain name");
  entry.key = key.Scalar();
  if (value.IsScalar()) {
    entry.values.push_back(value.Scalar());
    return entry;
  }
  if (value.IsMap()) {
    entry.shape = ConfigEntry::Shape::kMapping;
    int nodes = 0;
    const Result<boost::json::value> json = to_json(value, 0, &nodes);
    if (!json.ok()) return wrong(path, entry.line, entry.key + ": " + json.message());
    entry.values.push_back(boost::json::serialize(*json));
    return entry;
  }
  if (value.IsSequence() && value.size() > 0) {
    entry.shape = ConfigEntry::Shape::kList;
    for (const auto& item : value) {
      if (!item.IsScalar()) {
        return wrong(path, entry.line, entry.key + ": a list here holds plain values only");
      }
      entry.values.push_back(item.Scalar());
    }
    return entry;
  }
  return wrong(path, entry.line, entry.key + ": has no value; leave the key out for the default");
}

}  // namespace

Result<std::vector<ConfigEntry>> parse_config(const std::string& text, const std::string& path) {
  std::vector<ConfigEntry> entries;
  try {
    const YAML::Node root = YAML::Load(text);
    if (root.IsNull()) return entries;
    if (!root.IsMap()) {
      return Status(Code::kInvalid, path + ": must be a mapping of option names to values");
    }
    std::set<std::string> seen;
    for (const auto& item : root) {
      GALLEY_ASSIGN_OR_RETURN(ConfigEntry entry, read_entry(path, item.first, item.second));
      if (!seen.insert(entry.key).second) {
        return wrong(path, entry.line, "key '" + entry.key + "' is given twice");
      }
      entries.push_back(std::move(entry));
    }
  } catch (const YAML::Exception& error) {
    return wrong(path, error.mark.line + 1, "not YAML: " + error.msg);
  }
  return entries;
}

Result<std::vector<ConfigEntry>> read_config_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return Status(Code::kNotFound, "--config: '" + path + "' cannot be opened; check the path");
  }
  std::string text(kConfigBytesMax + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || (file.fail() && !file.eof())) {
    return Status(Code::kInvalid, "--config: '" + path + "' cannot be read; is it a file?");
  }
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kConfigBytesMax) {
    return Status(Code::kTooLarge, path + ": is larger than " + std::to_string(kConfigBytesMax) +
                                       " bytes, too large for a configuration");
  }
  return parse_config(text, path);
}

}  // namespace galley::cli
