// The view for whoever runs the server: what happens now (from /metrics) and in the last hours
// (from /history).
import {by_id, el} from './dom.js';
import {Reading, quantile, rate, share} from './prometheus.js';
import {get_json, get_text} from './stream.js';
import {t} from './words.js';

const POLL_MS = 2000;
const WINDOW_MS = 60_000;  // rates and percentiles are of the last minute
const HISTORY_MS = 10_000;

const percent = (value) => (value === null ? '–' : `${(100 * value).toFixed(1)} %`);
const count = (value) => (value === null ? '–' : Math.round(value).toLocaleString());
const duration = (s) =>
  (s === null ? '–' : s < 1 ? `${(1000 * s).toPrecision(3)} ms` : `${s.toFixed(2)} s`);

const CHARTS = [
  {name: 'generation_rate', lines: [['generation_rate', 'generation_tokens_per_s'],
    ['prompt_rate', 'prompt_tokens_per_s']], say: count},
  {name: 'running', lines: [['running', 'running'], ['waiting_count', 'waiting']], say: count},
  {name: 'ttft', lines: [['p50', 'ttft_p50_s'], ['p99', 'ttft_p99_s']], say: duration},
  {name: 'itl', lines: [['p50', 'itl_p50_s'], ['p99', 'itl_p99_s']], say: duration},
  {name: 'kv_used', lines: [['kv_used', 'kv_used'], ['prefix_hits', 'prefix_hits'],
    ['accepted', 'drafts_accepted']], say: percent, max: 1},
  {name: 'refused', lines: [['refused', 'refused']], say: count},
];

export class Operate {
  constructor(options) {
    this.options = options;
    this.readings = [];
    this.history = null;  // columns
    this.charts = null;
    this.open = false;
    document.addEventListener('visibilitychange', () => this.run());
  }

  set_open(open) {
    this.open = open;
    this.run();
  }

  // Looks while somebody looks.
  run() {
    clearInterval(this.poller);
    clearInterval(this.recorder);
    if (!this.open || document.hidden) return;
    this.poller = setInterval(() => this.poll(), POLL_MS);
    this.recorder = setInterval(() => this.record(), HISTORY_MS);
    this.poll();
    this.record();
  }

  redraw() {
    for (const chart of this.charts ?? []) chart.destroy();
    this.charts = null;
    by_id('charts').replaceChildren();
    if (!this.open) return;
    this.show();
    this.show_history();
  }

  async poll() {
    try {
      const reading = new Reading(await get_text('/metrics'), performance.now());
      this.readings.push(reading);
      while (this.readings.length > 2 && this.readings[1].at_ms < reading.at_ms - WINDOW_MS)
        this.readings.shift();
      by_id('stale').hidden = true;
      this.show();
    } catch {
      const last = this.readings.at(-1);
      by_id('stale').hidden = false;
      by_id('stale').textContent =
        t('stale', {seconds: last ? Math.round((performance.now() - last.at_ms) / 1000) : '∞'});
    }
  }

  show() {
    const now = this.readings.at(-1);
    if (!now) return;
    const before = this.readings[0];
    const between = (name, q) => quantile(before, now, name, q);
    const two = (name) => `${duration(between(name, 0.5))} / ${duration(between(name, 0.99))}`;
    const refused = now.all('galley_admission_total')
      .filter((one) => one.labels.outcome.startsWith('refused_'))
      .reduce((sum, one) => sum + one.value, 0);
    const tiles = [
      ['running', count(now.sum('vllm:num_requests_running'))],
      ['waiting_count', count(now.sum('vllm:num_requests_waiting'))],
      ['kv_used', percent(now.sum('vllm:kv_cache_usage_perc'))],
      ['generation_rate', count(rate(before, now, 'vllm:generation_tokens_total'))],
      ['prompt_rate', count(rate(before, now, 'vllm:prompt_tokens_total'))],
      ['ttft', two('vllm:time_to_first_token_seconds')],
      ['itl', two('vllm:inter_token_latency_seconds')],
      ['accepted', percent(share(before, now, 'vllm:spec_decode_num_accepted_tokens_total',
        'vllm:spec_decode_num_draft_tokens_total'))],
      ['prefix_hits', percent(share(before, now, 'vllm:prefix_cache_hits_total',
        'vllm:prefix_cache_queries_total'))],
      ['refused', count(refused)],
    ];
    const ago = new Set(['generation_rate', 'prompt_rate', 'ttft', 'itl', 'accepted', 'prefix_hits']);
    by_id('tiles').replaceChildren(...tiles.map(([name, value]) => el('div', {'data-tile': name},
      el('dt', {}, t(name)), el('dd', {}, value),
      ago.has(name) ? el('dd', {class: 'quiet'}, t('last_minute')) : null)));
    this.show_tiers(now);
    this.show_refusals(now);
    this.show_upstreams(now);
    by_id('answers').replaceChildren(table(['path', 'status', 'count'],
      now.all('galley_http_requests_total').map(({labels, value}) =>
        [labels.route, labels.code, count(value)])));
  }

