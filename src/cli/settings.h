// Settings: the options of one command, filled once from flags, environment, file and defaults.
//
// A command declares each option once (name, target, range, one line of help); flag, GALLEY_* twin,
// place in the --config file, help line and the print-out at start all follow from that. A flag
// wins over the environment, the environment over the file, the file over the default. Anything
// unknown is an error that suggests the nearest known name. Used on the main thread before
// anything else runs; targets must outlive the Settings.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace galley::cli {

inline constexpr size_t kConfigBytesMax = size_t{1} << 20;
inline constexpr int kHelpLinesMax = 50;
inline constexpr size_t kHelpColumnsMax = 100;

using Variables = std::map<std::string, std::string>;
// Those of the process whose name begins with GALLEY_.
Variables process_variables();

enum class Source : uint8_t { kDefault, kFile, kEnvironment, kFlag };
std::string_view source_name(Source source);

class Settings {
 public:
  // One option. `flag` is spelt without dashes: "max-model-len".
  struct Setting {
    enum class Kind : uint8_t { kValue, kList, kSwitch, kJson };
    std::string flag;
    std::string value_name;
    std::string help;
    Kind kind = Kind::kValue;
    bool secret = false;  // shown as a count or "set", never as its value
    bool rare = false;    // only in --help-all
    std::string heading;
    std::function<Status(const std::vector<std::string>&)> assign;
    std::function<std::string()> show;
    Source source = Source::kDefault;
  };

  struct IntRange {
    int64_t min = 0;
    int64_t max = std::numeric_limits<int64_t>::max();
  };
  struct RealRange {
    double min = 0;
    double max = std::numeric_limits<double>::max();
  };
  struct Text {  // how an option is called and explained
    std::string flag;
    std::string value_name;
    std::string help;
  };

  // `command` as typed, "galley serve"; `summary` one sentence.
  Settings(std::string command, std::string summary);

  // Options declared from here on stand under `title` in the help.
  void heading(std::string title) { heading_ = std::move(title); }
  // Options declared from here on are only in --help-all.
  void rare_from_here() { rare_ = true; }
  Setting& add(Text text, std::string* target);
  Setting& add(Text text, std::optional<std::string>* target);
  Setting& add(Text text, std::vector<std::string>* target);
  // Counts may carry a suffix: see parse_count in numbers.h.
  Setting& add(Text text, IntRange range, int64_t* target);
  Setting& add(Text text, RealRange range, double* target);
  // Bytes: see parse_size in numbers.h.
  Setting& add_size(Text text, int64_t* target);
  // --flag and --no-flag.
  Setting& add_switch(Text text, bool* target);
  Setting& add_switch(Text text, std::optional<bool>* target);  // empty: not given
  Setting& add_choice(Text text, std::vector<std::string> choices, std::string* target);
  // A JSON object on the command line, JSON or a YAML mapping in the file; kept as JSON text.
  Setting& add_json(Text text, std::string* target);

  // The argument without a flag sets option `flag`. At most one per command.
  void positional(std::string value_name, std::string flag);
  // Arguments without a flag are collected here (`value_name` for the help), at most `max`.
  void positional_list(std::string value_name, std::vector<std::string>* target, size_t max);
  // A flag that other servers have and that means nothing here: refused with the reason.
  void refuse(std::string flag, std::string why);
  // Takes --config FILE (and GALLEY_CONFIG). Keys that are in `skipped` belong to another command
  // that reads the same file, and mean nothing here.
  void allow_config_file(std::vector<std::string> skipped = {}) {
    config_allowed_ = true;
    config_skipped_ = std::move(skipped);
  }
  bool declares(std::string_view flag) const { return find(flag) != nullptr; }
  std::vector<std::string> names() const;  // of all options
  // Lines printed below the options in the help.
  void example(std::string line) { examples_.push_back(std::move(line)); }

  // Fills every target. `args` is what follows the command's name. After it, if help_text() is
  // not empty, the command prints that and ends instead.
  // Errors  kInvalid  names the flag, variable or file and key, the value, and the remedy.
  Status parse(std::span<const std::string> args, const Variables& variables);

  const std::string& help_text() const { return help_text_; }
  std::string help(bool all) const;
  // One line an option: name, value (secrets masked), where it came from.
  std::string print() const;
  bool given(std::string_view flag) const;  // by flag, environment or file
  // Variables that begin with GALLEY_ and name no option, with what was perhaps meant.
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  Setting& declare(Text text, Setting::Kind kind);
  Setting* find(std::string_view flag);
  const Setting* find(std::string_view flag) const;
  std::vector<std::string> flag_names() const;
  Status unknown_flag(const std::string& argument) const;
  Status apply_flags(std::span<const std::string> args);
  Status apply_variables(const Variables& variables);
  Status apply_file(const std::string& path);
  Status assign(Setting* setting, const std::vector<std::string>& values, Source source,
                const std::string& origin);

  const std::string command_;
  const std::string summary_;
  std::string heading_ = "Options";
  bool rare_ = false;
  std::deque<Setting> settings_;  // stable addresses
  std::map<std::string, std::string> refused_;
  std::string positional_name_;
  std::string positional_flag_;
  std::vector<std::string>* positional_list_ = nullptr;
  size_t positional_max_ = 0;
  std::vector<std::string> examples_;
  bool config_allowed_ = false;
  std::string config_path_;
  std::vector<std::string> config_skipped_;
  std::string help_text_;
  std::vector<std::string> warnings_;
};

// The known name nearest to `name`, if near enough to be a slip of the finger; empty otherwise.
std::string nearest_name(std::string_view name, std::span<const std::string> known);

}  // namespace galley::cli
