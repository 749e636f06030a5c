"""Single constructs with hand-picked values, and random expressions and templates over a context."""

CONTEXT = {
    "n": 7,
    "neg": -3,
    "f": 2.5,
    "big": 1e16,
    "tiny": 1e-5,
    "s": "Hello World",
    "u": "ÉCOLE straße 你好😀",
    "pad": "  x y\t\n",
    "q": "it's \"q\"",
    "t": True,
    "no": False,
    "nil": None,
    "xs": [3, 1, 2],
    "mixed": [1, "a", None, 2.0, True, [1], {"k": 1}],
    "empty": [],
    "d": {"b": 1, "a": [1, 2], "items": "shadow", "key with space": {"x": "y"}},
    "people": [{"name": "Bob", "age": 5}, {"name": "al", "age": 3}, {"name": "Cy"}],
}

EXPRESSIONS = """
n + 1|n - 10|n * 2|n / 2|n // 2|n % 4|neg // 2|neg % 5|7 // neg|7 % neg|n ** 2|2 ** -1|2 ** 62|f * 2|f // 1|-f % 2|1 / 0
big|tiny|1e15|123456789012345678.0|0.1 + 0.2|1e100|-0.0|1.0|100000.0|1e-4|5e-324|n == 7.0|true == 1|t + t|t and n|nil or s
'a' + 'b'|'a' ~ 1 ~ none ~ true ~ 1.5|'ab' * 3|'a' + 1|1 + 'a'|[1] + [2]|(1,) + (2, 3)|[1, 2] * 2|s[0]|s[-1]|s[100]|u[10]|s[::-1]|s[1:4]
s[:-1]|s[::2]|u[::-1]|xs[0]|xs[-1]|xs[9]|xs[1:]|xs[::-1]|xs[5:1:-2]|(1,2,3)[1:]|xs['a']|d['b']|d.b|d['items']|d.missing|d['missing']
d.missing.x|nothing|nothing.x|nothing[0]|nothing + 1|nothing ~ 'x'|nothing == nothing2|nothing is defined|not nothing|nothing | length|'a' in nothing
'Hello' in s|'x' not in s|1 in xs|'b' in d|none in mixed|1 in s|1 in n|xs == [3,1,2]|(1,) == [1]|xs < [3,2]|s < 'I'|1 < 'a'|1 < 2 < 3|3 > 2 > 2|n != 7
not n == 7|not t or t|1 if t else 2|1 if no|(1 if no) is defined|'a' if n > 5 else 'b' if n > 3 else 'c'|[1,2][0] if xs else 3
s.upper()|u.lower()|u.upper()|s.title()|u.title()|u.capitalize()|pad.strip()|pad.lstrip()|pad.rstrip()|'xxhixx'.strip('x')|'abc'.strip('ac')
'a,b,,c'.split(',')|' a  b '.split()|'a,b,c'.split(',', 1)|'a b  c'.split(none, 1)|'a,b,c'.rsplit(',', 1)|' a b c '.rsplit(none, 1)|'a\\nb\\r\\nc'.splitlines()
s.startswith('He')|s.startswith(('x','He'))|s.endswith('d')|s.endswith('x')|s.replace('l','L')|s.replace('l','L',1)|s.replace('','-')|s.find('o')|s.rfind('o')
s.find('zz')|s.index('zz')|s.count('l')|','.join(['a','b'])|','.join([1])|s.removeprefix('He')|s.removesuffix('ld')|'%s-%d' % ('a', 3)|'%.2f' % 3.14159
'{}-{}'.format(1, 'b')|'{0}{1}{0}'.format('x','y')|'{a}'.format(a=1)|'12'.isdigit()|'1a'.isalnum()|'ab'.isalpha()|' '.isspace()|'AB'.isupper()|''.islower()
'ab'.center(7, '*')|'ab'.ljust(4)|'ab'.rjust(4,'0')|'a-b'.partition('-')|'ab'.rpartition('-')|s.nope()|s.nope|xs.append(1)|d.update({})|xs.index(1)|xs.count(3)
d.get('b')|d.get('zz')|d.get('zz', 4)|d.keys() | list|d.values() | list|d.items() | list|d | items | list|d | length|d | list|xs|mixed|d|(1,)|()|[]|{}|{1: 'a', none: 2, 'x': 1.5}
q|[q]|['\\n\\t\\x00\\u2028é']|[u]|mixed | tojson|d | tojson|d | tojson(indent=2)|u | tojson|u | tojson(ensure_ascii=true)|[] | tojson(indent=1)|big | tojson
xs | tojson(separators=(',', ':'))|d | tojson(sort_keys=true)|nothing | tojson|nothing | default('x')|nil | default('x')|nil | default('x', true)|'' | d('y', boolean=true)
xs | join|xs | join('-')|people | join(',', attribute='name')|xs | first|empty | first|xs | last|s | first|s | last|xs | length|s | length|u | length|n | length
xs | sort|xs | sort(reverse=true)|people | sort(attribute='name') | map(attribute='name') | list|mixed | sort|['b','A','c'] | sort|['b','A','c'] | sort(case_sensitive=true)
xs | reverse | list|s | reverse|xs | sum|people | map(attribute='age', default=0) | sum|xs | max|xs | min|empty | max|xs | map('string') | list|['a ',' b'] | map('trim') | list
xs | select('odd') | list|xs | reject('odd') | list|xs | select('gt', 1) | list|people | selectattr('age') | map(attribute='name') | list|mixed | select | list
people | selectattr('name', 'equalto', 'al') | list|people | rejectattr('age', 'defined') | list|people | selectattr('age', 'defined') | map(attribute='name') | join('+')
[1,1,2,'a','A'] | unique | list|xs | batch(2) | list|xs | batch(2, 0) | list|people | groupby('name') | length|d | dictsort|{'b':1,'A':2} | dictsort(reverse=true)
s | upper|s | lower|u | title|'hello wORLD-foo (bar' | title|u | capitalize|pad | trim|'xax' | trim('x')|s | replace('l','L')|s | replace('l','L', 1)|s | wordcount
'3' | int|'x' | int|'x' | int(5)|'3.9' | int|3.9 | int|none | int|'2.5' | float|'x' | float|' 12 ' | int|true | int|neg | abs|2.567 | round(2)|2.5 | round|3.5 | round
2.4 | round(method='ceil')|2.6 | round(0, 'floor')|n | round|1234.5 | round(-2)|0.125 | round(2)|n | string|mixed | string|'a\\nb' | indent|'a\\n\\nb' | indent(2, true)|'a\\nb' | indent('>>', blank=true)
'<a href="x">' | e|s | list|d | list|'x' | format|'%s' | format(n)|xs | safe|s | center(15)|s | nope|n is nope|n is odd|n is even|n is divisibleby 7|n is divisibleby(2)
n is number|t is number|n is integer|t is integer|f is float|t is boolean|s is string|nil is none|nil is not none|d is mapping|xs is mapping|xs is sequence|s is sequence|d is sequence|n is sequence
xs is iterable|s is iterable|n is iterable|nothing is iterable|nothing is undefined|range is callable|s is callable|n is eq 7|n is equalto(7)|n is ne 7|n is lt 8|n is gt 8|n is in [7]|n is in xs
t is true|t is sameas true|1 is true|no is false|'abc' is lower|'ABC' is upper|nil is sameas none|range(3) | list|range(1, 10, 3) | list|range(5, 0, -2) | list|range(3)|range(0)|range(3)[1]
range(200000)|range(1, 2, 0)|range('a')|dict(a=1, b=2)|dict({'a': 1}, b=2)|namespace(a=1).a|namespace(a=1).b|namespace({'x': 2}).x|-n|+n|--n|-s|- n ** 2|2 ** 3 ** 2|1 + 2 * 3|(1 + 2) * 3
1 ~ 2 + 3|'a' ~ 'b' * 2|n - 1 ~ 2|n|abs + 1|-n|abs|n.foo|1.5.foo|s.__class__|s|attr('upper')|d|attr('b')|n()|s()|nothing()|raise_exception('x' ~ 1)|raise_exception()
strftime_now('%Y-%m-%d')|strftime_now("%d %b %Y %H:%M")|"a" "b" 'c'|'\\'\\"\\\\ \\x41\\u4f60\\101\\q'|1_000|0.5e3|1e3|1.|.5|0x10|'unclosed|(1, 2|{'a' 1}|[1 2]|a b|1 +|if|s.|xs[|xs[1:2:3:4]|
(xs | select('odd')) | length|(xs | map('abs'))[0]|xs | map('nope') | list|xs | map(attribute='a') | list|xs[true]|xs[1.0]|d[1]|d[[1]]|{[1]: 2}|{'a': 1}.a|{'a': {'b': 2}}['a'].b
(s, n)|s, n|[s, [n, (f,)]]|d.a.0|d.a[1]|d['key with space'].x|'é' < 'z'|'a' * -1|'a' * 0|[0] * 3|none + 1|none | string|true | string|3 | string ~ 4|9007199254740993|9223372036854775807
people[0].name|people[2].age|people[2].age | default(9)|people | map(attribute='name') | map('upper') | join|people | map(attribute='name') | sort | join(', ')|'a' == 'a' == 'a'|xs | sort == [1, 2, 3]
s is string and n is number|not s is string|s is not string|n is not none and n > 3|n in xs or s in [s]|(n in xs) ~ ''|[n in xs, n not in xs]|n if n is defined else 'x'|loop is defined|messages is defined
"""

