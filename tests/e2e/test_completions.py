"""POST /v1/completions through the official client."""

import math

from ask import STORY, Stream, complete
from server import NAME


def test_plain(client):
    answer = complete(client)
    assert answer.object == "text_completion"
    assert answer.id.startswith("cmpl-")
    assert answer.model == NAME
    [choice] = answer.choices
    assert choice.finish_reason == "length"
    assert choice.text
    assert choice.logprobs is None
    assert answer.usage.completion_tokens == 24


def test_sixteen_tokens_unless_told_otherwise(client):
    answer = client.completions.create(model=NAME, prompt=STORY, temperature=0,
                                       extra_body={"ignore_eos": True})
    assert answer.usage.completion_tokens == 16


def test_a_stream_says_what_the_plain_answer_says(client):
    plain = complete(client, max_tokens=60)
    stream = Stream(complete(client, max_tokens=60, stream=True,
                             stream_options={"include_usage": True}))
    assert stream[0].text == plain.choices[0].text
    assert stream[0].finish_reason == "length"
    assert stream.usage.completion_tokens == 60
    assert stream.chunks[-1].choices == []


def test_token_ids_as_the_prompt(client, server):
    ids = server.tokenize(STORY, add_special_tokens=True)
    from_text, from_ids = complete(client, STORY), complete(client, ids)
    assert from_ids.choices[0].text == from_text.choices[0].text
    assert from_ids.usage.prompt_tokens == from_text.usage.prompt_tokens == len(ids)


def test_several_prompts_come_back_in_order(client, server):
    texts = ["One, two, three, ", "Sunday, Monday, ", "To be or "]
    lone = [complete(client, text).choices[0].text for text in texts]
    together = complete(client, texts)
    assert [choice.index for choice in together.choices] == [0, 1, 2]
    assert [choice.text for choice in together.choices] == lone
    as_ids = [server.tokenize(text, add_special_tokens=True) for text in texts]
    assert [choice.text for choice in complete(client, as_ids).choices] == lone
    twice = complete(client, texts, n=2)
    assert [choice.text for choice in twice.choices] == [text for text in lone for _ in range(2)]
    assert twice.usage.prompt_tokens == sum(map(len, as_ids))
    stream = Stream(complete(client, texts, stream=True))
    assert [stream[i].text for i in range(3)] == lone


def test_best_of_returns_the_likeliest(client):
    fields = {"temperature": 1.5, "seed": 5, "logprobs": 0, "max_tokens": 8}
    best = complete(client, **fields, best_of=4)
    all_four = complete(client, **fields, n=4)
    assert len(best.choices) == 1
    assert best.usage.completion_tokens == 32
    means = {sum(c.logprobs.token_logprobs): c.text for c in all_four.choices}
    assert best.choices[0].text == means[max(means)]


def test_echo_puts_the_prompt_first(client):
    answer = complete(client).choices[0].text
    assert complete(client, echo=True).choices[0].text == STORY + answer
    assert Stream(complete(client, echo=True, stream=True))[0].text == STORY + answer


def test_echo_of_a_prompt_alone_scores_it(client, server):
    ids = server.tokenize(STORY, add_special_tokens=True)
    answer = complete(client, echo=True, max_tokens=0, logprobs=1)
    [choice] = answer.choices
    assert choice.text == STORY
    assert answer.usage.completion_tokens == 0
    logprobs = choice.logprobs
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(ids)
    assert logprobs.token_logprobs[0] is None  # Nothing stands before it.
    assert all(value <= 0 for value in logprobs.token_logprobs[1:])


def test_logprobs(client):
    answer = complete(client, logprobs=3)
    logprobs = answer.choices[0].logprobs
    assert len(logprobs.tokens) == answer.usage.completion_tokens
    assert "".join(logprobs.tokens) == answer.choices[0].text
    for token, value, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs):
        assert 1 <= len(top) <= 4  # Two tokens may be spelt alike.
        assert value == max(top.values()) == top[token]
        assert sum(map(math.exp, top.values())) <= 1 + 1e-5
    offsets = [len("".join(logprobs.tokens[:i])) for i in range(len(logprobs.tokens))]
    assert logprobs.text_offset == offsets
    assert Stream(complete(client, logprobs=3, stream=True))[0].tokens == logprobs.tokens


def test_prompt_logprobs(client, server):
    ids = server.tokenize(STORY, add_special_tokens=True)
    [choice] = complete(client, extra_body={"prompt_logprobs": 2}).choices
    assert len(choice.prompt_logprobs) == len(ids)
    assert choice.prompt_logprobs[0] is None
    for token, entry in zip(ids[1:], choice.prompt_logprobs[1:]):
        assert 2 <= len(entry) <= 3
        own = entry[str(token)]
        assert own["rank"] >= 1 and own["logprob"] <= 0
        assert isinstance(own["decoded_token"], str)
        by_rank = sorted(entry.values(), key=lambda e: e["rank"])
        assert [e["logprob"] for e in by_rank] == sorted((e["logprob"] for e in by_rank), reverse=True)
    # The same numbers as echo's.
    echoed = complete(client, echo=True, max_tokens=0, logprobs=2).choices[0].logprobs
    assert echoed.token_logprobs[1:] == [
        entry[str(token)]["logprob"] for token, entry in zip(ids[1:], choice.prompt_logprobs[1:])]


def test_token_ids_are_returned_and_spell_the_answer(client, server):
    ids = server.tokenize(STORY, add_special_tokens=True)
    [choice] = complete(client, extra_body={"return_token_ids": True}).choices
    assert len(choice.token_ids) == 24
    assert choice.prompt_token_ids == ids
    assert server.detokenize(choice.token_ids) == choice.text
    stream = Stream(complete(client, stream=True, extra_body={"return_token_ids": True}))
    assert stream[0].token_ids == choice.token_ids


def test_tokens_as_token_ids(client):
    asked = {"return_tokens_as_token_ids": True, "return_token_ids": True}
    [choice] = complete(client, logprobs=1, extra_body=asked).choices
    assert choice.logprobs.tokens == [f"token_id:{token}" for token in choice.token_ids]


def test_a_long_prompt_is_chunked_without_a_trace(client, server):
    """Longer than one step takes: the answer is that of the same tokens one after the other."""
    ids = server.tokenize(STORY * 40)[:900]
    whole = complete(client, ids, max_tokens=12, extra_body={"cache_salt": "chunked"})
    assert whole.usage.prompt_tokens == 900
    again = complete(client, ids, max_tokens=12, extra_body={"cache_salt": "chunked"})
    assert again.usage.prompt_tokens_details.cached_tokens > 0
    assert again.choices[0].text == whole.choices[0].text
