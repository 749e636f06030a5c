"""Random JSON Schemas of the supported subset, whose answers are short."""

import os
import random

COUNT = int(os.environ.get("GALLEY_SCHEMAS", "60"))  # the engine's own test has a thousand
WORDS = ("name", "age", "city", "it's", "größe", "天气", "a b", "n", "ids", "x_1")


def schema(rng: random.Random, depth: int) -> dict:
    kinds = ["integer", "number", "string", "boolean", "null", "enum", "const", "pattern", "bounds"]
    if depth > 0:
        kinds += ["object", "object", "object", "array", "anyOf", "types"]
    kind = rng.choice(kinds)
    if kind == "object":
        names = rng.sample(WORDS, rng.randint(1, 4))
        return {"type": "object", "properties": {name: schema(rng, depth - 1) for name in names},
                "required": [name for name in names if rng.random() < 0.7],
                **({"additionalProperties": False} if rng.random() < 0.5 else {})}
    if kind == "array":
        low = rng.randint(0, 2)
        return {"type": "array", "items": schema(rng, depth - 1), "minItems": low, "maxItems": low + rng.randint(0, 2)}
    if kind == "anyOf":
        return {"anyOf": [schema(rng, depth - 1) for _ in range(rng.randint(1, 3))]}
    if kind == "types":
        return {"type": rng.sample(["boolean", "null", "string"], 2), "maxLength": 6}
    if kind == "enum":
        return {"enum": rng.sample([1, "one", None, True, "zwölf", -0.5, [1, 2], {"a": 1}], rng.randint(1, 4))}
    if kind == "const":
        return {"const": rng.choice(["x\"y", 17, None, False, {"k": ["v"]}])}
    if kind == "pattern":
        return {"type": "string", "pattern": rng.choice(["^[a-z]{2,5}$", "^\\d{3}-\\d{2}$", "^(yes|no)$"])}
    if kind == "bounds":
        low = rng.randint(-50, 50)
        return {"type": "integer", "minimum": low, "maximum": low + rng.randint(0, 300)}
    if kind == "string":
        low = rng.randint(0, 3)
        return {"type": "string", "minLength": low, "maxLength": low + rng.randint(0, 10)}
    if kind == "number":
        return {"type": "number", "minimum": -10, "maximum": 10}
    return {"type": kind} if kind != "integer" else {"type": "integer", "minimum": 0, "maximum": 10**6}


def random_schemas(seed: int, count: int) -> list[dict]:
    rng = random.Random(seed)
    return [{"type": "object", "properties": {"answer": schema(rng, 3)}, "required": ["answer"]}
            for _ in range(count)]
