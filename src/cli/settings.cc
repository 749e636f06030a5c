#include "cli/settings.h"

#include <unistd.h>

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>

#include "cli/config_file.h"
#include "cli/numbers.h"

extern char** environ;

namespace galley::cli {

namespace {

std::string twin_name(std::string_view flag) {
  std::string name = "GALLEY_";
  for (const char c : flag) {
    name.push_back(c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c));
  }
  return name;
}

// "--max_model_len=4" -> "--max-model-len=4": both spellings are in use.
std::string with_dashes(const std::string& argument) {
  if (!argument.starts_with("--")) return argument;
  std::string out = argument;
  const size_t end = std::min(out.find('='), out.size());
  std::replace(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(end), '_', '-');
  return out;
}

Status single(const std::vector<std::string>& values) {
  if (values.size() == 1) return Status();
  return Status(Code::kInvalid,
                "takes one value, " + std::to_string(values.size()) + " were given");
}

std::string joined(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (const std::string& part : parts) {
    if (!out.empty()) out.append(separator);
    out.append(part);
  }
  return out;
}

size_t edit_distance(std::string_view a, std::string_view b) {
  // Optimal string alignment: a swap of neighbours is one slip, like an insertion or a deletion.
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t change = a[i - 1] == b[j - 1] ? 0 : 1;
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, cost[i - 1][j - 1] + change});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::string nearest_name(std::string_view name, std::span<const std::string> known) {
  constexpr size_t kNameMax = 64;  // longer than any name of ours
  if (name.size() > kNameMax) return "";
  std::string best;
  size_t best_distance = std::max<size_t>(2, name.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const size_t distance = edit_distance(name, candidate);
    if (distance < best_distance) {
      best_distance = distance;
      best = candidate;
    }
  }
  if (!best.empty() || name.size() < 3) return best;
  for (const std::string& candidate : known) {  // "--queued" for "--max-num-queued-reqs"
    if (candidate.find(name) != std::string::npos) return candidate;
  }
  return "";
}

std::string_view source_name(Source source) {
  switch (source) {
    case Source::kDefault:
      return "default";
    case Source::kFile:
      return "file";
    case Source::kEnvironment:
      return "environment";
    case Source::kFlag:
      return "flag";
  }
  return "";
}

Variables process_variables() {
  Variables out;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (!text.starts_with("GALLEY_") || equals == std::string_view::npos) continue;
    out.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return out;
}

Settings::Settings(std::string command, std::string summary)
    : command_(std::move(command)), summary_(std::move(summary)) {}

Settings::Setting& Settings::declare(Text text, Setting::Kind kind) {
  GALLEY_CHECK(find(text.flag) == nullptr, "an option is declared twice");
  Setting setting;
  setting.flag = std::move(text.flag);
  setting.value_name = std::move(text.value_name);
  setting.help = std::move(text.help);
  setting.kind = kind;
  setting.heading = heading_;
  setting.rare = rare_;
  settings_.push_back(std::move(setting));
  return settings_.back();
}

Settings::Setting& Settings::add(Text text, std::string* target) {
  Setting& setting = declare(std::move(text), Setting::Kind::kValue);
  setting.assign = [target](const std::vector<std::string>& values) {
    GALLEY_RETURN_IF_ERROR(single(values));
    *target = values.front();
    return Status();
  };
  setting.show = [target] { return *target; };
  return setting;
}

Settings::Setting& Settings::add(Text text, std::optional<std::string>* target) {
  Setting& setting = declare(std::move(text), Setting::Kind::kValue);
  setting.assign = [target](const std::vector<std::string>& values) {
    GALLEY_RETURN_IF_ERROR(single(values));
    *target = values.front();
    return Status();
  };
  setting.show = [target] { return target->value_or(""); };
  return setting;
}

Settings::Setting& Settings::add(Text text, std::vector<std::string>* target) {
  Setting& setting = declare(std::move(text), Setting::Kind::kList);
  setting.assign = [target](const std::vector<std::string>& values) {
    *target = values;
    return Status();
  };
  setting.show = [target] { return joined(*target, " "); };
  return setting;
}

