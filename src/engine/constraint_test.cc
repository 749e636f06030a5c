// Constraints: their masks row by row, and the engine's promise that drafts change nothing: random
// schemas on a tiny DeepSeek-V3 with MTP, drafts on and off, give the same tokens, and every answer
// that came to its end fits its schema. GALLEY_SEED=<n> replays.
#include "engine/constraint.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <cstdlib>
#include <map>
#include <random>
#include <thread>

#include "engine/engine.h"
#include "engine/load_model.h"
#include "text/grammar.h"
#include "text/tokenizer.h"

namespace galley::engine {
namespace {

namespace json = boost::json;
using text::CompiledGrammar;
using text::GrammarSpec;
using text::GrammarVocabulary;
using Kind = GrammarSpec::Kind;

constexpr int kSchemas = 1000;
constexpr int32_t kTokensMax = 60;

constexpr int32_t kEnd = 101, kThink = 102, kThinkEnd = 103;

// The token of a printable character.
int32_t id(char c) {
  return c - ' ';
}

// A token for each printable character, then words that cross what grammars part: 0 to 100.
std::shared_ptr<const text::Tokenizer> small_tokenizer() {
  std::string vocab = R"("Ġ":0)", merges;
  for (char c = '!'; c <= '~'; ++c)
    vocab += "," + json::serialize(json::string(std::string(1, c))) + ":" + std::to_string(id(c));
  int next = id('~') + 1;
  for (const char* word : {"{\"", "\":", "\"}", "12", "a\"", ",\""}) {
    vocab += "," + json::serialize(json::string(word)) + ":" + std::to_string(next++);
    merges += (merges.empty() ? "" : ",") +
              json::serialize(json::string(std::string{word[0], ' ', word[1]}));
  }
  std::string added;
  for (const auto& [text, token] :
       {std::pair("<end>", kEnd), std::pair("<think>", kThink), std::pair("</think>", kThinkEnd)})
    added +=
        (added.empty() ? "" : ",") + (R"({"id":)" + std::to_string(token)) + R"(,"content":")" +
        text +
        R"(","special":false,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false})";
  const std::string file =
      R"({"added_tokens":[)" + added +
      R"(],"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,)"
      R"("trim_offsets":true,"use_regex":true},"post_processor":null,"decoder":{"type":"ByteLevel",)"
      R"("add_prefix_space":true,"trim_offsets":true,"use_regex":true},"model":{"type":"BPE",)"
      R"("dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,)"
      R"("fuse_unk":false,"byte_fallback":false,"vocab":{)" +
      vocab + R"(},"merges":[)" + merges + "]}}";
  auto made = text::Tokenizer::parse(file, "");
  EXPECT_TRUE(made.ok()) << made.message();
  return *made;
}

std::shared_ptr<const GrammarVocabulary> vocabulary(int32_t vocab_size) {
  const std::vector<int32_t> end = {kEnd};
  auto made = GrammarVocabulary::make(*small_tokenizer(), vocab_size, end);
  EXPECT_TRUE(made.ok()) << made.message();
  return *made;
}

std::shared_ptr<const CompiledGrammar> compiled(std::shared_ptr<const GrammarVocabulary> words,
                                                Kind kind, const std::string& source) {
  auto made = CompiledGrammar::compile(std::move(words), {kind, source});
  EXPECT_TRUE(made.ok()) << source << ": " << made.message();
  return *made;
}

bool allows(const Constraint& constraint, int32_t row, int32_t token) {
  const uint32_t* mask = constraint.mask(row);
  return mask == nullptr || ((mask[token / 32] >> (token % 32)) & 1u) != 0;
}

TEST(Constraint, RowsFollowTheDraftsAndLeaveNoTrace) {
  Constraint one(compiled(vocabulary(160), Kind::kRegex, "ab[cd]"), {}, 6, 100);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(one.fill(std::vector<int32_t>{id('a'), id('b'), id('x')}, 0).ok());
    EXPECT_TRUE(allows(one, 0, id('a')));
    EXPECT_FALSE(allows(one, 0, id('b')));
    EXPECT_TRUE(allows(one, 1, id('b')));
    EXPECT_FALSE(allows(one, 1, id('a')));
    EXPECT_TRUE(allows(one, 2, id('c')));
    EXPECT_FALSE(allows(one, 2, id('x')));
    EXPECT_EQ(one.mask(3), nullptr);  // behind a token that may not come
  }
  one.push(id('a'), false);
  ASSERT_TRUE(one.fill({}, 0).ok());
  EXPECT_TRUE(allows(one, 0, id('b')));
  one.push(id('b'), false);
  one.push(id('d'), false);
  ASSERT_TRUE(one.fill({}, 0).ok());
  EXPECT_TRUE(one.ends(0));
  EXPECT_TRUE(allows(one, 0, kEnd));
  one.push(id('d'), false);
  EXPECT_EQ(one.fill({}, 0).code(), Code::kInvalid);
}

