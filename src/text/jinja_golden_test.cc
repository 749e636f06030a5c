// What Python's jinja2 renders, recorded by tools/goldens/jinja/record.py.
#include <gtest/gtest.h>

#include <cstdlib>

#include "base/file.h"
#include "text/jinja.h"
#include "text/json.h"

namespace galley::text {
namespace {

namespace json = boost::json;

Result<std::string> render(std::string_view source, const json::object& context, int64_t now) {
  const Result<Template> parsed = Template::parse(source);
  if (!parsed.ok()) return parsed.status();
  return parsed->render(context, now);
}

// Same text; or both fail, with the same message where the golden has one.
void expect_equal(const Result<std::string>& got, const json::object& golden) {
  if (const json::value* text = golden.if_contains("text")) {
    ASSERT_TRUE(got.ok()) << got.message();
    EXPECT_EQ(got.value(), text->as_string());
    return;
  }
  ASSERT_FALSE(got.ok()) << "rendered: " << got.value();
  if (const json::value& message = golden.at("error"); message.is_string()) {
    EXPECT_EQ(got.message().substr(got.message().find(": ") + 2), message.as_string());
  }
}

json::value goldens() {
  setenv("TZ", "UTC", 1);  // strftime_now shows local time.
  const std::string file =
      read_file(GALLEY_SOURCE_DIR "/src/text/testdata/jinja.json", size_t{1} << 24).value();
  return parse_json(file, "jinja.json", 64).value();
}

TEST(JinjaGolden, SnippetsEqualJinja2) {
  const json::value file = goldens();
  const json::object& context = file.at("context").as_object();
  EXPECT_GT(file.at("snippets").as_array().size(), 400u);
  for (const json::value& golden : file.at("snippets").as_array()) {
    const std::string_view source = golden.at("template").as_string();
    SCOPED_TRACE(source);
    expect_equal(render(source, context, file.at("now").as_int64()), golden.as_object());
  }
}

TEST(JinjaGolden, ChatTemplatesEqualJinja2) {
  const json::value file = goldens();
  for (const json::value& golden : file.at("conversations").as_array()) {
    const std::string_view name = golden.at("name").as_string();
    SCOPED_TRACE(std::string(name) + " " + json::serialize(golden.at("context")));
    const std::string_view source = file.at("templates").at(name).as_string();
    expect_equal(render(source, golden.at("context").as_object(), file.at("now").as_int64()),
                 golden.as_object());
  }
}

}  // namespace
}  // namespace galley::text
