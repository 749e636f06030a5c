#include "cli/text_model.h"

#include <ctime>
#include <utility>

#include "base/log.h"
#include "text/chat_template.h"

namespace galley::cli {

namespace {

void read_thinking_tags(const text::Tokenizer& tokenizer, gateway::ThinkingTags* tags) {
  tags->begin_id = tokenizer.id_of(tags->begin).value_or(-1);
  tags->end_id = tokenizer.id_of(tags->end).value_or(-1);
  const Result<std::vector<int32_t>> close =
      tokenizer.encode("\n" + tags->end + "\n\n", {.add_special_tokens = false});
  if (close.ok()) tags->close = *close;
}

}  // namespace

gateway::FillTokens find_fill_tokens(const text::Tokenizer& tokenizer) {
  static const gateway::FillTokens kKnown[] = {
      {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"},  // DeepSeek
      {"<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"},  // Qwen
  };
  for (const gateway::FillTokens& known : kKnown) {
    if (tokenizer.id_of(known.begin) && tokenizer.id_of(known.hole) && tokenizer.id_of(known.end))
      return known;
  }
  return {};
}

bool wants_parsed_arguments(const std::string& chat_template) {
  constexpr std::string_view kName = "arguments";
  constexpr std::string_view kFilter = "tojson";
  const std::string_view text = chat_template;
  for (size_t at = 0; (at = text.find(kName, at)) != std::string_view::npos;) {
    at += kName.size();
    size_t next = text.find_first_not_of("'\"] \t\n", at);
    if (next == std::string_view::npos || text[next] != '|') continue;
    next = text.find_first_not_of(" \t\n", next + 1);
    if (next != std::string_view::npos && text.substr(next, kFilter.size()) == kFilter) return true;
  }
  return false;
}

Result<gateway::TextModel> load_text_model(const TextModelOptions& options) {
  gateway::TextModel out;
  GALLEY_ASSIGN_OR_RETURN(out.tokenizer, text::Tokenizer::load(options.folder));
  out.eos_ids = options.eos_ids;
  out.fill = find_fill_tokens(*out.tokenizer);
  Result<std::shared_ptr<const text::ChatTemplate>> chat =
      text::ChatTemplate::load(options.folder, options.chat_template);
  // A folder may do without a template; one that was asked for must be there.
  const bool is_missing = chat.code() == Code::kNotFound && options.chat_template.empty();
  if (!chat.ok() && !is_missing) return chat.status();
  if (chat.ok()) {
    out.tool_format = text::tool_format_named(options.tool_call_parser)
                          .value_or(text::tool_format_of((*chat)->source()));
    out.arguments_as_objects = wants_parsed_arguments((*chat)->source());
    out.render_chat = [one = *chat](const boost::json::object& context) -> Result<std::string> {
      const auto now = static_cast<int64_t>(std::time(nullptr));
      GALLEY_ASSIGN_OR_RETURN(text::RenderedChat rendered, one->render(context, now));
      return std::move(rendered.text);
    };
  } else {
    log_warning(options.folder, " has no chat template: /v1/chat/completions will refuse;",
                " --chat-template FILE gives one");
  }
  const Result<std::shared_ptr<const text::GrammarVocabulary>> vocabulary =
      text::GrammarVocabulary::make(*out.tokenizer, options.vocab_size, options.eos_ids);
  if (vocabulary.ok()) {
    out.grammars = std::make_shared<text::GrammarCache>(*vocabulary, text::GrammarCacheLimits{});
  } else {
    out.grammar_refusal = vocabulary.message();
    log_warning(options.folder,
                ": response_format and forced tool calls will be refused: ", vocabulary.message());
  }
  const bool thinks = chat.ok() && (*chat)->source().find(out.thinking.end) != std::string::npos;
  out.thinking.enabled =
      options.reasoning_parser == "auto" ? thinks : options.reasoning_parser != "none";
  if (out.thinking.enabled) read_thinking_tags(*out.tokenizer, &out.thinking);
  return out;
}

}  // namespace galley::cli