TEST(Constraint, TheThoughtIsFree) {
  const auto grammar = compiled(vocabulary(160), Kind::kChoice, R"(["ab"])");
  const ThinkingLimit open = {
      .open_at_start = true, .begin = kThink, .end = kThinkEnd, .close = {}};
  Constraint inside(grammar, open, 6, 100);
  ASSERT_TRUE(inside.fill(std::vector<int32_t>{id('z'), kThinkEnd, id('a')}, 0).ok());
  EXPECT_EQ(inside.mask(0), nullptr);
  EXPECT_EQ(inside.mask(1), nullptr);
  EXPECT_FALSE(allows(inside, 2, id('b')));
  EXPECT_FALSE(allows(inside, 2, kThink));
  EXPECT_TRUE(allows(inside, 3, id('b')));
  // A close that the engine appends: its line breaks are not the answer's.
  inside.push(id(' '), true);
  inside.push(kThinkEnd, true);
  inside.push(id(' '), true);
  ASSERT_TRUE(inside.fill({}, 0).ok());
  EXPECT_TRUE(allows(inside, 0, id('a')));
  EXPECT_FALSE(allows(inside, 0, id('b')));

  const ThinkingLimit may = {.may_open = true, .begin = kThink, .end = kThinkEnd, .close = {}};
  Constraint before(grammar, may, 6, 100);
  ASSERT_TRUE(before.fill(std::vector<int32_t>{kThink, id('z'), kThinkEnd}, 0).ok());
  EXPECT_TRUE(allows(before, 0, kThink));
  EXPECT_TRUE(allows(before, 0, id('a')));
  EXPECT_FALSE(allows(before, 0, id('b')));
  EXPECT_EQ(before.mask(2), nullptr);
  EXPECT_TRUE(allows(before, 3, id('a')));
  EXPECT_FALSE(allows(before, 3, kThink));
}

// --- random schemas -----------------------------------------------------------------------------

using Random = std::mt19937_64;

int pick(Random& random, int count) {
  return static_cast<int>(random() % static_cast<uint64_t>(count));
}

json::value random_schema(Random& random, int depth) {
  switch (pick(random, depth > 0 ? 9 : 6)) {
    case 0:
      return {{"type", "boolean"}};
    case 1: {
      const int low = pick(random, 40) - 20;
      return {{"type", "integer"}, {"minimum", low}, {"maximum", low + pick(random, 90)}};
    }
    case 2: {
      const int low = pick(random, 3);
      return {{"type", "string"}, {"minLength", low}, {"maxLength", low + pick(random, 4)}};
    }
    case 3:
      return {{"enum", {"a\"b", 12, nullptr, true}}};
    case 4:
      return {{"type", "string"}, {"pattern", pick(random, 2) == 0 ? "^[ab]{1,3}$" : "^1[0-9]2$"}};
    case 5:
      return {{"const", json::array{1, "x"}}};
    case 6: {
      const int low = pick(random, 2);
      return {{"type", "array"},
              {"items", random_schema(random, depth - 1)},
              {"minItems", low},
              {"maxItems", low + pick(random, 2)}};
    }
    case 7:
      return {{"anyOf", {random_schema(random, depth - 1), random_schema(random, depth - 1)}}};
    default:
      break;
  }
  json::object properties;
  json::array required;
  for (const char* name : {"a", "b12", "c"}) {
    if (pick(random, 2) == 0) continue;
    properties[name] = random_schema(random, depth - 1);
    if (pick(random, 2) == 0) required.push_back(name);
  }
  return {{"type", "object"},
          {"properties", properties},
          {"required", required},
          {"additionalProperties", false}};
}

