"""POST /v1/chat/completions through the official client."""

import pytest

from ask import SUM, Stream, chat, messages, reasoning_of
from server import ALIAS, NAME


def test_plain(client):
    answer = chat(client)
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == NAME
    [choice] = answer.choices
    assert choice.index == 0
    assert choice.finish_reason == "stop"
    assert choice.logprobs is None
    assert choice.message.role == "assistant"
    assert "42" in choice.message.content
    assert not choice.message.tool_calls
    usage = answer.usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


def test_each_served_name_answers_under_itself(client):
    texts = set()
    for name in (NAME, ALIAS):
        answer = chat(client, model=name)
        assert answer.model == name
        texts.add(answer.choices[0].message.content)
    assert len(texts) == 1


@pytest.mark.parametrize("text", [SUM, "你好", "please sort 5, 3, 9", "strawberry有几个r"])
def test_a_stream_says_what_the_plain_answer_says(client, text):
    plain = chat(client, text)
    stream = Stream(chat(client, text, stream=True))
    assert stream[0].text == plain.choices[0].message.content
    assert stream[0].reasoning == reasoning_of(plain.choices[0].message)
    assert stream[0].finish_reason == plain.choices[0].finish_reason
    assert stream.usage is None  # Nobody asked for it.


def test_a_stream_opens_with_the_role_and_has_it_once(client):
    stream = Stream(chat(client, stream=True))
    roles = [c.delta.role for chunk in stream.chunks for c in chunk.choices]
    assert roles[0] == "assistant"
    assert not any(roles[1:])
    assert {chunk.object for chunk in stream.chunks} == {"chat.completion.chunk"}


def test_include_usage_comes_last_and_alone(client):
    plain = chat(client)
    stream = Stream(chat(client, stream=True, stream_options={"include_usage": True}))
    last = stream.chunks[-1]
    assert last.choices == []
    assert all(chunk.usage is None for chunk in stream.chunks[:-1])
    assert last.usage.prompt_tokens == plain.usage.prompt_tokens
    assert last.usage.completion_tokens == plain.usage.completion_tokens
    assert last.usage.total_tokens == plain.usage.total_tokens


def test_continuous_usage_grows_to_the_final_one(client):
    options = {"include_usage": True, "continuous_usage_stats": True}
    stream = Stream(chat(client, stream=True, stream_options=options))
    counts = [chunk.usage.completion_tokens for chunk in stream.chunks]
    assert counts == sorted(counts)
    assert counts[-1] == stream.usage.completion_tokens > 0


def test_n_choices(client):
    answer = chat(client, n=3)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 1  # Temperature 0.
    lone = chat(client)
    assert answer.choices[0].message.content == lone.choices[0].message.content
    # The prompt counts once, as OpenAI counts it.
    assert answer.usage.prompt_tokens == lone.usage.prompt_tokens
    assert answer.usage.completion_tokens == 3 * lone.usage.completion_tokens


def test_n_choices_streamed(client):
    plain = chat(client, n=3)
    stream = Stream(chat(client, n=3, stream=True, stream_options={"include_usage": True}))
    assert sorted(stream.choices) == [0, 1, 2]
    for choice in plain.choices:
        assert stream[choice.index].text == choice.message.content
    assert stream.usage.completion_tokens == plain.usage.completion_tokens


def test_logprobs(client):
    answer = chat(client, logprobs=True, top_logprobs=4,
                  extra_body={"thinking": {"type": "disabled"}})
    [choice] = answer.choices
    tokens = choice.logprobs.content
    assert len(tokens) == answer.usage.completion_tokens
    for token in tokens:
        assert token.logprob <= 0
        assert len(token.top_logprobs) == 4
        values = [top.logprob for top in token.top_logprobs]
        assert values == sorted(values, reverse=True)
        # Temperature 0 takes the most probable token.
        assert token.token == token.top_logprobs[0].token
        assert token.logprob == token.top_logprobs[0].logprob
    spelt = b"".join(bytes(token.bytes) for token in tokens).decode()
    assert spelt.startswith(choice.message.content)


def test_logprobs_without_alternatives(client):
    tokens = chat(client, logprobs=True).choices[0].logprobs.content
    assert tokens
    assert all(token.top_logprobs == [] for token in tokens)


def test_a_stream_has_the_same_logprobs(client):
    plain = chat(client, logprobs=True, top_logprobs=2)
    stream = Stream(chat(client, logprobs=True, top_logprobs=2, stream=True))
    assert stream[0].tokens == plain.choices[0].logprobs.content


def test_max_tokens_ends_with_length(client):
    for field in ("max_tokens", "max_completion_tokens"):
        answer = chat(client, **{field: 3})
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage.completion_tokens == 3


def test_stop_string_ends_the_answer(client):
    off = {"thinking": {"type": "disabled"}}
    whole = chat(client, extra_body=off).choices[0].message.content
    stop = whole[len(whole) // 2:][:2]
    answer = chat(client, stop=stop, extra_body=off)
    assert answer.choices[0].message.content == whole[:whole.index(stop)]
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].stop_reason == stop


def test_system_and_history_change_the_prompt(client):
    short = chat(client, "And now?").usage.prompt_tokens
    history = messages("What is 1 + 1?", "2", "And now?")
    assert chat(client, messages=history).usage.prompt_tokens > short
    with_system = [{"role": "system", "content": "Be brief."}, *messages("And now?")]
    as_developer = [{"role": "developer", "content": "Be brief."}, *messages("And now?")]
    counts = {chat(client, messages=m).usage.prompt_tokens for m in (with_system, as_developer)}
    assert len(counts) == 1 and counts.pop() > short


def test_text_parts_are_text(client):
    parts = [{"role": "user", "content": [{"type": "text", "text": SUM}]}]
    assert (chat(client, messages=parts).choices[0].message.content
            == chat(client).choices[0].message.content)


def test_token_ids_are_returned_and_spell_the_answer(client, server):
    asked = {"return_token_ids": True, "thinking": {"type": "disabled"}}
    plain = chat(client, extra_body=asked)
    ids = plain.choices[0].token_ids
    assert len(ids) == plain.usage.completion_tokens
    assert len(plain.prompt_token_ids) == plain.usage.prompt_tokens
    assert plain.choices[0].message.content in server.detokenize(ids)
    stream = Stream(chat(client, stream=True, extra_body=asked))
    assert stream[0].token_ids == ids
    assert stream.chunks[0].prompt_token_ids == plain.prompt_token_ids


def test_tokens_as_token_ids(client):
    asked = {"return_tokens_as_token_ids": True, "return_token_ids": True}
    choice = chat(client, logprobs=True, top_logprobs=1, extra_body=asked).choices[0]
    names = [token.token for token in choice.logprobs.content]
    assert names == [f"token_id:{token}" for token in choice.token_ids]
    assert all(token.top_logprobs[0].token.startswith("token_id:")
               for token in choice.logprobs.content)


def test_the_assistants_words_can_be_continued(client):
    whole = chat(client, extra_body={"thinking": {"type": "disabled"}}).choices[0].message.content
    begun = whole[:len(whole) // 2]
    conversation = [*messages(SUM), {"role": "assistant", "content": begun}]
    answer = chat(client, messages=conversation,
                  extra_body={"continue_final_message": True, "add_generation_prompt": False})
    assert "42" in begun + answer.choices[0].message.content
    assert not answer.choices[0].message.content.startswith(begun)


def test_unknown_fields_are_ignored(client):
    answer = chat(client, extra_body={"a_field_of_the_future": {"x": [1, None]}})
    assert answer.choices[0].message.content == chat(client).choices[0].message.content
