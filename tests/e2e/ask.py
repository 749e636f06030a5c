"""Requests that several tests make, and how their answers are put together."""

from __future__ import annotations

import dataclasses

from server import NAME

SUM = "What is 17 + 25?"
STORY = "The kitchen of a ship is called a galley. The cook wakes before the others do, lights the fire and "


def messages(*texts: str) -> list[dict]:
    """A conversation: user, assistant, user, ..."""
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]


def chat(client, text: str = SUM, /, **fields):
    return client.chat.completions.create(
        **({"model": NAME, "messages": messages(text), "temperature": 0} | fields))


def complete(client, prompt=STORY, /, **fields):
    """Unlike a chat, it goes to its max_tokens whatever the model would rather do."""
    extra = {"ignore_eos": True} | fields.pop("extra_body", {})
    return client.completions.create(
        **({"model": NAME, "prompt": prompt, "temperature": 0, "max_tokens": 24} | fields),
        extra_body=extra)


@dataclasses.dataclass
class Gathered:
    """One choice of a stream, put together."""

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    stop_reason: object = None
    tokens: list = dataclasses.field(default_factory=list)  # chat: logprobs.content
    token_ids: list[int] = dataclasses.field(default_factory=list)
    tool_calls: list[dict] = dataclasses.field(default_factory=list)


class Stream:
    """All chunks of a stream, gathered by choice, with the rules every stream must keep."""

    def __init__(self, chunks):
        self.chunks = list(chunks)
        self.choices: dict[int, Gathered] = {}
        self.usage = None
        assert len({(chunk.id, chunk.created, chunk.model) for chunk in self.chunks}) == 1
        for chunk in self.chunks:
            if chunk.usage is not None:
                self.usage = chunk.usage
            for choice in chunk.choices:
                self._add(choice)
        for index, choice in self.choices.items():
            assert choice.finish_reason is not None, f"choice {index} never finished"

    def _add(self, choice) -> None:
        gathered = self.choices.setdefault(choice.index, Gathered())
        assert gathered.finish_reason is None, "a choice goes on after its finish_reason"
        gathered.finish_reason = choice.finish_reason
        gathered.stop_reason = getattr(choice, "stop_reason", None)
        gathered.token_ids += getattr(choice, "token_ids", None) or []
        if hasattr(choice, "delta"):
            gathered.text += choice.delta.content or ""
            gathered.reasoning += getattr(choice.delta, "reasoning_content", None) or ""
            if choice.logprobs is not None:
                gathered.tokens += choice.logprobs.content
            for piece in choice.delta.tool_calls or []:
                self._add_call(gathered, piece)
        else:
            gathered.text += choice.text
            if choice.logprobs is not None:
                gathered.tokens += choice.logprobs.tokens

    @staticmethod
    def _add_call(gathered: Gathered, piece) -> None:
        if piece.index == len(gathered.tool_calls):
            gathered.tool_calls.append({"id": piece.id, "name": piece.function.name, "arguments": ""})
        assert piece.index == len(gathered.tool_calls) - 1, "pieces of calls are out of order"
        gathered.tool_calls[-1]["arguments"] += piece.function.arguments or ""

    def __getitem__(self, index: int) -> Gathered:
        return self.choices[index]


def reasoning_of(message) -> str:
    return getattr(message, "reasoning_content", None) or ""
