#include "api/models.h"

#include "api/json_writer.h"

namespace galley::api {
namespace {

void write_model(JsonWriter& json, const ModelCard& card, const std::string& name) {
  json.begin_object();
  json.key("id").string(name);
  json.key("object").string("model");
  json.key("created").integer(card.created_s);
  json.key("owned_by").string("galley");
  json.key("root").string(card.root);
  json.key("parent").null();
  json.key("max_model_len").integer(card.max_model_len);
  json.end_object();
}

}  // namespace

std::string model_list(const ModelCard& card) {
  JsonWriter json;
  json.begin_object().key("object").string("list");
  json.key("data").begin_array();
  for (const std::string& name : card.names) write_model(json, card, name);
  json.end_array().end_object();
  return json.take();
}

std::string model_object(const ModelCard& card, const std::string& name) {
  JsonWriter json;
  write_model(json, card, name);
  return json.take();
}

}  // namespace galley::api
