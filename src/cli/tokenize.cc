// `galley tokenize`: text to token ids and back, with a model folder's tokenizer.
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <iterator>

#include "cli/command.h"
#include "cli/model_folder.h"
#include "cli/pull.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace galley::cli {

namespace {

constexpr size_t kInputBytesMax = size_t{256} << 20;
constexpr size_t kArgumentsMax = 1 << 16;

Result<std::string> read_input() {
  std::string text;
  char piece[64 << 10];
  while (const size_t got = std::fread(piece, 1, sizeof(piece), stdin)) {
    text.append(piece, got);
    if (text.size() > kInputBytesMax) {
      return Status(Code::kTooLarge,
                    "standard input holds more than " + std::to_string(kInputBytesMax) + " bytes");
    }
  }
  return text;
}

// Ids separated by blanks, commas or brackets, as this command and JSON print them.
Result<std::vector<int32_t>> parse_ids(std::string_view text) {
  std::vector<int32_t> ids;
  size_t at = 0;
  while ((at = text.find_first_not_of(" \t\r\n,[]", at)) != std::string_view::npos) {
    const size_t end = std::min(text.find_first_of(" \t\r\n,[]", at), text.size());
    int32_t id = 0;
    const auto [stop, error] = std::from_chars(text.data() + at, text.data() + end, id);
    if (error != std::errc() || stop != text.data() + end || id < 0) {
      return Status(Code::kInvalid,
                    "'" + std::string(text.substr(at, end - at)) + "' is not a token id");
    }
    ids.push_back(id);
    at = end;
  }
  return ids;
}

void print_encoding(const text::Tokenizer& tokenizer, const std::vector<int32_t>& ids, bool json) {
  if (json) {
    boost::json::array numbers, tokens;
    for (const int32_t id : ids) {
      numbers.emplace_back(id);
      const std::string_view token = tokenizer.token_string(id);
      tokens.emplace_back(boost::json::string(token.data(), token.size()));
    }
    const boost::json::object out = {
        {"count", ids.size()}, {"ids", std::move(numbers)}, {"tokens", std::move(tokens)}};
    std::printf("%s\n", boost::json::serialize(out).c_str());
    return;
  }
  std::string line;
  for (const int32_t id : ids) {
    if (!line.empty()) line.push_back(' ');
    line += std::to_string(id);
  }
  std::printf("%s\n", line.c_str());
}

}  // namespace

Status run_tokenize(Args args, const Variables& variables) {
  std::string model;
  bool decode = false;
  bool json = false;
  bool special = true;
  bool skip_special = false;
  std::vector<std::string> words;
  Settings settings("galley tokenize",
                    "Turns text into token ids, or ids into text (--decode). Reads standard input"
                    " unless TEXT is given.");
  settings.add({"model", "DIR", "model folder, or ORG/NAME of a hub; by default the demo model"},
               &model);
  settings.add_switch({"decode", "", "the input holds token ids"}, &decode);
  settings.add_switch({"add-special-tokens", "", "put the tokenizer's own tokens around the text"},
                      &special);
  settings.add_switch({"skip-special-tokens", "", "leave control tokens out of the decoded text"},
                      &skip_special);
  settings.add_switch({"json", "", "print JSON"}, &json);
  settings.positional_list("TEXT", &words, kArgumentsMax);
  settings.example(
      "Example: galley tokenize --model models/demo 'Hello!' | galley tokenize"
      " --decode");
  allow_serve_config(&settings);
  GALLEY_RETURN_IF_ERROR(settings.parse(args, variables));
  if (print_and_stop(settings)) return Status();
  if (model.empty()) {
    GALLEY_ASSIGN_OR_RETURN(model, find_demo_model());
  } else if (is_hub_name(model)) {
    HubFlags hub;
    hub.include = {"tokenizer.json", "tokenizer_config.json"};
    GALLEY_ASSIGN_OR_RETURN(const hub::Pulled pulled, pull_model(model, hub));
    model = pulled.folder;
  }
  GALLEY_ASSIGN_OR_RETURN(const auto tokenizer, text::Tokenizer::load(model));

  std::string input;
  for (const std::string& word : words) input += (input.empty() ? "" : " ") + word;
  if (words.empty()) {
    GALLEY_ASSIGN_OR_RETURN(input, read_input());
  }
  if (!decode) {
    GALLEY_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                            tokenizer->encode(input, {.add_special_tokens = special}));
    print_encoding(*tokenizer, ids, json);
    return Status();
  }
  GALLEY_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, parse_ids(input));
  for (const int32_t id : ids) {
    if (!tokenizer->has(id)) {
      return Status(Code::kInvalid, std::to_string(id) +
                                        " is no token of this model; ids are below " +
                                        std::to_string(tokenizer->vocab_size()));
    }
  }
  const std::string text = tokenizer->decode(ids, skip_special);
  if (json) {
    std::printf("%s\n", boost::json::serialize(boost::json::object{{"text", text}}).c_str());
  } else {
    std::fwrite(text.data(), 1, text.size(), stdout);
  }
  return Status();
}

}  // namespace galley::cli