Settings::Setting& Settings::add(Text text, IntRange range, int64_t* target) {
  Setting& setting = declare(std::move(text), Setting::Kind::kValue);
  setting.assign = [target, range](const std::vector<std::string>& values) -> Status {
    GALLEY_RETURN_IF_ERROR(single(values));
    GALLEY_ASSIGN_OR_RETURN(const int64_t value, parse_count(values.front()));
    if (value < range.min || value > range.max) {
      std::string bounds = "at least " + std::to_string(range.min);
      if (range.max != std::numeric_limits<int64_t>::max()) {
        bounds = "between " + std::to_string(range.min) + " and " + std::to_string(range.max);
      }
      return Status(Code::kInvalid,
                    std::to_string(value) + " is out of range; it must be " + bounds);
    }
    *target = value;
    return Status();
  };
  setting.show = [target] { return std::to_string(*target); };
  return setting;
}

Settings::Setting& Settings::add(Text text, RealRange range, double* target) {
  Setting& setting = declare(std::move(text), Setting::Kind::kValue);
  setting.assign = [target, range](const std::vector<std::string>& values) -> Status {
    GALLEY_RETURN_IF_ERROR(single(values));
    GALLEY_ASSIGN_OR_RETURN(const double value, parse_real(values.front()));
    if (!(value >= range.min && value <= range.max)) {
      std::string bounds = "at least " + show_real(range.min, 3);
      if (range.max < std::numeric_limits<double>::max()) {
        bounds = "between " + show_real(range.min, 3) + " and " + show_real(range.max, 3);
      }
      return Status(Code::kInvalid, values.front() + " is out of range; it must be " + bounds);
    }
    *target = value;
    return Status();
  };
  setting.show = [target] {
    std::string shown = show_real(*target, 3);
    while (shown.ends_with('0')) shown.pop_back();
    if (shown.ends_with('.')) shown.pop_back();
    return shown;
  };
  return setting;
}

Settings::Setting& Settings::add_size(Text text, int64_t* target) {
  Setting& setting = declare(std::move(text), Setting::Kind::kValue);
  setting.assign = [target](const std::vector<std::string>& values) -> Status {
    GALLEY_RETURN_IF_ERROR(single(values));
    GALLEY_ASSIGN_OR_RETURN(*target, parse_size(values.front()));
    return Status();
  };
  setting.show = [target] { return *target == 0 ? "" : show_size(static_cast<double>(*target)); };
  return setting;
}

Settings::Setting& Settings::add_switch(Text text, bool* target) {
  Setting& setting = declare(std::move(text), Setting::Kind::kSwitch);
  setting.assign = [target](const std::vector<std::string>& values) -> Status {
    if (values.empty()) return Status(Code::kInvalid, "needs true or false");
    GALLEY_ASSIGN_OR_RETURN(*target, parse_switch(values.back()));
    return Status();
  };
  setting.show = [target] { return *target ? "true" : "false"; };
  return setting;
}

Settings::Setting& Settings::add_switch(Text text, std::optional<bool>* target) {
  Setting& setting = declare(std::move(text), Setting::Kind::kSwitch);
  setting.assign = [target](const std::vector<std::string>& values) -> Status {
    if (values.empty()) return Status(Code::kInvalid, "needs true or false");
    GALLEY_ASSIGN_OR_RETURN(*target, parse_switch(values.back()));
    return Status();
  };
  setting.show = [target] { return !target->has_value() ? "auto" : **target ? "true" : "false"; };
  return setting;
}

Settings::Setting& Settings::add_choice(Text text, std::vector<std::string> choices,
                                        std::string* target) {
  Setting& setting = declare(std::move(text), Setting::Kind::kValue);
  setting.assign =
      [target, choices = std::move(choices)](const std::vector<std::string>& values) -> Status {
    GALLEY_RETURN_IF_ERROR(single(values));
    if (std::find(choices.begin(), choices.end(), values.front()) == choices.end()) {
      return Status(Code::kInvalid,
                    "'" + values.front() + "' is not one of " + joined(choices, ", "));
    }
    *target = values.front();
    return Status();
  };
  setting.show = [target] { return *target; };
  return setting;
}