STATEMENTS = [
    "a\n{% if t %}\nb\n{% endif %}\nc\n",
    "a\n  {% if t %}  \n  b\n  {% endif %}  x\nc",
    "a  {%- if t -%}  b  {%- endif -%}  c",
    "a  {%+ if t %}\nb\n {%+ endif +%}\nc",
    "x {{- ' y ' -}} z\n{{ n }}\n\n",
    "  {{ n }}\n  {# c #}\n  {#- d -#}\n  e {# f #} g\n",
    "{# a\nb #}\n\nx{#+ y +#}\nz",
    "{% raw %}{{ x }} {% if %}{% endraw %}|",
    "  {%- raw -%}  {{ x }}  {%- endraw -%}  |",
    "{% raw %}\n a {% endraw %}\n b",
    "\n\n{{ n }}\n",
    "\r\na\r\n{% if t %}\r\nb{% endif %}\r\n",
    "{% for x in xs %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}",
    "{% for x in xs %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {{ loop.cycle('a', 'b') }}{{ loop.depth }}{% endfor %}",
    "{% for x in xs if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% else %}none{% endfor %}",
    "{% for x in empty %}x{% else %}none {{ n }}{% endfor %}",
    "{% for x in nothing %}x{% else %}none{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k in d %}{{ k }};{% endfor %}{% for c in u %}{{ c }}.{% endfor %}",
    "{% for a, b in [(1, 2), [3, 4]] %}{{ a + b }} {% endfor %}",
    "{% for a, b in [1] %}{% endfor %}",
    "{% for a, b in [(1, 2, 3)] %}{% endfor %}",
    "{% for x in n %}{% endfor %}",
    "{% for x in nil %}{% endfor %}",
    "{% for x in xs %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% if x == 2 %}{% break %}{% endif %}{% endfor %}",
    "{% for x in range(9) %}{% for y in range(x) %}{% if y > 2 %}{% break %}{% endif %}{{ x }}{{ y }}{{ loop.index }} {% endfor %}{{ loop.index }}|{% endfor %}",
    "{% for x in xs %}{{ loop.changed(x > 1) }} {% endfor %}",
    "{% set x = 1 %}{% for i in xs %}{{ x }}{% set x = i %}{{ x }}{% endfor %}{{ x }}",
    "{% set x = 1 %}{% if t %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% for i in [1, 2] %}{% if i == 1 %}{% set y = 5 %}{% endif %}[{{ y }}]{% endfor %}",
    "{% set ns = namespace(a=0, found=false) %}{% for i in xs %}{% set ns.a = ns.a + i %}{% endfor %}{{ ns.a }}{{ ns.found }}",
    "{% set d.x = 1 %}",
    "{% set nope.x = 1 %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, d2) = (3, 4) %}{{ c }}{{ d2 }}",
    "{% set a = 1, 2 %}{{ a }}",
    "{% set a %}x {{ n }} y{% endset %}[{{ a }}]{{ a is string }}",
    "{% set a | upper %}x{{ s }}{% endset %}{{ a }}",
    "{% set a | trim | replace('x', 'z') %} x {% endset %}{{ a }}",
    "{% set ns = namespace() %}{% set ns.v %}blk{% endset %}{{ ns.v }}",
    "{% macro m(a, b=2, c='x') %}{{ a }}-{{ b }}-{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, c=3) }} {{ m(b=1, a=2) }} {{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}",
    "{% macro m(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m(a) %}{{ a.b }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{{ later }}{% endmacro %}{% set later = 5 %}{{ m() }}",
    "{% macro f(k) %}{{ k if k < 2 else k * (f(k - 1) | int) }}{% endmacro %}{{ f(5) }}",
    "{% macro wrap() %}<{{ caller() }}>{% endmacro %}{% call wrap() %}in {{ n }}{% endcall %}",
    "{% macro each(xs) %}{% for x in xs %}{{ caller(x) }},{% endfor %}{% endmacro %}{% call(v) each(xs) %}{{ v * 2 }}{% endcall %}",
    "{% macro m() %}{% set hidden = 1 %}{{ s }}{% endmacro %}{{ m() }}{{ hidden }}",
    "{% macro m() %} a {%- endmacro %}[{{ m() | trim }}]",
    "{% for x in xs %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% with a = 1, b = n %}{{ a }}{{ b }}{% set s = 2 %}{{ s }}{% endwith %}{{ a }}{{ s }}",
    "{% filter upper %}abc {{ s }}{% endfilter %}",
    "{% filter trim | replace('a', 'b') %}  aa {% endfilter %}|",
    "{% generation %}gen {{ n }}{% set z = 1 %}{% endgeneration %}{{ z }}",
    "{% if n > 10 %}a{% elif n > 5 %}b{% else %}c{% endif %}",
    "{% if nothing %}a{% elif nothing.x is defined %}b{% endif %}",
    "{% if xs and d and not empty %}y{% endif %}{% if xs | select('gt', 9) %}generators are true{% endif %}",
    "{% if t %}{{ x | nofilter }}{% endif %}",
    "{% if no %}{{ x | nofilter }}{% endif %}ok",
    "{{ x | nofilter }}",
    "{% nope %}",
    "{% if t %}",
    "{% endif %}",
    "{% for x in xs %}",
    "{{ n",
    "{% if t }}",
    "{# never closed",
    "{% set true = 1 %}",
    "{% include 'x' %}",
    "{{ {'a': {'b': 1}}.a.b }}{{ {} }}{{ {'}}': 1} }}",
    "{{ '}}' }}{{ \"%}\" }}{% if '%}' %}x{% endif %}",
    "{{}}",
    "{{ n }}{{ n }}\n{{ n }}\n",
    "%} }} #} { {n}",
    "{%if t%}x{%endif%}{{n}}",
    "{% for x in xs -%}\n  {{ x }}\n{%- endfor %}\n\nend\n",
    "   {% set a = 1 %}\n   {% set b = 2 %}\n{{ a }}{{ b }}",
    "{{ d | tojson(indent=4) }}\n{% for x in [] %}{% endfor %}",
    "{% for x in xs | sort | reverse %}{{ x }}{% endfor %}",
    "{% set m = people | map(attribute='name') %}{{ m | list }}{{ m | list }}",
    "{% for x in (1, 2) %}{{ x }}{% endfor %}{% for x in 1, 2 %}{{ x }}{% endfor %}",
    "{{ 1 if t else 2, 3 }}",
    "line\n{{ n }}\n{{ nothing.attr }}",
    # A name assigned later in the same block hides the context's from blocks within.
    "{% for x in xs %}{{ n }}{% endfor %}{% set n = 1 %}{{ n }}",
    "{{ n }}{% for x in xs %}{{ n }}{% endfor %}{% set n = 1 %}",
    "{% for x in xs %}{{ n }}{% endfor %}{% if t %}{% set n = 1 %}{% endif %}{{ n }}",
    "{% macro m() %}{{ n }}{% endmacro %}{{ m() }}{% set n = 1 %}{{ m() }}",
    "{% for x in xs %}{% for y in xs %}{{ n }}{% endfor %}{% set n = x %}{{ n }}{% endfor %}{{ n }}",
    "{% set n = n + 1 %}{% for x in xs %}{{ n }}{% endfor %}",
    "{% for x in xs %}{{ ns }}{% endfor %}{% set ns = namespace(a=1) %}{% set ns.a = 2 %}{{ ns.a }}",
    "{% set z %}{{ n }}{% set n = 3 %}{% endset %}{{ z }}{{ n }}",
    "{% with n = n %}{{ n }}{% set s = n %}{% endwith %}{{ s }}",
]


