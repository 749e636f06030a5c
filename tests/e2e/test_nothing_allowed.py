"""When min_tokens holds back every token a model has, that request fails and says so; others go on.

Of the demo's 1536 tokens a request can hold back 129 (128 stop_token_ids and the end token), so
this serves a model of 100 tokens, cut from the checkpoint that the goldens were taken of.
"""

import json
import struct

import openai
import pytest

import server as serving

VOCAB = 100
SOURCE = serving.ROOT / "tests/golden/models/qwen2_tied"
EVERY_TOKEN = {"stop_token_ids": list(range(VOCAB)), "min_tokens": 1}


def cut_weights(data: bytes) -> bytes:
    """The safetensors file with the first VOCAB rows of the embedding."""
    (header_bytes,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + header_bytes])
    header.pop("__metadata__", None)
    body = b""
    for name, tensor in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, end = (8 + header_bytes + offset for offset in tensor["data_offsets"])
        if name == "model.embed_tokens.weight":
            end -= (end - begin) // tensor["shape"][0] * (tensor["shape"][0] - VOCAB)
            tensor["shape"][0] = VOCAB
        tensor["data_offsets"] = [len(body), len(body) + end - begin]
        body += data[begin:end]
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def tokenizer() -> dict:
    """Two special tokens, then the printable characters of ASCII but the space, then two pairs."""
    pieces = ["<s>", "</s>", *(chr(code) for code in range(0x21, 0x7f))]
    merges = [["a", "b"], ["c", "d"], ["e", "f"], ["g", "h"]][:VOCAB - len(pieces)]
    pieces += ["".join(pair) for pair in merges]
    assert len(pieces) == VOCAB
    special = [{"id": i, "content": pieces[i], "single_word": False, "lstrip": False,
                "rstrip": False, "normalized": False, "special": True} for i in range(2)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    return {"version": "1.0", "added_tokens": special, "normalizer": None,
            "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
            "model": {"type": "BPE", "vocab": {piece: i for i, piece in enumerate(pieces)},
                      "merges": merges}}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A client of a server of its own, which serves the small model."""
    folder = tmp_path_factory.mktemp("small")
    config = json.loads((SOURCE / "config.json").read_text()) | {"vocab_size": VOCAB, "eos_token_id": 1}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 1}))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    (folder / "model.safetensors").write_bytes(cut_weights((SOURCE / "model.safetensors").read_bytes()))
    with serving.Server(arguments=["--model", str(folder), "--served-model-name", serving.NAME]) as running:
        with running.client() as client:
            yield client
        running.wait_idle(within_s=2)
        assert running.metric("vllm:kv_cache_usage_perc") == 0


def complete(client, **fields):
    extra = {"ignore_eos": True} | fields.pop("extra_body", {})
    return client.completions.create(model=serving.NAME, prompt="abc", temperature=0, max_tokens=40,
                                     extra_body=extra, **fields)


def test_it_is_refused_by_name_and_others_go_on(small):
    quiet = complete(small).choices[0].text
    beside = complete(small, stream=True)
    heard = [next(beside)]
    for _ in range(5):
        with pytest.raises(openai.BadRequestError, match="min_tokens") as caught:
            complete(small, extra_body=EVERY_TOKEN)
        assert caught.value.type == "invalid_request_error"
    heard += beside
    assert "".join(chunk.choices[0].text for chunk in heard) == quiet


def test_a_stream_hears_it_too(small):
    with pytest.raises(openai.APIError, match="min_tokens"):
        list(complete(small, stream=True, extra_body=EVERY_TOKEN))


def test_one_token_left_is_the_answer(small):
    left = dict(EVERY_TOKEN, stop_token_ids=list(range(VOCAB - 1)), min_tokens=40, return_token_ids=True)
    assert complete(small, extra_body=left).choices[0].token_ids == [VOCAB - 1] * 40


def test_logit_bias_only_weighs(small):
    """-100 on every token leaves their order: nothing is banned by it."""
    everything = {str(token): -100 for token in range(VOCAB)}
    assert complete(small, logit_bias=everything).choices[0].text == complete(small).choices[0].text
