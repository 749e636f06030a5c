"""What stops an answer, what shapes it, and what can be repeated."""

import pytest

from ask import STORY, Stream, chat, complete


@pytest.fixture(scope="module")
def answer(client):
    """A greedy answer of 40 tokens with their ids and spellings."""
    [choice] = complete(client, max_tokens=40, logprobs=0,
                        extra_body={"return_token_ids": True}).choices
    return choice


def stop_across_tokens(answer) -> str:
    """The end of one token and the start of the next, not seen before that place."""
    tokens = answer.logprobs.tokens
    for i in range(4, len(tokens) - 2):
        stop = tokens[i][-1:] + tokens[i + 1][:2]
        place = len("".join(tokens[:i + 1])) - 1
        if len(tokens[i + 1]) >= 2 and "\ufffd" not in stop and answer.text.find(stop) == place:
            return stop
    raise AssertionError(f"no stop string spans two tokens of {tokens}")


def test_stop_string_across_tokens(client, answer):
    stop = stop_across_tokens(answer)
    expected = answer.text[:answer.text.index(stop)]
    [plain] = complete(client, max_tokens=40, stop=stop).choices
    assert (plain.text, plain.finish_reason, plain.stop_reason) == (expected, "stop", stop)
    stream = Stream(complete(client, max_tokens=40, stop=stop, stream=True))
    assert (stream[0].text, stream[0].finish_reason, stream[0].stop_reason) == (expected, "stop", stop)


def test_the_stop_string_can_be_kept(client, answer):
    stop = stop_across_tokens(answer)
    [kept] = complete(client, max_tokens=40, stop=[stop],
                      extra_body={"include_stop_str_in_output": True}).choices
    assert kept.text == answer.text[:answer.text.index(stop) + len(stop)]


def test_the_first_of_several_stop_strings_wins(client, answer):
    early, late = answer.text[6:9], answer.text[30:33]
    cut = min(answer.text.index(early), answer.text.index(late))
    [choice] = complete(client, max_tokens=40, stop=["never said, never", late, early]).choices
    assert choice.text == answer.text[:cut]
    assert choice.stop_reason in (early, late)


def test_a_stop_string_that_never_comes_changes_nothing(client, answer):
    stream = Stream(complete(client, max_tokens=40, stop=answer.text + "x", stream=True))
    assert stream[0].text == answer.text
    assert stream[0].finish_reason == "length"


def test_stop_token_ids(client, answer):
    token = answer.token_ids[6]
    first = answer.token_ids.index(token)
    asked = {"stop_token_ids": [token], "return_token_ids": True}
    reply = complete(client, max_tokens=40, extra_body=asked)
    [choice] = reply.choices
    assert choice.finish_reason == "stop"
    assert choice.stop_reason == token
    assert choice.token_ids == answer.token_ids[:first + 1]
    assert reply.usage.completion_tokens == first + 1
    assert answer.text.startswith(choice.text)


def test_min_tokens_holds_stops_back(client, answer):
    token = answer.token_ids[2]
    asked = {"stop_token_ids": [token], "min_tokens": 10}
    reply = complete(client, max_tokens=40, extra_body=asked)
    assert reply.usage.completion_tokens >= 10


def test_min_tokens_and_ignore_eos_outlast_the_models_end(client):
    off = {"thinking": {"type": "disabled"}}
    count = chat(client, extra_body=off).usage.completion_tokens
    longer = chat(client, max_tokens=count + 30, extra_body=off | {"min_tokens": count + 5})
    assert longer.usage.completion_tokens >= count + 5
    ignoring = chat(client, max_tokens=count + 30, extra_body=off | {"ignore_eos": True})
    assert ignoring.usage.completion_tokens == count + 30
    assert ignoring.choices[0].finish_reason == "length"


WILD = {"temperature": 1.6, "max_tokens": 32}


