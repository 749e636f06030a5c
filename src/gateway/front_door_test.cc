// Requests that wait, over a real server on a loopback port with an engine of one slot.
#include "gateway/front_door.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "gateway/testing/client.h"
#include "gateway/testing/test_server.h"

namespace galley::gateway {
namespace {

using testing::chat_body;
using testing::Client;
using testing::eventually;
using testing::get;
using testing::post;
using testing::TestServer;

constexpr const char* kChat = "/v1/chat/completions";

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

int status_of(const std::string& response) {
  return response.size() < 12 ? 0 : std::stoi(response.substr(9, 3));
}

FrontDoorOptions one_slot() {
  FrontDoorOptions options = TestServer::door_options();
  options.capacity.slots = 1;
  options.admission.spare_sequences = 0;
  options.tell_every_ms = 50;
  options.blank_after_ms = 100;
  return options;
}

class FrontDoorTest : public ::testing::Test {
 protected:
  FrontDoorTest() : server_(TestServer::options(), one_slot()) {
    server_.upstream.pause_ms = 20;
    // Takes the only slot until it closes.
    busy_ = std::make_unique<Client>(server_.port());
    busy_->send(post(kChat, chat_body(100'000, true)));
    EXPECT_TRUE(eventually([this] { return metric("galley_admission_running_sequences") == 1; }));
  }

  std::string ask(const std::string& request) {
    Client client(server_.port());
    client.send(request);
    return client.read_response();
  }
  double metric(const std::string& name) {
    const std::string text = ask(get("/metrics"));
    const size_t at = text.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(text.substr(at + name.size() + 2));
  }

  TestServer server_;
  std::unique_ptr<Client> busy_;
};

TEST_F(FrontDoorTest, AWholeAnswerIsKeptOpenWithBlankLines) {
  Client client(server_.port());
  client.send(post(kChat, chat_body(2, false), "Connection: close\r\n"));
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  busy_.reset();
  const std::string answer = client.read_to_end();
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_TRUE(has(answer, "Content-Type: application/json"));
  EXPECT_TRUE(has(answer, "x-galley-queue-position: 1"));
  EXPECT_TRUE(has(answer, "1\r\n\n\r\n")) << answer;
  EXPECT_TRUE(has(answer, "\"word word \"")) << answer;
}

TEST_F(FrontDoorTest, AnErrorAfterBlankLinesIsABody) {
  Client client(server_.port());
  client.send(post(kChat, chat_body(1, false), "Connection: close\r\n"));
  server_.upstream.change(
      [](auto& fake) { fake.fail_with = api::error_of(Status(Code::kUnavailable, "gone")); });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  busy_.reset();
  const std::string answer = client.read_to_end();
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_TRUE(has(answer, "\"code\":\"unavailable\"")) << answer;
}

TEST_F(FrontDoorTest, ADeadlineKeepsItsStatus) {
  const std::string answer = ask(post(kChat, chat_body(2, false), "x-galley-deadline-ms: 250\r\n"));
  EXPECT_EQ(status_of(answer), 504);
  EXPECT_TRUE(has(answer, "deadline_exceeded"));
}

TEST_F(FrontDoorTest, ThePriorityOfTheClientReachesTheEngine) {
  Client client(server_.port());
  const std::string body = "{\"priority\":-3," + chat_body(2, false).substr(1);
  client.send(post(kChat, body, "Connection: close\r\n"));
  EXPECT_TRUE(eventually([this] { return metric("galley_queue_sequences") == 1; }));
  busy_.reset();
  EXPECT_EQ(status_of(client.read_to_end()), 200);
  EXPECT_EQ(server_.upstream.started_with.priority, -3);
}

TEST_F(FrontDoorTest, AStreamHearsKeepAliveThenItsAnswer) {
  Client client(server_.port());
  client.send(post(kChat, chat_body(2, true), "Connection: close\r\n"));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  busy_.reset();
  const std::string answer = client.read_to_end();
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_TRUE(has(answer, ": keep-alive\n\n"));
  EXPECT_LT(answer.find(": keep-alive"), answer.find("chat.completion.chunk"));
  EXPECT_TRUE(has(answer, "[DONE]"));
}

TEST_F(FrontDoorTest, WhoLeavesTheQueueIsForgotten) {
  {
    Client client(server_.port());
    client.send(post(kChat, chat_body(2, true)));
    EXPECT_TRUE(eventually([this] { return metric("galley_queue_sequences") == 1; }));
  }
  EXPECT_TRUE(eventually([this] { return metric("galley_queue_sequences") == 0; }));
  EXPECT_EQ(server_.upstream.cancelled, 1);
}

TEST_F(FrontDoorTest, ManyWaitAndAreAllServed) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 40; ++i) {
    clients.push_back(std::make_unique<Client>(server_.port()));
    clients.back()->send(post(kChat, chat_body(1, i % 2 == 0), "Connection: close\r\n"));
  }
  EXPECT_TRUE(eventually([this] { return metric("galley_queue_sequences") == 40; }));
  busy_.reset();
  for (const auto& client : clients) {
    const std::string answer = client->read_to_end();
    EXPECT_EQ(status_of(answer), 200);
    EXPECT_TRUE(has(answer, "word")) << answer;
  }
  EXPECT_EQ(metric("galley_admission_running_sequences"), 0);
}

TEST_F(FrontDoorTest, TheQueueIsShownToItsOwner) {
  Client client(server_.port());
  client.send(post(kChat, chat_body(2, false), "X-Request-Id: mine\r\n"));
  EXPECT_TRUE(eventually([this] { return metric("galley_queue_sequences") == 1; }));
  EXPECT_TRUE(has(ask(get("/v1/queue")), "\"own_waiting\":1"));
  EXPECT_TRUE(has(ask(get("/v1/queue/mine")), "\"position\":1"));
  EXPECT_EQ(status_of(ask(get("/v1/queue/other"))), 404);
}

}  // namespace
}  // namespace galley::gateway