Settings::Setting& Settings::add_json(Text text, std::string* target) {
  Setting& setting = add(std::move(text), target);
  setting.kind = Setting::Kind::kJson;
  return setting;
}

void Settings::positional(std::string value_name, std::string flag) {
  GALLEY_CHECK(find(flag) != nullptr, "a positional argument needs its option declared first");
  positional_name_ = std::move(value_name);
  positional_flag_ = std::move(flag);
}

void Settings::positional_list(std::string value_name, std::vector<std::string>* target,
                               size_t max) {
  positional_name_ = std::move(value_name);
  positional_list_ = target;
  positional_max_ = max;
}

void Settings::refuse(std::string flag, std::string why) {
  refused_.emplace(std::move(flag), std::move(why));
}

Settings::Setting* Settings::find(std::string_view flag) {
  for (Setting& setting : settings_) {
    if (setting.flag == flag) return &setting;
  }
  return nullptr;
}

const Settings::Setting* Settings::find(std::string_view flag) const {
  return const_cast<Settings*>(this)->find(flag);  // NOLINT: one search for both
}

std::vector<std::string> Settings::flag_names() const {
  std::vector<std::string> names = {"help", "help-all"};
  if (config_allowed_) names.push_back("config");
  for (const Setting& setting : settings_) {
    names.push_back(setting.flag);
    if (setting.kind == Setting::Kind::kSwitch) names.push_back("no-" + setting.flag);
  }
  return names;
}

std::vector<std::string> Settings::names() const {
  std::vector<std::string> out;
  for (const Setting& setting : settings_) out.push_back(setting.flag);
  return out;
}

bool Settings::given(std::string_view flag) const {
  const Setting* const setting = find(flag);
  GALLEY_CHECK(setting != nullptr, "given() of an option that is not declared");
  return setting->source != Source::kDefault;
}

Status Settings::unknown_flag(const std::string& argument) const {
  const std::string name = argument.substr(0, argument.find('='));
  const std::string bare = name.substr(std::min(name.find_first_not_of('-'), name.size()));
  if (const auto refused = refused_.find(bare); refused != refused_.end()) {
    return Status(Code::kInvalid, "--" + bare + ": " + refused->second);
  }
  std::string nearest;
  if (bare.starts_with("no-")) {  // what is meant is a switch, turned off
    std::vector<std::string> switches;
    for (const Setting& setting : settings_) {
      if (setting.kind == Setting::Kind::kSwitch) switches.push_back(setting.flag);
    }
    nearest = nearest_name(bare.substr(3), switches);
    if (!nearest.empty()) nearest = "no-" + nearest;
  }
  if (nearest.empty()) nearest = nearest_name(bare, flag_names());
  const std::string hint = nearest.empty() ? "'" + command_ + " --help' lists the flags"
                                           : "did you mean --" + nearest + "?";
  return Status(Code::kInvalid, "unknown flag " + name + "; " + hint);
}

Status Settings::assign(Setting* setting, const std::vector<std::string>& values, Source source,
                        const std::string& origin) {
  const Status status = setting->assign(values);
  if (!status.ok()) {
    std::string why = status.message();
    if (setting->secret) why = "is not valid";
    if (source == Source::kEnvironment && values.front().starts_with("tcp://")) {
      why +=
          " (Kubernetes sets this variable for a service named 'galley': set"
          " enableServiceLinks: false, or name the service otherwise)";
    }
    return Status(status.code(), origin + ": " + why);
  }
  setting->source = source;
  return Status();
}

