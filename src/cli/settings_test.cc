#include "cli/settings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "cli/config_file.h"

namespace galley::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A command with one option of each kind.
struct Example {
  std::string model = "demo";
  int64_t port = 8000;
  int64_t memory = 0;
  double rate = 1;
  bool prefix = true;
  std::string dtype = "auto";
  std::string speculative;
  std::vector<std::string> names;
  std::vector<std::string> keys;
  Settings settings{"galley example", "An example."};

  Example() {
    settings.allow_config_file();
    settings.add({"model", "PATH", "the model"}, &model);
    settings.add({"port", "N", "port"}, {.min = 0, .max = 65535}, &port);
    settings.add({"rate", "R", "rate"}, {.min = 0.5, .max = 10}, &rate);
    settings.add_size({"memory-limit", "SIZE", "memory"}, &memory);
    settings.add_switch({"enable-prefix-caching", "", "reuse"}, &prefix);
    settings.add_choice({"dtype", "TYPE", "type"}, {"auto", "float32"}, &dtype);
    settings.add_json({"speculative-config", "JSON", "drafts"}, &speculative);
    settings.add({"served-model-name", "NAME", "names"}, &names);
    settings.add({"api-key", "KEY", "keys"}, &keys).secret = true;
    settings.positional("MODEL", "model");
    settings.refuse("tensor-parallel-size", "one process has one device");
  }
  Status parse(std::vector<std::string> args, const Variables& variables = {}) {
    return settings.parse(args, variables);
  }
};

std::string write_file(const std::string& name, const std::string& text) {
  std::string path = ::testing::TempDir() + name;
  std::ofstream(path) << text;
  return path;
}

TEST(Settings, EverySourceSetsEveryKind) {
  Example flags;
  ASSERT_TRUE(
      flags
          .parse({"--model=m", "--port", "1", "--rate", "2", "--memory-limit", "1KiB",
                  "--no-enable-prefix-caching", "--dtype", "float32", "--speculative-config",
                  "{\"method\":\"none\"}", "--served-model-name", "a", "b", "--api-key", "k"})
          .ok());
  Example variables;
  ASSERT_TRUE(variables
                  .parse({}, {{"GALLEY_MODEL", "m"},
                              {"GALLEY_PORT", "1"},
                              {"GALLEY_RATE", "2"},
                              {"GALLEY_MEMORY_LIMIT", "1KiB"},
                              {"GALLEY_ENABLE_PREFIX_CACHING", "0"},
                              {"GALLEY_DTYPE", "float32"},
                              {"GALLEY_SPECULATIVE_CONFIG", "{\"method\":\"none\"}"},
                              {"GALLEY_SERVED_MODEL_NAME", "a, b"},
                              {"GALLEY_API_KEY", "k"}})
                  .ok());
  Example file;
  const std::string path = write_file("every.yaml",
                                      "model: m\nport: 1\nrate: 2\nmemory_limit: 1KiB\n"
                                      "enable-prefix-caching: false\ndtype: float32\n"
                                      "speculative-config: {method: none}\n"
                                      "served-model-name: [a, b]\napi-key: k\n");
  ASSERT_TRUE(file.parse({"--config", path}).ok());
  for (const Example* example : {&flags, &variables, &file}) {
    EXPECT_EQ(example->model, "m");
    EXPECT_EQ(example->port, 1);
    EXPECT_DOUBLE_EQ(example->rate, 2);
    EXPECT_EQ(example->memory, 1024);
    EXPECT_FALSE(example->prefix);
    EXPECT_EQ(example->dtype, "float32");
    EXPECT_EQ(example->speculative, "{\"method\":\"none\"}");
    EXPECT_THAT(example->names, ElementsAre("a", "b"));
    EXPECT_THAT(example->keys, ElementsAre("k"));
  }
}

TEST(Settings, FlagBeatsEnvironmentBeatsFileBeatsDefault) {
  const std::string path = write_file("order.yaml", "port: 3\ndtype: float32\nmodel: file\n");
  Example example;
  ASSERT_TRUE(example
                  .parse({"--config", path, "--port", "1"},
                         {{"GALLEY_PORT", "2"}, {"GALLEY_MODEL", "environment"}})
                  .ok());
  EXPECT_EQ(example.port, 1);
  EXPECT_EQ(example.model, "environment");
  EXPECT_EQ(example.dtype, "float32");
  EXPECT_DOUBLE_EQ(example.rate, 1);
  const std::string print = example.settings.print();
  EXPECT_THAT(print, HasSubstr("1  [flag]"));
  EXPECT_THAT(print, HasSubstr("environment  [environment]"));
  EXPECT_THAT(print, HasSubstr("float32  [file]"));
}

TEST(Settings, ConfigFileMayComeFromTheEnvironment) {
  const std::string path = write_file("env.yaml", "port: 3\n");
  Example example;
  ASSERT_TRUE(example.parse({}, {{"GALLEY_CONFIG", path}}).ok());
  EXPECT_EQ(example.port, 3);
}

TEST(Settings, PositionalAndUnderscoresAreAccepted) {
  Example example;
  ASSERT_TRUE(example.parse({"here", "--served_model_name", "a_b"}).ok());
  EXPECT_EQ(example.model, "here");
  EXPECT_THAT(example.names, ElementsAre("a_b"));
  EXPECT_THAT(Example().parse({"here", "--model", "there"}).message(), HasSubstr("same thing"));
  EXPECT_THAT(Example().parse({"here", "there"}).message(), HasSubstr("'there'"));
}

