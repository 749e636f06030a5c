// The chat: the list of conversations, the open one, and the answer that is being written.
import {by_id, el, say} from './dom.js';
import {MessageView} from './message.js';
import {ApiError, post_events} from './stream.js';
import {t} from './words.js';

const TITLE_MAX = 60;       // characters
const KEEP_EVERY_MS = 2000; // an answer under way, in case the page is closed
const RATE_AFTER_MS = 20;   // a rate of less time would say nothing
const AT_END_PX = 60;       // so near the end the view follows what is written

export class Chat {
  // `options()`: {key, model, temperature, max_tokens, thinking}; `need_key()` asks for a key.
  constructor(store, options, need_key) {
    this.store = store;
    this.options = options;
    this.need_key = need_key;
    this.messages = by_id('messages');
    this.composer = by_id('composer');
    this.system = by_id('system');
    this.queue = by_id('queue');
    this.views = [];
    this.answering = null;  // {abort, view}
    this.at_end = true;     // the view follows what is written
    this.grown = new ResizeObserver(() => this.at_end && this.to_end());
    this.listen();
  }

  listen() {
    by_id('new').addEventListener('click', () => this.begin());
    by_id('send').addEventListener('click', () => this.send());
    by_id('stop').addEventListener('click', () => this.stop());
    this.composer.addEventListener('input', () => this.fit());
    this.composer.addEventListener('keydown', (event) => {
      if (event.isComposing) return;  // Enter chooses a character.
      if (event.key === 'Enter' && !event.shiftKey) {
        event.preventDefault();
        this.send();
      }
      if (event.key === 'ArrowUp' && this.composer.value === '') {
        event.preventDefault();
        this.views.filter((view) => view.message.role === 'user').at(-1)?.edit();
      }
    });
    this.system.addEventListener('change', () => {
      this.conversation.system = this.system.value;
      if (this.views.length > 0) this.keep();
    });
    document.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && this.answering) this.stop();
      if (event.altKey && event.key.toLowerCase() === 'n') {
        event.preventDefault();
        this.begin();
      }
    });
    this.messages.addEventListener('scroll', () => {
      const box = this.messages;
      this.at_end = box.scrollHeight - box.scrollTop - box.clientHeight < AT_END_PX;
    }, {passive: true});
    window.addEventListener('pagehide', () => this.answering && this.keep());
  }

  fit() {
    this.composer.style.height = 'auto';
    this.composer.style.height = `${Math.min(this.composer.scrollHeight, 240)}px`;
  }

  // --- Conversations ---

  // An empty one; it is kept once something is said.
  begin() {
    this.show({id: crypto.randomUUID?.() ?? String(Math.random()).slice(2), title: '', system: '',
      updated: Date.now(), messages: []});
    this.composer.focus();
  }

  async open(id) {
    const conversation = await this.store.get(id);
    if (conversation) this.show(conversation);
    else this.begin();
  }

  show(conversation) {
    this.stop();
    this.conversation = conversation;
    this.system.value = conversation.system;
    by_id('system-box').open = conversation.system !== '';
    for (const view of this.views) view.remove();
    this.views = [];
    const all = document.createDocumentFragment();
    for (const message of conversation.messages) all.append(this.make_view(message).root);
    this.messages.replaceChildren(all);
    this.show_empty();
    this.to_end();
    this.watch();
    history.replaceState(null, '', `#chat/${conversation.id}`);
    this.mark_open();
    this.set_busy(false);
  }

  make_view(message) {
    const view = new MessageView(message, {
      edit: (edited, content) => this.edit(edited, content),
      retry: (answer) => this.retry(answer),
    });
    this.views.push(view);
    return view;
  }

  show_empty() {
    by_id('empty').hidden = this.views.length > 0;
  }

  // After a change of language.
  async redraw() {
    if (this.answering) return;  // What is being written keeps its words.
    if (this.conversation) this.show(this.conversation);
    await this.list();
  }

  async list() {
    const heads = await this.store.heads();
    by_id('conversations').replaceChildren(...heads.map((head) => el('li', {'data-id': head.id},
      el('button', {class: 'title', type: 'button', title: head.title,
        onclick: () => this.open(head.id)}, head.title || t('untitled')),
      el('button', {class: 'icon small', type: 'button', 'aria-label': `${t('rename')}: ${head.title}`,
        onclick: () => this.rename(head)}, '✎'),
      el('button', {class: 'icon small', type: 'button', 'aria-label': `${t('remove')}: ${head.title}`,
        onclick: () => this.remove(head)}, '✕'))));
    this.mark_open();
  }

  mark_open() {
    for (const row of by_id('conversations').children) {
      if (row.dataset.id === this.conversation?.id) row.setAttribute('aria-current', 'true');
      else row.removeAttribute('aria-current');
    }
  }

  async rename(head) {
    const title = prompt(t('rename_to'), head.title)?.trim();
    if (!title) return;
    const open = head.id === this.conversation.id;
    const conversation = open ? this.conversation : await this.store.get(head.id);
    conversation.title = title.slice(0, TITLE_MAX);
    await this.store.put(conversation);
    await this.list();
  }

  async remove(head) {
    if (!confirm(t('remove_sure', {title: head.title || t('untitled')}))) return;
    if (head.id === this.conversation.id) this.begin();
    await this.store.remove(head.id);
    await this.list();
  }

  async remove_all() {
    this.begin();
    for (const head of await this.store.heads()) await this.store.remove(head.id);
    await this.list();
  }

  async keep() {
    const {conversation} = this;
    conversation.updated = Date.now();
    if (!conversation.title) {
      const said = conversation.messages.find((message) => message.role === 'user')?.content ?? '';
      conversation.title = said.replace(/\s+/g, ' ').trim().slice(0, TITLE_MAX);
    }
    try {
      await this.store.put(conversation);
    } catch (error) {
      say(t('not_kept', {why: error.message}));
    }
  }

  // --- Saying something ---

  async send() {
    const content = this.composer.value.trim();
    if (content === '' || this.answering) return;
    this.composer.value = '';
    this.fit();
    this.add({role: 'user', content});
    await this.answer();
  }

  add(message) {
    this.conversation.messages.push(message);
    const view = this.make_view(message);
    this.messages.append(view.root);
    this.show_empty();
    this.to_end();
    this.watch();
    return view;
  }

  // Forgets `view` and what came after it.
  cut(view) {
    const at = this.views.indexOf(view);
    for (const gone of this.views.splice(at)) gone.remove();
    this.conversation.messages.splice(at);
  }

  async edit(view, content) {
    this.stop();
    this.cut(view);
    this.add({role: 'user', content});
    await this.answer();
  }

  async retry(view) {
    this.stop();
    this.cut(view);
    await this.answer();
  }

  stop() {
    this.answering?.abort.abort();
  }

  set_busy(busy) {
    by_id('send').hidden = busy;
    by_id('stop').hidden = !busy;
    if (!busy) this.queue.hidden = true;
  }

  request_body() {
    const {model, temperature, max_tokens, thinking} = this.options();
    const messages = this.conversation.messages
      .filter((message) => message.content !== '')
      .map(({role, content}) => ({role, content}));
    if (this.system.value.trim() !== '')
      messages.unshift({role: 'system', content: this.system.value});
    const body = {messages, stream: true,
      stream_options: {include_usage: true, continuous_usage_stats: true}};
    if (model) body.model = model;
    if (temperature !== null) body.temperature = temperature;
    if (max_tokens !== null) body.max_tokens = max_tokens;
    if (thinking !== 'auto') body.thinking = {type: thinking};
    return body;
  }

  // Asks for the answer to what the conversation ends with, and shows it as it comes.
  async answer() {
    this.conversation.system = this.system.value;
    const body = this.request_body();
    const message = {role: 'assistant', content: '', thinking: '', model: body.model ?? ''};
    const view = this.add(message);
    const mine = {abort: new AbortController(), view};
    this.answering = mine;
    view.streaming = true;
    view.show_state();
    this.set_busy(true);
    await this.keep();
    await this.list();
    const clock = setInterval(() => view.changed(), 100);  // the thought's timer
    const keeper = setInterval(() => this.answering === mine && this.keep(), KEEP_EVERY_MS);
    const conversation = this.conversation;
    try {
      await this.receive(body, mine, message, view);
    } catch (error) {
      message.note = this.explain(error, mine);
    } finally {
      clearInterval(clock);
      clearInterval(keeper);
      view.streaming = false;
      if (this.answering === mine) this.answering = null;
      view.changed();
      if (this.conversation === conversation) {
        this.set_busy(this.answering !== null);
        await this.keep();
        await this.list();
      } else {
        await this.store.put(conversation).catch(() => {});
      }
      say(message.note ?? t('spoken_ends'));
    }
  }

  async receive(body, mine, message, view) {
    const began = performance.now();
    let first = null;
    let thought_from = null;
    let ended = false;
    for await (const event of post_events('/v1/chat/completions', body, this.options().key,
      mine.abort.signal)) {
      if (event.data === '[DONE]') {
        ended = true;
        break;
      }
      const data = JSON.parse(event.data);
      if (event.name === 'galley.queue') {
        this.show_queue(data);
        continue;
      }
      if (data.error) throw new ApiError(String(data.error.message), 200, 0);
      this.queue.hidden = true;
      const now = performance.now();
      const delta = data.choices?.[0]?.delta ?? {};
      if (first === null && (delta.content || delta.reasoning_content)) {
        first = now;
        message.first_ms = now - began;
        say(t('spoken_begins'));
      }
      if (delta.reasoning_content) {
        thought_from ??= now;
        message.thinking += delta.reasoning_content;
      }
      if (thought_from !== null && message.content === '') message.thinking_ms = now - thought_from;
      if (delta.content) message.content += delta.content;
      if (data.usage) this.count(message, data.usage, first, now);
      if (data.choices?.[0]?.finish_reason === 'length') message.note = t('cut_length');
      view.changed();
    }
    if (!ended) throw new ApiError(t('cut'), 0, 0);
  }

  count(message, usage, first, now) {
    message.tokens = usage.completion_tokens;
    message.thinking_tokens = usage.completion_tokens_details?.reasoning_tokens ?? 0;
    if (first !== null && now - first > RATE_AFTER_MS && usage.completion_tokens > 1)
      message.rate = (usage.completion_tokens - 1) / ((now - first) / 1000);
  }

  to_end() {
    this.messages.scrollTop = this.messages.scrollHeight;
    this.at_end = true;
  }

  // The last message grows as it is written, and when mathematics has been set.
  watch() {
    this.grown.disconnect();
    if (this.views.length > 0) this.grown.observe(this.views.at(-1).root);
  }

  show_queue(news) {
    const seconds = (ms) => (ms / 1000).toFixed(ms < 10_000 ? 1 : 0);
    this.queue.hidden = false;
    this.queue.textContent = t(news.position <= 1 ? 'waiting_first' : 'waiting', {
      position: news.position, waited: seconds(news.waited_ms),
      median: seconds(news.estimated_start_ms.median), p90: seconds(news.estimated_start_ms.p90)});
  }

  explain(error, mine) {
    if (mine.abort.signal.aborted) return t('stopped');
    if (error instanceof ApiError) {
      if (error.status === 401) {
        this.need_key();
        return t('key_needed');
      }
      const retry = error.retry_after_s > 0
        ? ` ${t('retry_after', {seconds: error.retry_after_s})}` : '';
      return t('failed', {why: error.message}) + retry;
    }
    return error instanceof TypeError ? t('gone') : t('failed', {why: error.message});
  }
}
