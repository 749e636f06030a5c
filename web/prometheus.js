// Prometheus' text format, as this server writes it, and figures from two readings of it.

// [{name, labels: {..}, value}]
export function parse_metrics(text) {
  const samples = [];
  for (const line of text.split('\n')) {
    if (line === '' || line[0] === '#') continue;
    const match = /^([\w:]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match) samples.push({name: match[1], labels: parse_labels(match[2] ?? ''), value: number(match[3])});
  }
  return samples;
}

function number(text) {
  return text === '+Inf' ? Infinity : Number(text);
}

function parse_labels(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
    labels[name] = value.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
  return labels;
}

// One reading, by name.
export class Reading {
  constructor(text, at_ms) {
    this.at_ms = at_ms;
    this.by_name = Map.groupBy ? Map.groupBy(parse_metrics(text), (one) => one.name)
      : group(parse_metrics(text));
  }

  all(name) {
    return this.by_name.get(name) ?? [];
  }

  // Of all label sets together.
  sum(name) {
    return this.all(name).reduce((sum, one) => sum + one.value, 0);
  }

  names(prefix) {
    return [...this.by_name.keys()].filter((name) => name.startsWith(prefix));
  }
}

function group(samples) {
  const groups = new Map();
  for (const one of samples) {
    if (!groups.has(one.name)) groups.set(one.name, []);
    groups.get(one.name).push(one);
  }
  return groups;
}

// Per second.
export function rate(before, now, name) {
  const seconds = (now.at_ms - before.at_ms) / 1000;
  return seconds > 0 ? (now.sum(name) - before.sum(name)) / seconds : null;
}

// Of what was counted between; null when nothing was.
export function share(before, now, part, whole) {
  const all = now.sum(whole) - before.sum(whole);
  return all > 0 ? (now.sum(part) - before.sum(part)) / all : null;
}

// The `q` quantile of what histogram `name` counted between, even within a bucket; null for nothing.
export function quantile(before, now, name, q) {
  const counts = new Map();
  const add = (reading, sign) => {
    for (const {labels, value} of reading.all(`${name}_bucket`)) {
      const bound = number(labels.le);
      counts.set(bound, (counts.get(bound) ?? 0) + sign * value);
    }
  };
  add(now, 1);
  add(before, -1);
  const bounds = [...counts.keys()].sort((a, b) => a - b);
  const total = counts.get(Infinity) ?? 0;
  if (total <= 0) return null;
  let low = 0;
  let below = 0;
  for (const bound of bounds) {
    const upto = counts.get(bound);
    if (upto >= q * total && upto > below) {
      if (bound === Infinity) return low;
      return low + (bound - low) * (q * total - below) / (upto - below);
    }
    low = bound;
    below = upto;
  }
  return low;
}