TEST(Settings, MisspeltNamesSuggestTheRightOne) {
  EXPECT_THAT(Example().parse({"--prot", "1"}).message(), HasSubstr("did you mean --port?"));
  EXPECT_THAT(Example().parse({"--dtyp=x"}).message(), HasSubstr("did you mean --dtype?"));
  EXPECT_THAT(Example().parse({"--no-prefix-caching"}).message(),
              HasSubstr("did you mean --no-enable-prefix-caching?"));
  EXPECT_THAT(Example().parse({"--zzzzzzzz"}).message(), HasSubstr("--help"));
  EXPECT_THAT(Example().parse({"-p", "1"}).message(), HasSubstr("unknown flag -p"));
  const std::string path = write_file("slip.yaml", "model: a\nprot: 3\n");
  const std::string message = Example().parse({"--config", path}).message();
  EXPECT_THAT(message, HasSubstr("slip.yaml: line 2: unknown key 'prot'; did you mean port?"));
  Example example;
  ASSERT_TRUE(example.parse({}, {{"GALLEY_PROT", "1"}, {"GALLEY_OTHER_THING", "1"}}).ok());
  ASSERT_EQ(example.settings.warnings().size(), 1u);
  EXPECT_THAT(example.settings.warnings()[0], HasSubstr("did you mean GALLEY_PORT?"));
}

TEST(Settings, ErrorsNameTheSourceAndTheValue) {
  EXPECT_EQ(Example().parse({"--port", "70000"}).message(),
            "--port: 70000 is out of range; it must be between 0 and 65535");
  EXPECT_THAT(Example().parse({}, {{"GALLEY_PORT", "x"}}).message(), HasSubstr("GALLEY_PORT: 'x'"));
  EXPECT_THAT(Example().parse({}, {{"GALLEY_PORT", "tcp://10.0.0.1:80"}}).message(),
              HasSubstr("enableServiceLinks"));
  EXPECT_THAT(Example().parse({"--dtype", "int3"}).message(), HasSubstr("auto, float32"));
  EXPECT_THAT(Example().parse({"--rate", "0.1"}).message(), HasSubstr("between 0.500 and 10.000"));
  EXPECT_THAT(Example().parse({"--port"}).message(), HasSubstr("--port"));
  EXPECT_THAT(Example().parse({"--port", "1", "--port", "2"}).message(), HasSubstr("one value"));
  EXPECT_THAT(Example().parse({"--tensor-parallel-size", "2"}).message(),
              HasSubstr("one process has one device"));
}

TEST(Settings, SecretsAreNeverShown) {
  Example example;
  ASSERT_TRUE(example.parse({"--api-key", "hunter2"}).ok());
  EXPECT_EQ(example.settings.print().find("hunter2"), std::string::npos);
  EXPECT_THAT(example.settings.print(), HasSubstr("(set, not shown)"));
}

TEST(Settings, HelpIsGivenInsteadOfRunning) {
  Example example;
  ASSERT_TRUE(example.parse({"--help"}).ok());
  EXPECT_THAT(example.settings.help_text(), HasSubstr("--[no-]enable-prefix-caching"));
  EXPECT_THAT(example.settings.help_text(), HasSubstr("port (8000)"));
}

TEST(ConfigFile, RefusesWhatIsNotAMappingOfValues) {
  const auto message = [](const std::string& text) { return parse_config(text, "f").message(); };
  EXPECT_TRUE(parse_config("", "f").ok());
  EXPECT_THAT(message("- a\n"), HasSubstr("must be a mapping"));
  EXPECT_THAT(message("port: 1\nport: 2\n"), HasSubstr("line 2: key 'port' is given twice"));
  EXPECT_THAT(message("port:\n"), HasSubstr("line 1: port: has no value"));
  EXPECT_THAT(message("a: [x, [y]]\n"), HasSubstr("plain values only"));
  EXPECT_THAT(message("a: b\nc: [d\n"), HasSubstr("not YAML"));
  EXPECT_THAT(message("[a]: b\n"), HasSubstr("not a plain name"));
  EXPECT_FALSE(parse_config(std::string(500'000, '['), "f").ok());
  EXPECT_FALSE(read_config_file("/nonexistent.yaml").ok());
  EXPECT_FALSE(read_config_file("/").ok());
  EXPECT_EQ(read_config_file(write_file("big.yaml", std::string(kConfigBytesMax + 1, '#'))).code(),
            Code::kTooLarge);
}

TEST(ConfigFile, MappingsBecomeJsonWithTheirTypes) {
  const auto entries = parse_config("s:\n  a: 1\n  b: '1'\n  c: [true, 0.5, x]\n", "f");
  ASSERT_TRUE(entries.ok()) << entries.message();
  EXPECT_EQ(entries->at(0).values[0], R"({"a":1,"b":"1","c":[true,5E-1,"x"]})");
  EXPECT_FALSE(
      parse_config("s: {a: &a [x,x,x,x,x,x,x,x,x,x], b: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a],"
                   " c: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b],"
                   " d: [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]}\n",
                   "f")
          .ok());
}

TEST(NearestName, PrefersTheSmallestSlip) {
  const std::vector<std::string> names = {"host", "port", "max-model-len", "max-num-seqs"};
  EXPECT_EQ(nearest_name("prot", names), "port");
  EXPECT_EQ(nearest_name("max-model-length", names), "max-model-len");
  EXPECT_EQ(nearest_name("seqs", names), "max-num-seqs");
  EXPECT_EQ(nearest_name("entirely-different", names), "");
  EXPECT_EQ(nearest_name(std::string(100'000, 'x'), names), "");
}

}  // namespace
}  // namespace galley::cli
