"""LiteLLM and LangChain, unchanged, against a real server: other people's ideas of OpenAI's API."""

import json
import os

import pytest
import server as serving

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # asks no other host
os.environ["LANGCHAIN_TRACING_V2"] = "false"

QUESTION = [{"role": "user", "content": "What is 17 + 25?"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12},
                                           "number": {"type": "integer", "maximum": 99}},
          "required": ["city", "number"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds two numbers",
                                         "parameters": {"type": "object", "properties": {
                                             "a": {"type": "integer", "maximum": 99},
                                             "b": {"type": "integer", "maximum": 99}},
                                             "required": ["a", "b"],
                                             "additionalProperties": False}}}


@pytest.fixture(scope="module")
def server():
    with serving.Server("--max-num-seqs", "8", "--shutdown-timeout", "5", "--api-key", "a-key",
                        api_key="a-key") as running:
        yield running


@pytest.fixture
def lite(server):
    import litellm

    litellm.telemetry = False

    def ask(**options):
        return litellm.completion(model=f"openai/{serving.NAME}", api_base=server.url + "/v1",
                                  api_key="a-key", temperature=0, timeout=serving.DEADLINE_S,
                                  **options)

    return ask


@pytest.fixture
def chain(server):
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model=serving.NAME, base_url=server.url + "/v1", api_key="a-key",
                      temperature=0, timeout=serving.DEADLINE_S, max_retries=0)


def test_litellm_answers_and_streams(lite):
    answer = lite(messages=QUESTION)
    text = answer.choices[0].message.content
    assert "42" in text
    assert answer.choices[0].message.reasoning_content
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    pieces = [chunk.choices[0].delta for chunk in lite(messages=QUESTION, stream=True)]
    assert "".join(piece.content or "" for piece in pieces) == text
    assert len(pieces) > 2


def test_litellm_tools(lite):
    choice = {"type": "function", "function": {"name": "add"}}
    answer = lite(messages=QUESTION, tools=[TOOL], tool_choice=choice, max_tokens=400)
    call, = answer.choices[0].message.tool_calls
    assert call.function.name == "add"
    assert set(json.loads(call.function.arguments)) == {"a", "b"}


def test_litellm_errors(lite, server):
    import litellm

    with pytest.raises(litellm.BadRequestError):
        lite(messages=QUESTION, top_p=7)
    with pytest.raises(litellm.AuthenticationError):
        litellm.completion(model=f"openai/{serving.NAME}", messages=QUESTION, api_key="wrong",
                           api_base=server.url + "/v1")


def test_litellm_speaks_anthropic_too(server):
    import litellm

    answer = litellm.completion(model=f"anthropic/{serving.NAME}", messages=QUESTION,
                                api_base=server.url, api_key="a-key", temperature=0,
                                max_tokens=400)
    assert "42" in answer.choices[0].message.content


def test_langchain_answers_and_streams(chain):
    answer = chain.invoke("What is 17 + 25?")
    assert "42" in answer.content
    assert answer.usage_metadata["total_tokens"] > 0
    assert "".join(piece.content for piece in chain.stream("What is 17 + 25?")) == answer.content
    assert all("42" in one.content for one in chain.batch(["What is 17 + 25?"] * 3))


def test_langchain_tools_and_structured_output(chain):
    bound = chain.bind_tools([TOOL], tool_choice="add")
    call, = bound.invoke("Add 3 and 4.").tool_calls
    assert call["name"] == "add" and set(call["args"]) == {"a", "b"}
    value = chain.with_structured_output(SCHEMA | {"title": "Place"}, method="json_schema").invoke(
        "Name a place and a number.")
    assert set(value) == {"city", "number"}
