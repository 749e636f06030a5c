"""Records what jinja2 renders for the C++ test: python record.py ../../../src/text/testdata/jinja.json"""

import json
import random
import sys
from pathlib import Path

import conversations
import reference
import snippets

NOW = 1_760_000_000
CONVERSATIONS = 12
# Messages that jinja2 words in its own way; only that both fail is recorded.
PARSE_MESSAGES = ("No filter named", "No test named")


def expected(template, context):
    result = reference.render(template, context, NOW)
    if result.get("error", "") and result["error"].startswith(PARSE_MESSAGES):
        return {"error": None}
    return result


def main():
    rng = random.Random(3)
    templates = {}
    cases = []
    for path in sorted((Path(__file__).parent / "templates").glob("*.jinja")):
        templates[path.stem] = path.read_text(encoding="utf-8")
        for _ in range(CONVERSATIONS):
            context = conversations.context(rng)
            cases.append({"name": path.stem, "context": context, **expected(templates[path.stem], context)})
    golden = {
        "now": NOW,
        "context": snippets.CONTEXT,
        "snippets": [{"template": t, **expected(t, snippets.CONTEXT)} for t in snippets.fixed()],
        "templates": templates,
        "conversations": cases,
    }
    text = json.dumps(golden, ensure_ascii=True, separators=(",", ":"))
    for mark in ('{"template"', '{"name":"' + "reasoner", '"conversations"', '"snippets"'):
        text = text.replace(mark, "\n" + mark)
    Path(sys.argv[1]).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