def test_a_seed_repeats_and_another_does_not(client):
    texts = [complete(client, seed=seed, **WILD).choices[0].text for seed in (7, 7, 8)]
    assert texts[0] == texts[1] != texts[2]
    assert Stream(complete(client, seed=7, stream=True, **WILD))[0].text == texts[0]


def test_choices_of_one_seed_differ_and_repeat(client):
    runs = [[c.text for c in complete(client, seed=-3, n=3, **WILD).choices] for _ in range(2)]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) == 3


def test_without_a_seed_answers_differ(client):
    assert len({complete(client, **WILD).choices[0].text for _ in range(16)}) > 1  # The likeliest answer alone is common.


@pytest.mark.parametrize("narrow", [{"top_p": 1e-6}, {"extra_body": {"top_k": 1}},
                                    {"extra_body": {"min_p": 1.0}}])
def test_the_narrowest_sampling_is_greedy(client, answer, narrow):
    [choice] = complete(client, max_tokens=40, **({"temperature": 1.0} | narrow)).choices
    assert choice.text == answer.text


def test_logit_bias_forces_and_bans(client, answer):
    token = answer.token_ids[0]
    [banned] = complete(client, logit_bias={str(token): -100},
                        extra_body={"return_token_ids": True}).choices
    assert token not in banned.token_ids
    rare = answer.token_ids[10]
    [forced] = complete(client, logit_bias={str(rare): 100}, max_tokens=5,
                        extra_body={"return_token_ids": True}).choices
    assert forced.token_ids == [rare] * 5


def test_penalties_change_the_answer(client):
    again = "la la la la la la la la la la la la"
    plain = complete(client, again, max_tokens=200).choices[0].text
    for fields in ({"frequency_penalty": 2.0}, {"presence_penalty": 2.0},
                   {"extra_body": {"repetition_penalty": 2.0}}):
        assert complete(client, again, max_tokens=200, **fields).choices[0].text != plain, fields


def test_usage_in_both_dialects_shows_the_prefix_hit(client, server):
    salt = {"cache_salt": "usage"}
    prompt = server.tokenize(STORY * 12)[:200]
    before = server.metric("vllm:prefix_cache_hits_total")
    first = complete(client, prompt, extra_body=salt)
    second = complete(client, prompt, extra_body=salt)
    hits = [a.usage.prompt_tokens_details.cached_tokens for a in (first, second)]
    assert hits == [0, 192]  # Three whole blocks of 64.
    for answer in (first, second):
        usage = answer.usage
        assert usage.prompt_cache_hit_tokens == usage.prompt_tokens_details.cached_tokens
        assert usage.prompt_cache_hit_tokens + usage.prompt_cache_miss_tokens == 200
    assert first.choices[0].text == second.choices[0].text
    assert server.metric("vllm:prefix_cache_hits_total") == before + 192


def test_cache_salts_do_not_share(client, server):
    prompt = server.tokenize(STORY * 12)[:140]

    def hit(salt: str) -> int:
        reply = complete(client, prompt, max_tokens=1, extra_body={"cache_salt": salt})
        return reply.usage.prompt_tokens_details.cached_tokens

    assert [hit("alice"), hit("bob"), hit("alice"), hit("bob")] == [0, 0, 128, 128]


def test_an_earlier_answer_is_found_again(client, server):
    salt = {"cache_salt": "conversation"}
    prompt = server.tokenize(STORY * 12)[:100]
    [choice] = complete(client, prompt, max_tokens=60,
                        extra_body=salt | {"return_token_ids": True}).choices
    later = prompt + choice.token_ids + server.tokenize(" And then ")
    fresh = complete(client, later, extra_body={"cache_salt": "somebody else"})
    found = complete(client, later, extra_body=salt)
    assert found.usage.prompt_tokens_details.cached_tokens == 128
    assert found.choices[0].text == fresh.choices[0].text


@pytest.mark.parametrize("priority", [-5, 0, 7])
def test_priority_does_not_change_the_answer(client, answer, priority):
    [choice] = complete(client, max_tokens=40, extra_body={"priority": priority}).choices
    assert choice.text == answer.text