Status Settings::apply_flags(std::span<const std::string> args) {
  std::vector<std::string> reversed;  // as CLI11 wants them
  for (const std::string& argument : args) reversed.push_back(with_dashes(argument));
  std::reverse(reversed.begin(), reversed.end());

  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  bool help = false;
  bool help_all = false;
  app.add_flag("-h,--help", help);
  app.add_flag("--help-all", help_all);
  if (config_allowed_) app.add_option("--config", config_path_);
  std::vector<std::string> positionals;
  if (!positional_name_.empty()) app.add_option("positional", positionals)->expected(0, -1);
  struct Bound {
    Setting* setting;
    CLI::Option* option;
    std::vector<std::string> values;
  };
  std::deque<Bound> bounds;
  for (Setting& setting : settings_) {
    bounds.push_back({&setting, nullptr, {}});
    Bound& bound = bounds.back();
    if (setting.kind == Setting::Kind::kSwitch) {
      bound.option = app.add_flag("--" + setting.flag + ",!--no-" + setting.flag, bound.values);
      bound.option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    } else {
      bound.option = app.add_option("--" + setting.flag, bound.values);
      bound.option->expected(1, setting.kind == Setting::Kind::kList ? -1 : 1);
      bound.option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    }
  }
  try {
    app.parse(reversed);
  } catch (const CLI::ParseError& error) {
    return Status(Code::kInvalid, error.what());
  }
  if (help || help_all) {
    help_text_ = this->help(help_all);
    return Status();
  }
  for (const std::string& extra : app.remaining()) {
    if (extra.starts_with("-") && extra.size() > 1) return unknown_flag(extra);
  }
  if (!app.remaining().empty()) {
    return Status(Code::kInvalid, "unexpected argument '" + app.remaining().front() + "'; '" +
                                      command_ + " --help' shows the usage");
  }
  for (Bound& bound : bounds) {
    if (bound.option->count() == 0) continue;
    const std::vector<std::string> values = bound.option->results();
    GALLEY_RETURN_IF_ERROR(
        assign(bound.setting, values, Source::kFlag, "--" + bound.setting->flag));
  }
  if (positionals.empty()) return Status();
  if (positional_list_ != nullptr) {
    if (positionals.size() > positional_max_) {
      return Status(Code::kInvalid, std::to_string(positionals.size()) + " arguments; at most " +
                                        std::to_string(positional_max_) + " are taken");
    }
    *positional_list_ = positionals;
    return Status();
  }
  Setting* const setting = find(positional_flag_);
  if (positionals.size() > 1) {
    return Status(Code::kInvalid,
                  "unexpected argument '" + positionals[1] + "' after '" + positionals[0] + "'");
  }
  if (setting->source == Source::kFlag) {
    return Status(Code::kInvalid, "'" + positionals[0] + "' and --" + setting->flag +
                                      " name the same thing; give one of them");
  }
  return assign(setting, positionals, Source::kFlag, positional_name_);
}

Status Settings::apply_variables(const Variables& variables) {
  std::vector<std::string> names;
  for (Setting& setting : settings_) {
    const std::string name = twin_name(setting.flag);
    names.push_back(name);
    const auto found = variables.find(name);
    if (found == variables.end() || found->second.empty() || setting.source == Source::kFlag) {
      continue;
    }
    std::vector<std::string> values = {found->second};
    if (setting.kind == Setting::Kind::kList) {  // separated by blanks or commas
      values.clear();
      std::string item;
      for (const char c : found->second + ",") {
        if (c != ',' && c != ' ') {
          item.push_back(c);
        } else if (!item.empty()) {
          values.push_back(std::move(item));
          item.clear();
        }
      }
      if (values.empty()) continue;
    }
    GALLEY_RETURN_IF_ERROR(assign(&setting, values, Source::kEnvironment, name));
  }
  if (config_allowed_) names.push_back("GALLEY_CONFIG");
  for (const auto& [name, value] : variables) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    const std::string nearest = nearest_name(name, names);
    if (nearest.empty()) continue;  // another program's, or another command's
    warnings_.push_back(
        ("environment variable " + name + " is not read; did you mean ").append(nearest) + "?");
  }
  return Status();
}

