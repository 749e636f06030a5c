// Markdown to elements. The library marked reads it; what it reads becomes elements one by one, so
// a model's answer can never be markup of its own: HTML in it is shown as text, links go to http,
// https and mailto only, and an image is a link, because loading it would tell its host something.
//
// Mathematics goes to KaTeX and code to highlight.js, which are loaded when first needed.
import {copy_button, el} from './dom.js';
import {t} from './words.js';

const MATH_MAX = 5000;         // characters of a formula
const HIGHLIGHT_MAX = 50_000;  // characters of a code block
const DEPTH_MAX = 40;          // lists in quotes in lists

const ENTITIES = {amp: '&', lt: '<', gt: '>', quot: '"', apos: '\'', nbsp: '\u00a0', copy: '©',
  reg: '®', hellip: '…', mdash: '—', ndash: '–', times: '×', divide: '÷', deg: '°', plusmn: '±',
  le: '≤', ge: '≥', ne: '≠', larr: '←', rarr: '→', middot: '·', bull: '•', euro: '€', pound: '£',
  yen: '¥', sect: '§', para: '¶', laquo: '«', raquo: '»', ldquo: '“', rdquo: '”', lsquo: '‘',
  rsquo: '’', alpha: 'α', beta: 'β', gamma: 'γ', delta: 'δ', pi: 'π', sigma: 'σ', infin: '∞'};

// Character references, in text that marked leaves as it was written.
export function decode(text) {
  return text.replace(/&(#x?)?([0-9a-zA-Z]{1,10});/g, (all, numeric, name) => {
    if (!numeric) return Object.hasOwn(ENTITIES, name) ? ENTITIES[name] : all;
    const code = numeric === '#' ? parseInt(name, 10) : parseInt(name, 16);
    const valid = code > 0 && code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
    return valid ? String.fromCodePoint(code) : all;
  });
}

// The address if it may be gone to, else null.
export function safe_url(text) {
  try {
    const url = new URL(text);
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;  // A relative address means nothing in an answer.
  }
}

// --- Mathematics ---

