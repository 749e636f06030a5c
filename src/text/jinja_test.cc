#include "text/jinja.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace galley::text {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

Status failure(std::string_view source, const boost::json::object& context = {},
               const JinjaLimits& limits = {}) {
  const Result<Template> parsed = Template::parse(source, limits);
  if (!parsed.ok()) return parsed.status();
  const Result<std::string> text = parsed->render(context, 0);
  return text.ok() ? Status(Code::kNotFound, "rendered " + std::to_string(text->size()) + " bytes")
                   : text.status();
}

std::string text_of(std::string_view source, const boost::json::object& context = {}) {
  const Result<Template> parsed = Template::parse(source);
  EXPECT_TRUE(parsed.ok()) << parsed.message();
  const Result<std::string> text = parsed->render(context, 0);
  EXPECT_TRUE(text.ok()) << text.message();
  return text.value();
}

TEST(Jinja, RendersOneTemplateManyTimes) {
  const Result<Template> parsed =
      Template::parse("{% for m in messages %}<{{ m.role }}>{% endfor %}");
  ASSERT_TRUE(parsed.ok());
  for (int n = 0; n < 3; ++n) {
    boost::json::array messages(static_cast<size_t>(n), {{"role", "user"}});
    std::string expected;
    for (int i = 0; i < n; ++i) expected += "<user>";
    EXPECT_EQ(parsed->render({{"messages", messages}}, 0).value(), expected);
  }
}

TEST(Jinja, ManyThreadsMayRenderOne) {
  const auto parsed = Template::parse(
      "{% macro m(x) %}{{ x | upper }}{% endmacro %}{% set ns = namespace(n=0) %}"
      "{% for i in xs %}{% set ns.n = ns.n + i %}{{ m('a' ~ i) }}{% endfor %}{{ ns.n }}");
  ASSERT_TRUE(parsed.ok());
  const boost::json::object context = {{"xs", {1, 2, 3}}};
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  threads.reserve(4);
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 200; ++n) {
        const auto text = parsed->render(context, 0);
        wrong += !text.ok() || *text != "A1A2A36";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Jinja, ErrorsNameLineAndCause) {
  EXPECT_EQ(failure("a\nb\n{{ x.y.z }}", {{"x", boost::json::object()}}).message(),
            "line 3: 'dict object' has no attribute 'y'");
  EXPECT_EQ(failure("\n{% if true %}\n{{ raise_exception('no such role') }}{% endif %}").message(),
            "line 3: no such role");
  EXPECT_EQ(failure("{% if x %}\n\n").message(), "line 2: '{% endif %}' is missing");
  EXPECT_EQ(failure("a\n{% include 'b' %}").message(),
            "line 2: tag 'include' is not known or not supported here");
  EXPECT_THAT(failure("{{ 'a\n' + 1 }}").message(), StartsWith("line 2: can only concatenate"));
  EXPECT_EQ(failure("\xFF").message(), "the template is not UTF-8");
}

TEST(Jinja, IntegersNeverWrapAround) {
  for (const char* source :
       {"{{ 9223372036854775807 + 1 }}", "{{ -9223372036854775807 - 2 }}", "{{ 2 ** 63 }}",
        "{{ 4294967296 * 4294967296 }}", "{{ 9223372036854775808 }}"}) {
    EXPECT_THAT(failure(source).message(), HasSubstr("64 bits")) << source;
  }
  EXPECT_EQ(text_of("{{ -9223372036854775807 - 1 }} {{ (-9223372036854775807 - 1) % -1 }}"),
            "-9223372036854775808 0");
}

TEST(Jinja, TheSandboxRefusesToChangeValues) {
  EXPECT_THAT(failure("{{ x.append(1) }}", {{"x", boost::json::array()}}).message(),
              HasSubstr("unsafe"));
  EXPECT_THAT(failure("{{ x.update({}) }}", {{"x", boost::json::object()}}).message(),
              HasSubstr("unsafe"));
  EXPECT_EQ(text_of("{{ ''.__class__ }}"), "");
}

TEST(Jinja, StepsAreBounded) {
  JinjaLimits limits;
  limits.steps_max = 10'000;
  EXPECT_EQ(failure("{% for i in range(5000) %}{{ i }}{% endfor %}", {}, limits).code(),
            Code::kTooLarge);
  EXPECT_EQ(
      failure("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}")
          .code(),
      Code::kTooLarge);
}

TEST(Jinja, MemoryAndOutputAreBounded) {
  JinjaLimits limits;
  limits.steps_max = 100'000;
  limits.value_bytes_max = 10'000'000;
  limits.output_bytes_max = 1'000'000;
  for (const char* source : {
           "{{ 'a' * 99999999999 }}",
           "{{ [0] * 99999999999 }}",
           "{% set ns = namespace(x='aa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% "
           "endfor %}",
           "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% "
           "endfor %}",
           "{{ ('a' * 100000).replace('', 'b' * 100000) }}",
           "{% for i in range(99999) %}{{ 'a' * 99999 }}{% endfor %}",
       }) {
    EXPECT_EQ(failure(source, {}, limits).code(), Code::kTooLarge) << source;
  }
}

// A value that shares its parts is small to make and exponential to walk.
TEST(Jinja, SharedValuesCannotBeUsedToHang) {
  JinjaLimits limits;
  limits.steps_max = 100'000;
  const std::string build =
      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% "
      "endfor %}";
  EXPECT_EQ(failure(build + "{{ ns.x }}", {}, limits).code(), Code::kTooLarge);
  EXPECT_EQ(failure(build + "{{ ns.x | tojson }}", {}, limits).code(), Code::kTooLarge);
  EXPECT_EQ(failure(build + build + "{{ ns.x == [ns.x[0], [ns.x[0][0], ns.x[1][1]]] }}", {}, limits)
                .code(),
            Code::kTooLarge);
}

TEST(Jinja, DepthIsBounded) {
  EXPECT_EQ(
      failure("{{ " + std::string(100'000, '(') + "1" + std::string(100'000, ')') + " }}").code(),
      Code::kTooLarge);
  EXPECT_EQ(failure("{{ " + std::string(100'000, '-') + "1 }}").code(), Code::kTooLarge);
  EXPECT_EQ(failure("{{ " + std::string(100'000, '[') + std::string(100'000, ']') + " }}").code(),
            Code::kTooLarge);
  std::string chain = "{{ 1";
  for (int i = 0; i < 10'000; ++i) chain += " + 1";
  EXPECT_EQ(failure(chain + " }}").code(), Code::kTooLarge);
  std::string blocks;
  for (int i = 0; i < 10'000; ++i) blocks += "{% if true %}";
  EXPECT_EQ(failure(blocks).code(), Code::kTooLarge);
  EXPECT_EQ(failure("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}").code(), Code::kTooLarge);
  EXPECT_EQ(failure("{% set ns = namespace(x=1) %}{% for i in range(9999) %}{% set ns.x = [ns.x] "
                    "%}{% endfor %}")
                .code(),
            Code::kTooLarge);
  EXPECT_EQ(failure("{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}").code(),
            Code::kTooLarge);
}

TEST(Jinja, TemplatesAreBounded) {
  JinjaLimits limits;
  limits.template_bytes_max = 10;
  EXPECT_EQ(Template::parse("12345678901", limits).code(), Code::kTooLarge);
  limits = {};
  limits.nodes_max = 10;
  EXPECT_EQ(Template::parse("{{ a }}{{ b }}{{ c }}{{ d }}{{ e }}{{ f }}", limits).code(),
            Code::kTooLarge);
}

}  // namespace
}  // namespace galley::text