  show_tiers(now) {
    const tiers = new Map();
    const of = (tier) => {
      if (!tiers.has(tier)) tiers.set(tier, {});
      return tiers.get(tier);
    };
    for (const {labels, value} of now.all('galley_queue_requests')) of(labels.tier).waiting = value;
    for (const {labels, value} of now.all('galley_admission_total'))
      of(labels.tier)[labels.outcome] = value;
    for (const {labels, value} of now.all('galley_queue_wait_seconds_sum')) of(labels.tier).sum = value;
    for (const {labels, value} of now.all('galley_queue_wait_seconds_count')) of(labels.tier).n = value;
    by_id('tiers').replaceChildren(table(
      ['tier', 'waiting_count', 'started', 'queued', 'mean_wait', 'overdue', 'left'],
      [...tiers].map(([tier, one]) => [tier, count(one.waiting ?? 0), count(one.started ?? 0),
        count(one.queued ?? 0), duration(one.n > 0 ? one.sum / one.n : null),
        count(one.overdue ?? 0), count(one.left ?? 0)])));
  }

  show_refusals(now) {
    const rows = now.all('galley_admission_total')
      .filter(({labels}) => labels.outcome.startsWith('refused_'))
      .map(({labels, value}) => [labels.outcome.slice('refused_'.length), labels.tier, count(value)]);
    by_id('refusals').replaceChildren(table(['reason', 'tier', 'count'], rows));
  }

  // Whatever the server says of upstreams and breakers.
  show_upstreams(now) {
    const names = [...now.names('galley_upstream'), ...now.names('galley_breaker')]
      .filter((name) => !name.endsWith('_bucket'));
    if (names.length === 0)
      return by_id('upstreams').replaceChildren(el('p', {class: 'quiet'}, t('one_engine')));
    by_id('upstreams').replaceChildren(table(['name', 'value'], names.flatMap((name) =>
      now.all(name).map(({labels, value}) =>
        [[name.replace(/^galley_/, ''), ...Object.values(labels)].join(' · '), String(value)]))));
  }

  async record() {
    try {
      const after = this.history?.time_s.at(-1) ?? 0;
      const fresh = await get_json(`/history?after_s=${after}`);
      if (this.history) {
        for (const [name, column] of Object.entries(fresh))
          if (Array.isArray(column)) this.history[name].push(...column);
      } else {
        this.history = fresh;
      }
    } catch {
      return;  // poll() says that the server does not answer.
    }
    await this.show_history();
  }

  async show_history() {
    if (!this.history) return;
    if (!globalThis.Chart) await import('/ui/lib/chart.js');
    if (!this.charts) this.charts = CHARTS.map((one) => this.make_chart(one));
    const times = this.history.time_s.map((s) => s * 1000);
    const hours = Math.max(1, Math.round((times.at(-1) - times[0]) / 3_600_000));
    CHARTS.forEach(({name, lines, say}, i) => {
      const chart = this.charts[i];
      lines.forEach(([, column], line) => {
        chart.data.datasets[line].data = times.map((x, at) => ({x, y: this.history[column][at]}));
      });
      chart.update('none');
      const values = this.history[lines[0][1]].filter((value) => value !== null);
      chart.canvas.setAttribute('aria-label', t('chart_summary', {name: t(name), hours,
        now: say(values.at(-1) ?? null), max: say(values.length ? Math.max(...values) : null)}));
    });
  }

  make_chart({name, lines, say, max}) {
    const style = getComputedStyle(document.documentElement);
    const colour = (which) => style.getPropertyValue(which).trim();
    const colours = [colour('--accent'), colour('--second'), colour('--third')];
    const canvas = el('canvas', {role: 'img'});
    by_id('charts').append(el('figure', {}, el('figcaption', {}, t(name)),
      el('div', {class: 'canvas'}, canvas)));
    const hour = (ms) => new Date(ms).toLocaleTimeString([], {hour: '2-digit', minute: '2-digit'});
    const grid = {color: colour('--line')};
    const ticks = {color: colour('--quiet'), maxTicksLimit: 5};
    return new globalThis.Chart(canvas, {
      type: 'line',
      data: {datasets: lines.map(([label], i) => ({label: /^p\d/.test(label) ? label : t(label),
        data: [], borderColor: colours[i], backgroundColor: colours[i], borderWidth: 1.5,
        pointRadius: 0, pointHitRadius: 8, spanGaps: 30_000}))},
      options: {
        animation: false, parsing: false, normalized: true, maintainAspectRatio: false,
        interaction: {mode: 'nearest', axis: 'x', intersect: false},
        scales: {x: {type: 'linear', grid, ticks: {...ticks, callback: hour}},
          y: {beginAtZero: true, max, grid, ticks: {...ticks, callback: (value) => say(value)}}},
        plugins: {
          legend: {display: lines.length > 1, labels: {color: colour('--text'), boxWidth: 12}},
          tooltip: {callbacks: {title: (items) => hour(items[0].parsed.x),
            label: (item) => `${item.dataset.label}: ${say(item.parsed.y)}`}},
        },
      },
    });
  }
}

function table(columns, rows) {
  if (rows.length === 0) return el('p', {class: 'quiet'}, t('none'));
  return el('table', {},
    el('thead', {}, el('tr', {}, ...columns.map((name) => el('th', {scope: 'col'}, t(name))))),
    el('tbody', {}, ...rows.map((row) => el('tr', {}, ...row.map((cell) => el('td', {}, cell))))));
}
