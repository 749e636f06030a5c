"""Thought and answer apart; thinking off, bounded, and counted."""

import pytest

from ask import SUM, Stream, chat, reasoning_of

HARD = "what's 4738 * 596"


def test_the_thought_stands_beside_the_answer(client):
    answer = chat(client, HARD)
    message = answer.choices[0].message
    assert len(reasoning_of(message)) > 10
    assert str(4738 * 596) in message.content.replace(",", "")
    for text in (message.content, reasoning_of(message)):
        assert "<think>" not in text and "</think>" not in text
    counted = answer.usage.completion_tokens_details.reasoning_tokens
    assert 0 < counted < answer.usage.completion_tokens


def test_a_stream_thinks_first_and_then_answers(client):
    kinds = []
    for chunk in chat(client, HARD, stream=True):
        for choice in chunk.choices:
            if getattr(choice.delta, "reasoning_content", None):
                kinds.append("thought")
            if choice.delta.content:
                kinds.append("answer")
    assert kinds == sorted(kinds, reverse=True)
    assert set(kinds) == {"thought", "answer"}


@pytest.mark.parametrize("off", [{"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}])
def test_thinking_off(client, off):
    answer = chat(client, extra_body=off)
    assert reasoning_of(answer.choices[0].message) == ""
    assert "17 + 25 = " in answer.choices[0].message.content  # Right or not: it had no time to think.
    assert answer.usage.completion_tokens_details.reasoning_tokens == 0


def test_thinking_on_is_what_the_model_does_by_itself(client):
    by_itself = chat(client, HARD)
    asked = chat(client, HARD, extra_body={"thinking": {"type": "enabled"}})
    assert asked.choices[0].message == by_itself.choices[0].message


@pytest.mark.parametrize("field", ["thinking.budget_tokens", "thinking_token_budget"])
@pytest.mark.parametrize("budget", [0, 1, 8])
def test_a_budget_is_exact_and_the_answer_still_comes(client, field, budget):
    if field == "thinking_token_budget":
        extra = {"thinking_token_budget": budget}
    else:
        extra = {"thinking": {"type": "enabled", "budget_tokens": budget}}
    free = chat(client, HARD)
    assert free.usage.completion_tokens_details.reasoning_tokens > 8 + 8
    answer = chat(client, HARD, extra_body=extra)
    [choice] = answer.choices
    assert choice.finish_reason == "stop"
    assert choice.message.content.strip()
    assert reasoning_of(free.choices[0].message).startswith(reasoning_of(choice.message).rstrip())
    # The closing words count as thought; the budget bounds what was thought before them.
    assert budget <= answer.usage.completion_tokens_details.reasoning_tokens <= budget + 8


def test_a_bounded_stream_equals_the_plain_answer(client):
    extra = {"thinking_token_budget": 8}
    plain = chat(client, HARD, extra_body=extra).choices[0].message
    stream = Stream(chat(client, HARD, extra_body=extra, stream=True))
    assert stream[0].text == plain.content
    assert stream[0].reasoning == reasoning_of(plain)


def test_a_roomy_budget_changes_nothing(client):
    free = chat(client)
    roomy = chat(client, extra_body={"thinking_token_budget": 1000})
    assert roomy.choices[0].message == free.choices[0].message


@pytest.mark.parametrize("effort", ["minimal", "low", "medium", "high"])
def test_reasoning_effort_is_taken(client, effort):
    answer = chat(client, SUM, reasoning_effort=effort)
    assert "42" in answer.choices[0].message.content
    assert reasoning_of(answer.choices[0].message)


def test_a_thought_cut_by_max_tokens_is_no_answer(client):
    [choice] = chat(client, HARD, max_tokens=5).choices
    assert choice.finish_reason == "length"
    assert not choice.message.content
    assert reasoning_of(choice.message)


def test_the_thought_can_be_left_out(client):
    whole = chat(client)
    answer = chat(client, extra_body={"include_reasoning": False})
    assert reasoning_of(answer.choices[0].message) == ""
    assert answer.choices[0].message.content == whole.choices[0].message.content
    stream = Stream(chat(client, stream=True, extra_body={"include_reasoning": False}))
    assert (stream[0].reasoning, stream[0].text) == ("", whole.choices[0].message.content)