def fixed():
    for line in EXPRESSIONS.strip("\n").split("\n"):
        # A pipe between spaces is a filter; others part the expressions.
        for part in line.replace(" | ", "\0").split("|"):
            yield "{{ " + part.replace("\0", " | ") + " }}"
    yield from STATEMENTS


ATOMS = (
    "n neg f s u pad q t no nil xs mixed empty d people nothing d.b d.missing xs[0] xs[-1] s[1:] people[0] "
    "people[0].name 0 1 2 -1 2.5 'a' '' ' l ' 'Hello' none true false [1,'a'] (1,) {'k':1} range(3) d.a"
).split(" ")
ATOMS = [a for a in ATOMS if a.count("'") % 2 == 0] + ["' l '"]
BINARY = ["+", "-", "*", "/", "//", "%", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in", "and", "or"]
FILTERS = (
    "upper lower title capitalize trim length string list first last sort reverse|list join join('-') tojson abs int "
    "float round default('D') default('D',true) unique|list sum min max tojson(indent=1) replace('l','L') "
    "map('string')|list select|list reject('none')|list select('string')|list items|list dictsort batch(2)|list "
    "map(attribute='name')|list selectattr('name')|list indent(2) wordcount sort(reverse=true)"
).split()
TESTS = "defined undefined none string number integer float boolean mapping sequence iterable true false odd even".split()
METHODS = (
    "upper() lower() strip() lstrip() rstrip() split() split('l') title() capitalize() replace('l','') startswith('H') "
    "endswith('d') isdigit() isupper() items()|list keys()|list get('b') get('z','y') join(['a','b']) splitlines() find('o')"
).split()


def expression(rng, depth):
    if depth == 0:
        return rng.choice(ATOMS)
    roll = rng.random()
    inner = expression(rng, depth - 1)
    if roll < 0.35:
        return f"{inner} {rng.choice(BINARY)} {expression(rng, depth - 1)}"
    if roll < 0.55:
        return f"({inner})|{rng.choice(FILTERS)}"
    if roll < 0.65:
        return f"({inner}) is {rng.choice(['', 'not '])}{rng.choice(TESTS)}"
    if roll < 0.75:
        return f"({inner}).{rng.choice(METHODS)}"
    if roll < 0.8:
        return f"({inner})[{rng.choice(['0', '-1', '1:', '::-1', ':2', rng.choice(ATOMS)])}]"
    if roll < 0.85:
        return f"not {inner}"
    if roll < 0.9:
        return f"[{inner}, {expression(rng, depth - 1)}]"
    if roll < 0.95:
        return f"({inner} if {expression(rng, depth - 1)} else {expression(rng, depth - 1)})"
    return f"-{inner}"


def tag(rng, inside):
    return "{%" + rng.choice(["", "", "-", "+"]) + f" {inside} " + rng.choice(["", "", "-", "+"]) + "%}"


def body(rng, depth):
    out = ""
    for _ in range(rng.randrange(1, 4)):
        out += "".join(rng.choices([" ", "\n", "a", "b", "  ", "\t", "\r\n"], k=rng.randrange(0, 5)))
        roll = rng.random()
        if depth == 0 or roll < 0.4:
            out += "{{" + rng.choice(["", "-"]) + f" {expression(rng, rng.randrange(0, 2))} " + rng.choice(["", "-"]) + "}}"
        elif roll < 0.6:
            out += tag(rng, f"if {expression(rng, 1)}") + body(rng, depth - 1)
            if rng.random() < 0.5:
                out += tag(rng, "else") + body(rng, depth - 1)
            out += tag(rng, "endif")
        elif roll < 0.8:
            out += tag(rng, f"for s in {rng.choice(['xs', 'people', 'd', 'range(2)', 'empty', 's'])}") + body(rng, depth - 1)
            out += rng.choice(["", "{{ loop.index }}", tag(rng, "else") + "E"]) + tag(rng, "endfor")
        elif roll < 0.9:
            out += tag(rng, f"set {rng.choice(['n', 's', 'z'])} = {expression(rng, 1)}")
        elif roll < 0.95:
            out += "{#" + rng.choice(["", "-", "+"]) + " c " + rng.choice(["", "-", "+"]) + "#}"
        else:
            out += tag(rng, "set z") + body(rng, depth - 1) + tag(rng, "endset")
    return out
