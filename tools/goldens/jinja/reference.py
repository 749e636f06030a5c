"""jinja2 set up as transformers sets it up for chat templates."""

import copy
import json
import warnings
from datetime import datetime, timezone

from jinja2 import TemplateError, nodes
from jinja2.exceptions import TemplateSyntaxError, UndefinedError
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


warnings.simplefilter("ignore", SyntaxWarning)  # of the Python that jinja2 makes


class Generation(Extension):
    """{% generation %} ... {% endgeneration %} renders its body."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def raise_exception(message):
    raise TemplateError(message)


def environment(now):
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.fromtimestamp(now, timezone.utc).strftime(form)
    return env


def render(template, context, now):
    """{"text": ...}, or {"error": message}; the message is None where ours need not be the same."""
    try:
        return {"text": environment(now).from_string(template).render(**copy.deepcopy(context))}
    except TemplateSyntaxError:
        return {"error": None}
    except (UndefinedError, TemplateError) as error:
        return {"error": str(error)}
    except Exception:  # TypeError, ValueError, OverflowError, ... of Python's operations
        return {"error": None}
