#include "text/normalizer.h"

#include <utility>

#include "text/utf8.h"

namespace galley::text {
namespace {

std::string without_marks(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = next_code_point(text, pos);
    if (!is_nonspacing_mark(c)) append_utf8(out, c);
  }
  return out;
}

std::string lower(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) append_lower(out, next_code_point(text, pos));
  return out;
}

std::string_view stripped(std::string_view text, bool left, bool right) {
  size_t begin = 0;
  while (left && begin < text.size()) {
    size_t next = begin;
    if (!is_white_space(next_code_point(text, next))) break;
    begin = next;
  }
  text.remove_prefix(begin);
  while (right && !text.empty()) {
    const size_t last = last_code_point_at(text);
    size_t pos = last;
    if (!is_white_space(next_code_point(text, pos))) break;
    text = text.substr(0, last);
  }
  return text;
}

Result<std::string> replaced(std::string_view text, const Pattern& pattern,
                             std::string_view content, size_t bytes_max, MatchBudget& budget) {
  std::vector<Span> spans;
  GALLEY_RETURN_IF_ERROR(pattern.find_all(text, budget, spans));
  std::string out;
  size_t at = 0;
  for (const Span& span : spans) {
    out.append(text.substr(at, span.begin - at));
    out.append(content);
    if (out.size() > bytes_max) {
      return Status(Code::kTooLarge, "the tokenizer's normalizer turns the text into more than " +
                                         std::to_string(bytes_max) + " bytes");
    }
    at = span.end;
  }
  out.append(text.substr(at));
  return out;
}

template <typename... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <typename... F>
Overloaded(F...) -> Overloaded<F...>;

}  // namespace

Result<Normalizer> Normalizer::parse(const boost::json::value& value, const TokenizerLimits& limits,
                                     const std::string& where) {
  Normalizer normalizer;
  normalizer.bytes_max_ = limits.normalized_bytes_max;
  if (!value.is_null()) GALLEY_RETURN_IF_ERROR(normalizer.add(value, limits, where));
  return normalizer;
}

Status Normalizer::add(const boost::json::value& value, const TokenizerLimits& limits,
                       const std::string& where) {
  GALLEY_ASSIGN_OR_RETURN(const boost::json::object* object, object_of(value, where));
  GALLEY_ASSIGN_OR_RETURN(const std::string type, string_field(*object, "type", where));
  if (steps_.size() >= limits.steps_max) {
    return {Code::kTooLarge, where + ": more than " + std::to_string(limits.steps_max) + " steps"};
  }
  if (type == "Sequence") {
    return add_sequence(*object, "normalizers", where,
                        [&](const boost::json::value& step, const std::string& inside) {
                          return add(step, limits, inside);
                        });
  }
  if (type == "NFC") {
    steps_.push_back(Form{NormalForm::kNfc});
  } else if (type == "NFD") {
    steps_.push_back(Form{NormalForm::kNfd});
  } else if (type == "NFKC") {
    steps_.push_back(Form{NormalForm::kNfkc});
  } else if (type == "NFKD") {
    steps_.push_back(Form{NormalForm::kNfkd});
  } else if (type == "Lowercase") {
    steps_.push_back(Lowercase{});
  } else if (type == "StripAccents") {
    steps_.push_back(StripAccents{});
  } else if (type == "Strip") {
    GALLEY_ASSIGN_OR_RETURN(const bool left, bool_field(*object, "strip_left", where));
    GALLEY_ASSIGN_OR_RETURN(const bool right, bool_field(*object, "strip_right", where));
    steps_.push_back(Strip{left, right});
  } else if (type == "Prepend") {
    GALLEY_ASSIGN_OR_RETURN(std::string text, string_field(*object, "prepend", where));
    steps_.push_back(Prepend{std::move(text)});
  } else if (type == "Replace") {
    GALLEY_ASSIGN_OR_RETURN(const boost::json::value* pattern, field(*object, "pattern", where));
    GALLEY_ASSIGN_OR_RETURN(std::string content, string_field(*object, "content", where));
    GALLEY_ASSIGN_OR_RETURN(Pattern parsed,
                            Pattern::parse(*pattern, limits.pattern_bytes_max, where));
    steps_.push_back(Replace{std::move(parsed), std::move(content)});
  } else {
    return {Code::kInvalid, where + ": normalizer type '" + type + "' is not supported"};
  }
  return {};
}

Status Normalizer::run(const Step& step, size_t bytes_max, MatchBudget& budget, std::string& text) {
  return std::visit(Overloaded{
                        [&](const Form& s) {
                          text = normalize(text, s.form);
                          return Status();
                        },
                        [&](const Lowercase&) {
                          text = lower(text);
                          return Status();
                        },
                        [&](const StripAccents&) {
                          text = without_marks(text);
                          return Status();
                        },
                        [&](const Strip& s) {
                          text = std::string(stripped(text, s.left, s.right));
                          return Status();
                        },
                        [&](const Prepend& s) {
                          if (!text.empty()) text.insert(0, s.text);
                          return Status();
                        },
                        [&](const Replace& s) {
                          Result<std::string> out =
                              replaced(text, s.pattern, s.content, bytes_max, budget);
                          if (!out.ok()) return out.status();
                          text = std::move(out).value();
                          return Status();
                        },
                    },
                    step);
}

Status Normalizer::apply(std::string& text, MatchBudget& budget) const {
  for (const Step& step : steps_) {
    GALLEY_RETURN_IF_ERROR(run(step, bytes_max_, budget, text));
    if (text.size() > bytes_max_) {
      return {Code::kTooLarge, "the tokenizer's normalizer turns the text into " +
                                   std::to_string(text.size()) + " bytes, the limit is " +
                                   std::to_string(bytes_max_)};
    }
  }
  return {};
}

}  // namespace galley::text
