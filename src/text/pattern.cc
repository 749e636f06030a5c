#include "text/pattern.h"

namespace galley::text {
namespace {

void find_literal(std::string_view text, std::string_view literal, std::vector<Span>& out) {
  if (literal.empty()) return;
  for (size_t at = 0; (at = text.find(literal, at)) != std::string_view::npos;
       at += literal.size()) {
    out.push_back({at, at + literal.size()});
  }
}

Status find_regex(const Regex& regex, std::string_view text, MatchBudget& budget,
                  std::vector<Span>& out) {
  size_t at = 0;
  while (at <= text.size()) {
    Span span;
    GALLEY_ASSIGN_OR_RETURN(const bool found, regex.find(text, at, budget, span));
    if (!found) break;
    if (span.begin == span.end && !out.empty() && out.back().end == span.end) {
      do {
        ++at;
      } while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80);
      continue;
    }
    at = span.end;
    out.push_back(span);
  }
  return {};
}

}  // namespace

Result<Pattern> Pattern::regex(std::string_view expression, const std::string& where) {
  Result<Regex> compiled = Regex::compile(expression);
  if (!compiled.ok()) return Status(compiled.code(), where + ": " + compiled.message());
  Pattern pattern;
  pattern.regex_ = std::make_shared<const Regex>(std::move(compiled).value());
  return pattern;
}

Pattern Pattern::literal(std::string text) {
  Pattern pattern;
  pattern.literal_ = std::move(text);
  return pattern;
}

Result<Pattern> Pattern::parse(const boost::json::value& value, size_t pattern_bytes_max,
                               const std::string& where) {
  GALLEY_ASSIGN_OR_RETURN(const boost::json::object* object, object_of(value, where));
  const bool is_regex = object->contains("Regex");
  if (!is_regex && !object->contains("String")) {
    return Status(Code::kCorrupt, where + ": expected {\"Regex\": ...} or {\"String\": ...}");
  }
  GALLEY_ASSIGN_OR_RETURN(std::string text,
                          string_field(*object, is_regex ? "Regex" : "String", where));
  if (text.size() > pattern_bytes_max) {
    return Status(Code::kTooLarge, where + ": pattern of " + std::to_string(text.size()) +
                                       " bytes, the limit is " + std::to_string(pattern_bytes_max));
  }
  if (is_regex) return regex(text, where);
  return literal(std::move(text));
}

Status Pattern::find_all(std::string_view text, MatchBudget& budget, std::vector<Span>& out) const {
  out.clear();
  if (regex_) return find_regex(*regex_, text, budget, out);
  find_literal(text, literal_, out);
  return {};
}

}  // namespace galley::text