Status Settings::apply_file(const std::string& path) {
  GALLEY_ASSIGN_OR_RETURN(const std::vector<ConfigEntry> entries, read_config_file(path));
  for (const ConfigEntry& entry : entries) {
    const std::string where = path + ": line " + std::to_string(entry.line) + ": ";
    std::string flag = entry.key;
    std::replace(flag.begin(), flag.end(), '_', '-');
    if (std::find(config_skipped_.begin(), config_skipped_.end(), flag) != config_skipped_.end())
      continue;
    Setting* const setting = find(flag);
    if (setting == nullptr) {
      if (const auto refused = refused_.find(flag); refused != refused_.end()) {
        return Status(Code::kInvalid, where + entry.key + ": " + refused->second);
      }
      const std::string nearest = nearest_name(flag, flag_names());
      return Status(Code::kInvalid, where + "unknown key '" + entry.key + "'" +
                                        (nearest.empty() ? "" : "; did you mean " + nearest + "?"));
    }
    using Shape = ConfigEntry::Shape;
    const bool json = setting->kind == Setting::Kind::kJson;
    const bool fits = entry.shape == Shape::kScalar ||
                      (entry.shape == Shape::kList && setting->kind == Setting::Kind::kList) ||
                      (entry.shape == Shape::kMapping && json);
    if (!fits) {
      return Status(Code::kInvalid, where + entry.key + ": needs " +
                                        (setting->kind == Setting::Kind::kList ? "a list of values"
                                         : json                                ? "a mapping"
                                                                               : "one value"));
    }
    if (setting->source != Source::kDefault) continue;  // a flag or variable wins
    GALLEY_RETURN_IF_ERROR(assign(setting, entry.values, Source::kFile, where + entry.key));
  }
  return Status();
}

Status Settings::parse(std::span<const std::string> args, const Variables& variables) {
  GALLEY_RETURN_IF_ERROR(apply_flags(args));
  if (!help_text_.empty()) return Status();
  GALLEY_RETURN_IF_ERROR(apply_variables(variables));
  if (!config_allowed_) return Status();
  if (config_path_.empty()) {
    if (const auto found = variables.find("GALLEY_CONFIG"); found != variables.end()) {
      config_path_ = found->second;
    }
  }
  return config_path_.empty() ? Status() : apply_file(config_path_);
}

std::string Settings::help(bool all) const {
  constexpr size_t kTextColumn = 38;
  std::string out = summary_ + "\n\nUsage: " + command_ + " [flags]";
  if (!positional_name_.empty()) {
    out += " [" + positional_name_ + (positional_list_ != nullptr ? " ..." : "") + "]";
  }
  out += "\n";
  bool hidden = false;
  std::string heading;
  for (const Setting& setting : settings_) {
    if (setting.rare && !all) {
      hidden = true;
      continue;
    }
    if (setting.heading != heading) {
      heading = setting.heading;
      out += heading + ":\n";
    }
    std::string line = "  --";
    const bool on = setting.kind == Setting::Kind::kSwitch && setting.show() == "true";
    if (on) line += "[no-]";
    line += setting.flag;
    if (!setting.value_name.empty()) line += " " + setting.value_name;
    if (setting.kind == Setting::Kind::kList) line += " ...";
    line.append(line.size() < kTextColumn ? kTextColumn - line.size() : 2, ' ');
    line += setting.help;
    const std::string shown = setting.secret ? "" : setting.show();
    if (!shown.empty() && shown != "0" && shown != "false" &&
        setting.kind != Setting::Kind::kJson) {
      line += " (" + shown + ")";
    }
    out += line + "\n";
  }
  std::string last = "  --help";
  if (hidden || all) last += ", --help-all";
  last.append(kTextColumn - last.size(), ' ');
  out += last + (hidden || all ? "this text; every flag\n" : "this text\n");
  if (config_allowed_) {
    out +=
        "Each flag has a twin in the environment (--max-model-len: GALLEY_MAX_MODEL_LEN) and is"
        " a key of\nthe YAML file named by --config FILE. Flag over environment over file.\n";
  }
  for (const std::string& line : examples_) out += line + "\n";
  return out;
}

std::string Settings::print() const {
  std::string out;
  for (const Setting& setting : settings_) {
    std::string value = setting.show();
    if (setting.secret && !value.empty()) value = "(set, not shown)";
    if (value.empty()) value = "-";
    std::string line = "  " + setting.flag;
    line.append(line.size() < 28 ? 28 - line.size() : 1, ' ');
    line += value;
    if (setting.source != Source::kDefault) {
      line += "  [" + std::string(source_name(setting.source)) + "]";
    }
    out += line + "\n";
  }
  return out;
}

}  // namespace galley::cli
