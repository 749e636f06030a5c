// HttpExchange: an Exchange over a Connection. Inside gateway/ only.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "gateway/connection.h"
#include "gateway/exchange.h"

namespace galley::gateway {

class HttpExchange : public Exchange {
 public:
  HttpExchange(Connection* connection, HttpRequest request, std::string request_id);

  const HttpRequest& request() const override { return request_; }
  std::string take_body() override { return std::move(request_.body); }
  const std::string& request_id() const override { return request_id_; }
  bool open() const override { return connection_ != nullptr && !ended_; }
  void respond(HttpResponse response) override;
  void begin_stream() override;
  bool begun() const override { return streaming_ || ended_; }
  void send(std::string_view event) override;
  void end_stream() override;

  bool ended() const { return ended_; }
  bool streaming() const { return streaming_ && !ended_; }
  int status() const { return status_; }
  // A comment, if the stream has been silent for long.
  void keep_alive(int64_t now_ms);
  // Ends the answer now with an error: the time to shut down is over.
  void cut_off();
  // The connection ends before or after the answer did.
  void detach();

 private:
  void log_answer() const;
  void end(int status);

  Connection* connection_;  // null after detach()
  HttpRequest request_;
  const std::string request_id_;
  const int64_t begun_us_;
  int64_t last_sent_ms_ = 0;
  bool streaming_ = false;
  bool chunked_ = false;
  bool ended_ = false;
  int status_ = 0;
  size_t body_bytes_sent_ = 0;
};

}  // namespace galley::gateway
