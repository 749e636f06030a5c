"""Scratchpads: how the demo model works a problem out, one small step a line.

Each function returns (lines, value). A line holds one fact a small model can produce in one step: two digits and a
carry, one term of a column, one comparison. Signs: `→` what is written so far, `↑` the carry, `↓` the borrow.
"""

from __future__ import annotations


def add(a: int, b: int) -> tuple[list[str], int]:
    """Column addition of two non-negative numbers, from the right."""
    total = a + b
    if a < 10 and b < 10:
        return [f"{a}+{b}={total}"], total
    x, y = str(a)[::-1], str(b)[::-1]
    lines, carry, written = [], 0, ""
    width = max(len(x), len(y))
    for k in range(width):
        p = int(x[k]) if k < len(x) else 0
        q = int(y[k]) if k < len(y) else 0
        s = p + q + carry
        term = f"{p}+{q}" + ("+1" if carry else "") + f"={s}"
        carry = s // 10
        if k + 1 < width:
            written = str(s % 10) + written
            lines.append(f"{term} →{written}" + (" ↑1" if carry else ""))
        else:
            written = str(s) + written
            lines.append(f"{term} →{written}")
    return lines, total


def subtract(a: int, b: int) -> tuple[list[str], int]:
    """a - b for non-negative numbers; a negative result is the turned-round difference."""
    if a < b:
        lines, d = subtract(b, a)
        return [f"{a}<{b}, {a}-{b}=-({b}-{a})"] + lines + [f"-{d}"], -d
    if a < 10:
        return [f"{a}-{b}={a - b}"], a - b
    x, y = str(a)[::-1], str(b)[::-1]
    lines, borrow, written = [], 0, ""
    for k in range(len(x)):
        p = int(x[k])
        q = int(y[k]) if k < len(y) else 0
        tail = ("-1" if borrow else "") + f"-{q}"
        d = p - borrow - q
        line = f"{p}{tail}"
        borrow = 1 if d < 0 else 0
        if borrow:
            d += 10
            line += f"<0, 1{p}{tail}"
        written = str(d) + written
        lines.append(f"{line}={d} →{written}" + (" ↓1" if borrow else ""))
    if written != str(a - b):
        lines.append(f"{a - b}")
    return lines, a - b


def multiply(a: int, b: int) -> tuple[list[str], int]:
    """Product of two non-negative numbers, column by column (all pairs of digits whose places add up to k)."""
    if a < 10 and b < 10:
        return [f"{a}×{b}={a * b}"], a * b
    if a in (0, 1) or b in (0, 1):
        return [f"{a}×{b}={a * b}"], a * b
    x, y = str(a)[::-1], str(b)[::-1]
    lines = [
        " ".join(f"a{i}={d}" for i, d in enumerate(x)),
        " ".join(f"b{i}={d}" for i, d in enumerate(y)),
    ]
    carry, written = 0, ""
    last = len(x) + len(y) - 2
    for k in range(last + 1):
        total, parts = carry, []
        for i in range(max(0, k - len(y) + 1), min(k, len(x) - 1) + 1):
            p = int(x[i]) * int(y[k - i])
            total += p
            parts.append(f"a{i}b{k - i} {x[i]}×{y[k - i]}={p} {total}")
        head = f"{carry}; " if k else ""
        body = head + "; ".join(parts)
        if k < last:
            carry = total // 10
            written = str(total % 10) + written
            lines.append(f"{body} →{written} ↑{carry}")
        else:
            written = str(total) + written
            lines.append(f"{body} →{written}")
    return lines, a * b


def divide(a: int, b: int) -> tuple[list[str], tuple[int, int]]:
    """Long division with remainder, b > 0: the nine multiples first, then one quotient digit a line."""
    if a < b:
        return [f"{a}<{b} →0 r{a}"], (0, a)
    if b == 1:
        return [f"{a}÷1={a}"], (a, 0)
    lines = []
    if b >= 10:
        lines.append(" ".join(f"{k}×{b}={k * b}" for k in range(1, 4)))
        lines.append(" ".join(f"{k}×{b}={k * b}" for k in range(4, 7)))
        lines.append(" ".join(f"{k}×{b}={k * b}" for k in range(7, 10)))
    digits, n = str(a), len(str(b))
    current, rest, written = int(digits[:n]), digits[n:], ""
    while True:
        k = current // b
        written += str(k)
        if k:
            lines.append(f"{current}|{rest}: {k}×{b}={k * b} {current}-{k * b}={current - k * b} →{written}")
        else:
            lines.append(f"{current}|{rest}: {current}<{b} →{written}")
        current -= k * b
        if not rest:
            break
        current, rest = current * 10 + int(rest[0]), rest[1:]
    q = a // b
    lines.append(f"{q} r{current}" if current else f"{q}")
    return lines, (q, current)