const math_block = {
  name: 'math_block',
  level: 'block',
  start: (text) => text.match(/\$\$|\\\[/)?.index,
  tokenizer(text) {
    const match = /^(?:\$\$([\s\S]+?)\$\$|\\\[([\s\S]+?)\\\])[ \t]*(?:\n|$)/.exec(text);
    if (match) return {type: 'math', raw: match[0], text: match[1] ?? match[2], display: true};
  },
};
const math_inline = {
  name: 'math_inline',
  level: 'inline',
  start: (text) => text.match(/\$|\\[([]/)?.index,
  tokenizer(text) {
    const display = /^(?:\$\$([^$]+?)\$\$|\\\[([\s\S]+?)\\\])/.exec(text);
    if (display)
      return {type: 'math', raw: display[0], text: display[1] ?? display[2], display: true};
    // A price is no formula: no space inside the dollars, no digit behind them.
    const match = /^(?:\$(?![\s$])((?:\\.|[^\\$\n])*?[^\s\\$]|[^\s\\$])\$(?!\d)|\\\(([\s\S]+?)\\\))/
      .exec(text);
    if (match) return {type: 'math', raw: match[0], text: match[1] ?? match[2], display: false};
  },
};

let reader = null;
function lex(text) {
  if (reader === null) {
    globalThis.marked.use({extensions: [math_block, math_inline]});
    reader = globalThis.marked.lexer;
  }
  return reader(text, {gfm: true, breaks: false, ...globalThis.marked.defaults});
}

// Libraries by need: each sets a global of its name.
const loaded = new Map();
function library(name) {
  if (!loaded.has(name)) loaded.set(name, import(`/ui/lib/${name}.js`));
  return loaded.get(name);
}

// Definitions are refused: they are how a formula grows without end.
const DEFINES = /\\(?:[egx]?def|let|futurelet|(?:re)?newcommand|providecommand|global|long)(?![a-zA-Z])/;

function math(token) {
  const node = el(token.display ? 'div' : 'span', {class: 'math'}, token.raw.trim());
  if (token.text.length > MATH_MAX || DEFINES.test(token.text)) return node;
  library('katex').then(() => {
    const made = document.createElement('span');
    globalThis.katex.render(token.text, made, {displayMode: token.display, throwOnError: true,
      trust: false, strict: 'ignore', maxSize: 20, maxExpand: 500, macros: {}});
    node.replaceChildren(made);
  }).catch(() => node.classList.add('unreadable'));
  return node;
}

// --- Code ---

const ESCAPED = {'&amp;': '&', '&lt;': '<', '&gt;': '>', '&quot;': '"', '&#x27;': '\'',
  '&#39;': '\''};

function unescape(text) {
  return text.replace(/&(?:amp|lt|gt|quot|#x27|#39);/g, (all) => ESCAPED[all]);
}

// highlight.js writes spans with classes and escaped text, nothing else; anything else is text.
function spans(html) {
  const root = document.createDocumentFragment();
  const open = [root];
  const parts = html.split(/(<span class="[\w\s-]*">|<\/span>)/);
  for (const part of parts) {
    const start = /^<span class="([\w\s-]*)">$/.exec(part);
    if (start) {
      const span = el('span', {class: start[1]});
      open.at(-1).append(span);
      open.push(span);
    } else if (part === '</span>') {
      if (open.length > 1) open.pop();
    } else {
      open.at(-1).append(unescape(part));
    }
  }
  return root;
}

function code_block(token) {
  const text = token.text;
  const language = (token.lang ?? '').trim().split(/\s+/)[0].slice(0, 40);
  const code = el('code', {}, text);
  if (language && text.length <= HIGHLIGHT_MAX) {
    library('highlight').then(() => {
      if (!globalThis.hljs.getLanguage(language)) return;
      code.replaceChildren(spans(globalThis.hljs.highlight(language, text, true).value));
    }).catch(() => {});
  }
  return el('figure', {class: 'code'},
    el('figcaption', {}, el('span', {}, language), copy_button(t('copy_code'), t('copied'),
      () => text)),
    el('pre', {tabindex: '0'}, code));
}

// --- Everything else ---

function inline(tokens, depth) {
  const out = document.createDocumentFragment();
  for (const token of tokens ?? []) out.append(inline_one(token, depth + 1));
  return out;
}

function inline_one(token, depth) {
  if (depth > DEPTH_MAX) return token.raw;
  switch (token.type) {
    case 'strong': return el('strong', {}, inline(token.tokens, depth));
    case 'em': return el('em', {}, inline(token.tokens, depth));
    case 'del': return el('del', {}, inline(token.tokens, depth));
    case 'codespan': return el('code', {}, unescape(token.text));
    case 'br': return el('br');
    case 'escape': return unescape(token.text);
    case 'math': return math(token);
    case 'link': return link(token.href, inline(token.tokens, depth));
    case 'image': {
      const alt = unescape(token.text ?? '');
      return link(token.href, alt ? t('image', {alt}) : t('image_unnamed'));
    }
    case 'html': return /^<br\s*\/?>$/i.test(token.raw) ? el('br') : token.raw;
    case 'text': return token.tokens ? inline(token.tokens, depth) : decode(token.raw);
    default: return token.raw;
  }
}

function link(href, content) {
  const url = safe_url(decode(href ?? ''));
  if (url === null) return el('span', {}, content);
  return el('a', {href: url, title: url, target: '_blank', rel: 'noopener noreferrer nofollow'},
    content);
}

function table(token, depth) {
  const cell = (tag, content, i) => el(tag, {class: token.align[i] && `to-${token.align[i]}`,
    scope: tag === 'th' ? 'col' : null}, inline(content.tokens, depth));
  return el('div', {class: 'scroll', tabindex: '0'}, el('table', {},
    el('thead', {}, el('tr', {}, ...token.header.map((one, i) => cell('th', one, i)))),
    el('tbody', {}, ...token.rows.map(
      (row) => el('tr', {}, ...row.map((one, i) => cell('td', one, i)))))));
}

function list(token, depth) {
  const start = token.ordered && token.start !== 1 ? String(Number(token.start) || 1) : null;
  return el(token.ordered ? 'ol' : 'ul', {start}, ...token.items.map((item) => {
    const box = item.task ? el('input', {type: 'checkbox', disabled: true,
      checked: item.checked === true}) : null;
    return el('li', {class: item.task ? 'task' : null}, box, blocks(item.tokens, depth));
  }));
}

function blocks(tokens, depth) {
  const out = document.createDocumentFragment();
  for (const token of tokens ?? []) out.append(block(token, depth + 1));
  return out;
}

function block(token, depth) {
  if (depth > DEPTH_MAX) return el('p', {}, token.raw);
  switch (token.type) {
    case 'space': case 'def': return '';
    case 'heading': return el(`h${Math.min(6, token.depth + 2)}`, {}, inline(token.tokens, depth));
    case 'paragraph': return el('p', {}, inline(token.tokens, depth));
    case 'text': return token.tokens ? inline(token.tokens, depth) : decode(token.raw);
    case 'code': return code_block(token);
    case 'blockquote': return el('blockquote', {}, blocks(token.tokens, depth));
    case 'list': return list(token, depth);
    case 'table': return table(token, depth);
    case 'hr': return el('hr');
    case 'math': return math(token);
    default: return el('p', {class: 'raw'}, token.raw);  // HTML too
  }
}

// Text that grows: update() renders anew only the blocks that have changed.
export class MarkdownView {
  constructor(root) {
    this.root = root;
    this.shown = [];  // {raw, node}
  }

  update(text) {
    let tokens;
    try {
      tokens = lex(text);
    } catch {  // Nested beyond the library's stack.
      tokens = [{type: 'unread', raw: text}];
    }
    tokens = tokens.filter((token) => token.type !== 'space' && token.type !== 'def');
    let same = 0;
    while (same < this.shown.length && same < tokens.length &&
           this.shown[same].raw === tokens[same].raw) same++;
    for (const {node} of this.shown.splice(same)) node.remove();
    for (const token of tokens.slice(same)) {
      const made = block(token, 0);
      const node = made instanceof Element ? made : el('p', {}, made);
      this.root.append(node);
      this.shown.push({raw: token.raw, node});
    }
  }
}
