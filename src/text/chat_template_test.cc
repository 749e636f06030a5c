#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace galley::text {
namespace {

namespace json = boost::json;
using ::testing::HasSubstr;

std::string render(const ChatTemplate& chat, const json::object& context) {
  const Result<RenderedChat> out = chat.render(context, 0);
  EXPECT_TRUE(out.ok()) << out.message();
  return out->text;
}

std::shared_ptr<const ChatTemplate> parse(std::string_view source,
                                          const json::object& config = {}) {
  const auto chat = ChatTemplate::parse(source, config);
  EXPECT_TRUE(chat.ok()) << chat.message();
  return *chat;
}

TEST(ChatTemplate, SpecialTokensComeFromTheConfig) {
  const auto chat = parse(
      "",
      {{"chat_template", "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}{{ pad_token }}"},
       {"bos_token", {{"content", "<b>"}}},
       {"eos_token", "<e>"},
       {"pad_token", nullptr}});
  EXPECT_EQ(render(*chat, {{"messages", {{{"content", "hi"}}}}}), "<b>hi<e>");
  EXPECT_EQ(render(*chat, {{"messages", {{{"content", "hi"}}}}, {"eos_token", "<mine>"}}),
            "<b>hi<mine>");
}

TEST(ChatTemplate, AbsentToolsAreNone) {
  const auto chat = parse("{{ tools is defined }} {{ tools is none }} {{ thinking is defined }}");
  EXPECT_EQ(render(*chat, {}), "True True False");
}

TEST(ChatTemplate, ToolsPickTheTemplateNamedForThem) {
  const json::array named = {{{"name", "default"}, {"template", "plain"}},
                             {{"name", "tool_use"}, {"template", "tools"}}};
  const auto chat = parse("", {{"chat_template", named}});
  EXPECT_EQ(render(*chat, {}), "plain");
  EXPECT_EQ(render(*chat, {{"tools", json::array()}}), "tools");
  EXPECT_EQ(chat->source(), "plain");
}

TEST(ChatTemplate, TellsWhetherThePromptOpensAThought) {
  const auto chat = parse("{{ x }}");
  const auto opens = [&](const char* text) { return chat->render({{"x", text}}, 0)->opens_think; };
  EXPECT_TRUE(opens("<|Assistant|><think>\n"));
  EXPECT_TRUE(opens("<think>"));
  EXPECT_FALSE(opens("<think>\n\n</think>\n\n"));
  EXPECT_FALSE(opens("<think>a"));
  EXPECT_FALSE(opens(""));
}

TEST(ChatTemplate, NamesWhatIsWrong) {
  EXPECT_EQ(ChatTemplate::parse("", {}).code(), Code::kNotFound);
  EXPECT_THAT(ChatTemplate::parse("", {{"chat_template", 3}}).message(),
              HasSubstr("'chat_template' is an integer"));
  EXPECT_THAT(ChatTemplate::parse("", {{"chat_template", json::array()}}).message(),
              HasSubstr("'default'"));
  EXPECT_THAT(ChatTemplate::parse("a\n{% x %}", {}).message(),
              HasSubstr("'default', line 2: tag 'x'"));
}

TEST(ChatTemplate, TheFileComesBeforeTheConfig) {
  const std::string folder = ::testing::TempDir() + "/chat_template_test";
  std::filesystem::create_directories(folder);
  std::filesystem::remove(folder + "/chat_template.jinja");
  EXPECT_EQ(ChatTemplate::load(folder + "/none").code(), Code::kNotFound);
  std::ofstream(folder + "/tokenizer_config.json")
      << R"({"chat_template": "config {{ bos_token }}", "bos_token": "<b>"})";
  EXPECT_EQ(render(*ChatTemplate::load(folder).value(), {}), "config <b>");
  std::ofstream(folder + "/chat_template.jinja") << "file {{ bos_token }}";
  EXPECT_EQ(render(*ChatTemplate::load(folder).value(), {}), "file <b>");
  std::ofstream(folder + "/other.jinja") << "other";
  EXPECT_EQ(render(*ChatTemplate::load(folder, folder + "/other.jinja").value(), {}), "other");
  EXPECT_EQ(ChatTemplate::load(folder, folder + "/missing.jinja").code(), Code::kNotFound);
}

}  // namespace
}  // namespace galley::text