def signed(op: str, a: int, b: int) -> tuple[list[str], int]:
    """a op b for any signs, by turning it into one of the above."""
    if op == "-" and a >= 0 and b >= 0:
        return subtract(a, b)
    if op == "+" and a >= 0 and b >= 0:
        return add(a, b)
    if op == "*":
        lines, p = multiply(abs(a), abs(b))
        if a >= 0 and b >= 0:
            return lines, p
        value = a * b
        sign = "-" if value < 0 else ""
        return [f"{abs(a)}×{abs(b)}, {'-' if (a < 0) != (b < 0) else '+'}"] + lines + [f"{sign}{p}"], value
    # Addition of b and subtraction of -b are one case.
    b_effective = b if op == "+" else -b
    if a < 0 and b_effective < 0:
        lines, s = add(-a, -b_effective)
        return [f"-({-a}+{-b_effective})"] + lines + [f"-{s}"], -s
    if a < 0:
        lines, d = subtract(b_effective, -a)
        return [f"{b_effective}-{-a}"] + lines, d
    if b_effective < 0:
        lines, d = subtract(a, -b_effective)
        return [f"{a}-{-b_effective}"] + lines, d
    lines, s = add(a, b_effective)
    return [f"{a}+{b_effective}"] + lines, s


def count_letter(word: str, letter: str) -> tuple[list[str], int]:
    """Spells the word with places, and numbers each hit."""
    hits, parts = 0, []
    for i, c in enumerate(word.lower(), 1):
        if c == letter.lower():
            hits += 1
            parts.append(f"{i}{c}({hits})")
        else:
            parts.append(f"{i}{c}")
    return [" ".join(parts)], hits


def spell(word: str) -> list[str]:
    return [" ".join(f"{i}{c}" for i, c in enumerate(word.lower(), 1))]


def sort_numbers(values: list[int], descending: bool) -> tuple[list[str], list[int]]:
    """Selection sort: take the smallest (or largest) out, write down what is left."""
    left, out, lines = list(values), [], []
    name = "max" if descending else "min"
    while len(left) > 1:
        m = max(left) if descending else min(left)
        lines.append(" ".join(map(str, left)) + f": {name} {m}")
        left.remove(m)
        out.append(m)
    lines.append(str(left[0]))
    return lines, out + left


def compare(a: str, b: str) -> tuple[list[str], str]:
    """Which of two non-negative decimals is larger ('=' when neither)."""
    ia, _, fa = a.partition(".")
    ib, _, fb = b.partition(".")
    width = max(len(fa), len(fb))
    fa, fb = fa.ljust(width, "0"), fb.ljust(width, "0")
    pa, pb = (f"{ia}.{fa}", f"{ib}.{fb}") if width else (ia, ib)
    lines = [] if (pa, pb) == (a, b) else [f"{a}={pa}" if pa != a else f"{b}={pb}"]
    if ia != ib:
        lines.append(f"{ia}{'>' if int(ia) > int(ib) else '<'}{ib}")
        return lines, ">" if int(ia) > int(ib) else "<"
    if fa != fb:
        sign = ">" if fa > fb else "<"
        lines.append(f"{ia}={ib}, {fa}{sign}{fb}")
        return lines, sign
    lines.append(f"{pa}={pb}")
    return lines, "="


def expression(tokens: list) -> tuple[list[str], int]:
    """`a op b op c` (numbers and + - * as a flat list, or one bracketed pair as a nested list), products first."""
    lines: list[str] = []

    def show(parts: list) -> str:
        return "".join(f"({show(p)})" if isinstance(p, list) else str(p).replace("*", "×") for p in parts)

    def step(i: int, parts: list) -> list:
        x, op, y = parts[i - 1], parts[i], parts[i + 1]
        work, value = signed(op, x, y)
        lines.append(f"{show([x, op, y])}:")
        lines.extend(work)
        return parts[: i - 1] + [value] + parts[i + 2 :]

    parts = list(tokens)
    for i, p in enumerate(parts):
        if isinstance(p, list):
            inner = step(1, p)
            parts[i] = inner[0]
            lines.append(show(parts))
            break
    while len(parts) > 1:
        i = next((j for j in range(1, len(parts), 2) if parts[j] == "*"), 1)
        parts = step(i, parts)
        if len(parts) > 1:
            lines.append(show(parts))
    return lines, parts[0]