size_t code_points(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(
      text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// A plain reading of the keywords that random_schema writes.
bool fits(const json::value& value, const json::object& schema) {
  if (schema.contains("const")) return value == schema.at("const");
  if (schema.contains("enum"))
    return std::ranges::find(schema.at("enum").get_array(), value) !=
           schema.at("enum").get_array().end();
  if (schema.contains("anyOf"))
    return std::ranges::any_of(schema.at("anyOf").get_array(), [&](const json::value& one) {
      return fits(value, one.get_object());
    });
  const json::string& type = schema.at("type").get_string();
  if (type == "boolean") return value.is_bool();
  if (type == "integer")
    return value.is_int64() && value.get_int64() >= schema.at("minimum").get_int64() &&
           value.get_int64() <= schema.at("maximum").get_int64();
  if (type == "string") {
    if (!value.is_string()) return false;
    const std::string_view text(value.get_string().data(), value.get_string().size());
    if (!schema.contains("pattern")) {
      const auto size = static_cast<int64_t>(code_points(text));
      return size >= schema.at("minLength").get_int64() &&
             size <= schema.at("maxLength").get_int64();
    }
    if (schema.at("pattern").get_string().starts_with("^1"))
      return text.size() == 3 && text[0] == '1' && text[2] == '2' && std::isdigit(text[1]) != 0;
    return !text.empty() && text.size() <= 3 && text.find_first_not_of("ab") == text.npos;
  }
  if (type == "array") {
    if (!value.is_array()) return false;
    const auto size = static_cast<int64_t>(value.get_array().size());
    return size >= schema.at("minItems").get_int64() && size <= schema.at("maxItems").get_int64() &&
           std::ranges::all_of(value.get_array(), [&](const json::value& item) {
             return fits(item, schema.at("items").get_object());
           });
  }
  if (!value.is_object()) return false;
  const json::object& properties = schema.at("properties").get_object();
  for (const json::value& name : schema.at("required").get_array())
    if (!value.get_object().contains(name.get_string())) return false;
  return std::ranges::all_of(value.get_object(), [&](const auto& entry) {
    return properties.contains(entry.key()) &&
           fits(entry.value(), properties.at(entry.key()).get_object());
  });
}

struct Answer {
  std::vector<int32_t> tokens;
  FinishReason finish = FinishReason::kNone;
  Status status;
  bool operator==(const Answer& other) const {
    return tokens == other.tokens && finish == other.finish;
  }
};

struct Session {
  std::map<RequestId, Answer> answers;
  uint64_t accepted = 0;
};

constexpr const char* kModel = GALLEY_SOURCE_DIR "/tests/golden/models/v3_fp8_mtp_small";

Session run(const std::vector<json::value>& schemas, int32_t drafts, uint64_t seed) {
  LoadOptions load;
  load.folder = kModel;
  load.num_blocks = 200;
  load.max_num_seqs = 32;
  load.max_num_batched_tokens = 256;
  load.num_speculative_tokens = drafts;
  load.cpu.threads = 2;
  load.cpu.pin_threads = false;
  auto model = load_model_runner(load, nullptr);
  EXPECT_TRUE(model.ok()) << model.message();
  const int32_t vocab_size = model->runner->info().vocab_size;
  const auto words = vocabulary(vocab_size);

  EngineOptions options;
  options.limits.requests_max = kSchemas;
  options.limits.batch_requests_max = 32;
  options.limits.step_tokens_max = 256;
  options.drafts = model->runner->info().drafts_max;
  options.eos_tokens = {kEnd};
  options.model_name = "tiny";
  RealClock clock;
  Session out;
  Engine engine(options, model->runner.get(), &clock, [&](std::span<Event> events) {
    for (Event& event : events) {
      Answer& answer = out.answers[event.id];
      for (const OutputToken& token : event.tokens) answer.tokens.push_back(token.token);
      answer.finish = event.finish;
      answer.status = event.status;
    }
  });
  Random random(seed);
  for (size_t i = 0; i < schemas.size(); ++i) {
    Request request;
    request.id = i + 1;
    request.prompt = {static_cast<int32_t>(random() % 100), static_cast<int32_t>(i % 100)};
    request.sampling.temperature = i % 3 == 0 ? 0.0f : 1.0f;
    request.sampling.seed = i;
    request.sampling.max_tokens = kTokensMax;
    request.grammar = compiled(words, Kind::kJsonSchema, json::serialize(schemas[i]));
    const Status status = engine.submit(std::move(request));
    EXPECT_TRUE(status.ok()) << status.message();
  }
  engine.drain();
  engine.run();
  out.accepted = engine.stats().drafts_accepted;
  return out;
}

TEST(Constraint, RandomSchemasGiveTheSameWithDraftsAndWithout) {
  const char* given = std::getenv("GALLEY_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::printf("GALLEY_SEED=%llu\n", static_cast<unsigned long long>(seed));
  Random random(seed);
  std::vector<json::value> schemas;
  schemas.reserve(kSchemas);
  for (int i = 0; i < kSchemas; ++i) schemas.push_back(random_schema(random, 2));
  const Session plain = run(schemas, 0, seed);
  const Session drafted = run(schemas, 2, seed);
  EXPECT_GT(drafted.accepted, 0u);
  int ended = 0;
  const auto tokenizer = small_tokenizer();
  for (size_t i = 0; i < schemas.size(); ++i) {
    const Answer& answer = plain.answers.at(i + 1);
    ASSERT_TRUE(answer.status.ok()) << answer.status.message();
    ASSERT_TRUE(answer == drafted.answers.at(i + 1)) << i << ": " << json::serialize(schemas[i]);
    if (answer.finish != FinishReason::kStop) continue;
    ++ended;
    ASSERT_EQ(answer.tokens.back(), kEnd);
    const std::string written =
        tokenizer->decode({answer.tokens.begin(), answer.tokens.end() - 1}, true);
    json::error_code failure;
    const json::value value = json::parse(written, failure);
    ASSERT_FALSE(failure) << written;
    EXPECT_TRUE(fits(value, schemas[i].get_object())) << written << json::serialize(schemas[i]);
  }
  std::printf("%d of %d ended, %llu drafts accepted\n", ended, kSchemas,
              static_cast<unsigned long long>(drafted.accepted));
  EXPECT_GT(ended, kSchemas / 2);
}

}  // namespace
}  // namespace galley::engine
