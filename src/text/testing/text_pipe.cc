// text_pipe: the text layer as a filter, for the comparisons of tools/goldens with Python.
//
//   text_pipe encode FOLDER   one JSON string or {"text", "special", "parse"} a line in, ids out
//   text_pipe decode FOLDER   one JSON array of ids a line in, text (special tokens kept) out
//   text_pipe render          one {"template", "context", "now"} a line in, text out
//
// Every line is answered by one line of JSON; an error by {"error": "..."}.
#include <boost/json.hpp>
#include <iostream>
#include <string>

#include "text/jinja.h"
#include "text/tokenizer.h"

namespace json = boost::json;

namespace galley::text {
namespace {

json::value error(const Status& status) {
  return json::object{{"error", status.message()}};
}

json::value encode(const Tokenizer& tokenizer, const json::value& line) {
  EncodeOptions options;
  std::string_view text;
  if (const json::object* object = line.if_object()) {
    text = object->at("text").as_string();
    options.add_special_tokens = object->at("special").as_bool();
    options.parse_special = object->at("parse").as_bool();
  } else {
    text = line.as_string();
  }
  const Result<std::vector<int32_t>> ids = tokenizer.encode(text, options);
  if (!ids.ok()) return error(ids.status());
  return json::value_from(ids.value());
}

json::value decode(const Tokenizer& tokenizer, const json::value& line) {
  return json::value(tokenizer.decode(json::value_to<std::vector<int32_t>>(line), false));
}

json::value render(const json::value& line) {
  const Result<Template> parsed = Template::parse(line.at("template").as_string());
  if (!parsed.ok()) return error(parsed.status());
  const Result<std::string> text =
      parsed->render(line.at("context").as_object(), line.at("now").as_int64());
  if (!text.ok()) return error(text.status());
  return json::value(text.value());
}

int render_lines() {
  std::string line;
  while (std::getline(std::cin, line)) std::cout << render(json::parse(line)) << "\n";
  return 0;
}

int run(const std::string& mode, const std::string& folder) {
  const Result<std::shared_ptr<const Tokenizer>> tokenizer = Tokenizer::load(folder);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.message() << "\n";
    return 1;
  }
  std::string line;
  while (std::getline(std::cin, line)) {
    const json::value value = json::parse(line);
    std::cout << (mode == "encode" ? encode(**tokenizer, value) : decode(**tokenizer, value))
              << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace galley::text

int main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  if (argc == 2 && mode == "render") return galley::text::render_lines();
  if (argc != 3 || (mode != "encode" && mode != "decode")) {
    std::cerr << "usage: text_pipe encode|decode FOLDER, or text_pipe render\n";
    return 2;
  }
  std::ios::sync_with_stdio(false);
  return galley::text::run(mode, argv[2]);
}
