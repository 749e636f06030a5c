"""Checks what the model was trained on against what servers will send it. Needs transformers; takes seconds.

    python check.py [--model models/demo] [--seed N]

- chat.py and the published template (through transformers) give the same text and the same tokens, with and without thinking;
- decoding gives the text back;
- no question of the training split has two different replies;
- the held-out sets in the folder are the ones that data.py makes, and none of their problems can be drawn for training.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import random
import tempfile

from transformers import AutoTokenizer

import chat
import data


def main() -> None:
    a = argparse.ArgumentParser()
    a.add_argument("--model", type=pathlib.Path, default=data.HERE.parent.parent / "models/demo")
    a.add_argument("--seed", type=int, default=random.randrange(10**6))
    args = a.parse_args()
    print(f"seed {args.seed}")
    rng = random.Random(args.seed)
    theirs, ours = AutoTokenizer.from_pretrained(args.model), data.load_tokenizer(args.model / "tokenizer.json")

    for _ in range(1000):
        prompt, think, answer, sample = data.training_texts(rng)
        for thinking in (True, False):
            text = theirs.apply_chat_template(data.messages_of(sample), tools=sample.tools, tokenize=False, add_generation_prompt=True, thinking=thinking)
            assert text == chat.render(data.messages_of(sample), sample.tools, thinking), text
        ids = ours.encode(prompt, add_special_tokens=False).ids
        assert theirs(prompt).input_ids == ids, prompt
        whole = prompt + think + chat.END_THINK + answer
        assert ours.decode(ours.encode(whole, add_special_tokens=False).ids, skip_special_tokens=False) == whole, whole

    replies: dict[str, tuple] = {}
    for _ in range(40000):
        sample = data.draw(rng)
        if sample.tools or sample.history or sample.after:
            continue
        reply = (sample.think, sample.answer)  # one question, one reply
        assert replies.setdefault(sample.user, reply) == reply, (sample.user, replies[sample.user], reply)

    with tempfile.TemporaryDirectory() as made:
        data.write_eval(pathlib.Path(made))
        for name in ("held_out.jsonl", "ci.jsonl"):
            assert (pathlib.Path(made) / name).read_bytes() == (args.model / "eval" / name).read_bytes(), name
    held = {json.loads(line)["messages"][-1]["content"]: json.loads(line) for line in (args.model / "eval/held_out.jsonl").open()}
    seen = [q for q in replies if q in held and held[q]["task"] in ("add", "sub", "mul", "div", "signed", "expr", "count", "sort", "story")]
    assert not seen, seen
    print(f"{len(replies)} questions, {len(held)} held out: all checks passed")


if __name__ == "__main__":
    main()
