"""Compares Galley's Jinja engine with jinja2.

    python compare.py --pipe build/dev/bin/text_pipe --cases 20000
    python compare.py --pipe build/dev/bin/text_pipe --folder MODEL_TEMPLATES

Renders fixed snippets, random expressions, random templates and the chat templates of templates/
(or of --folder) over random conversations with both. Exits with 1 if the texts differ, if only
one fails, or if a message for the template's author differs.
"""

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

import conversations
import reference
import snippets

NOW = 1_760_000_000
# What the engine refuses by design: see src/text/jinja.h.
# (jinja2 folds a slice of a constant that has none into nothing; at run time it fails, as ours.)
REFUSED = ("not supported", "64 bits", "cannot be printed", "larger than", "subscriptable", "expected ']'")


def cases(args):
    rng = random.Random(args.seed)
    folder = Path(args.folder or Path(__file__).parent / "templates")
    if not args.folder:
        for template in snippets.fixed():
            yield template, snippets.CONTEXT
        for _ in range(args.cases):
            yield "{{ " + snippets.expression(rng, rng.randrange(1, 4)) + " }}", snippets.CONTEXT
        for _ in range(args.cases):
            yield snippets.body(rng, 2), snippets.CONTEXT
    for path in sorted(folder.glob("*.jinja")):
        template = path.read_text(encoding="utf-8")
        for _ in range(args.cases // 10):
            yield template, conversations.context(rng)


def agrees(expected, got):
    if isinstance(got, str) or "text" in expected:
        return expected.get("text") == got
    message = got["error"].split(": ", 1)[-1]
    return expected["error"] is None or message == expected["error"] or message.startswith("'<' not")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--pipe", required=True)
    parser.add_argument("--cases", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder")
    args = parser.parse_args()
    rows = list(cases(args))
    lines = "".join(json.dumps({"template": t, "context": c, "now": NOW}) + "\n" for t, c in rows)
    environment = {"TZ": "UTC", "PATH": "/usr/bin"}
    done = subprocess.run(
        [args.pipe, "render"], input=lines, capture_output=True, text=True, check=True, env=environment
    )
    results = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
    wrong, refused, rendered = [], 0, 0
    for (template, context), got in zip(rows, results, strict=True):
        expected = reference.render(template, context, NOW)
        rendered += "text" in expected
        if agrees(expected, got):
            continue
        if isinstance(got, dict) and any(word in got["error"] for word in REFUSED) and not args.folder:
            refused += 1
            continue
        wrong.append((template if len(template) < 600 else template[:60], expected, got))
    print(f"{len(rows)} cases, {rendered} of them render: {len(wrong)} differ, {refused} refused by design")
    for case in wrong[:25]:
        print("  ", ascii(case))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
