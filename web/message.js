// One message on the screen: who, the folded thought, the text, what can be done with it.
import {copy_button, el} from './dom.js';
import {MarkdownView} from './markdown.js';
import {t} from './words.js';

// Far from the screen a message is plain text; it becomes Markdown when it comes near.
const near = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    near.unobserve(entry.target);
    views.get(entry.target)?.render_now();
  }
}, {rootMargin: '1000px'});
const views = new WeakMap();

export class MessageView {
  // `message`: as it is kept. `actions`: {edit(view), retry(view)}.
  constructor(message, actions) {
    this.message = message;
    this.actions = actions;
    this.rendered = false;
    this.pending = false;
    this.streaming = false;
    const mine = message.role === 'user';
    this.body = el('div', {class: 'body', dir: 'auto'});
    this.thought_title = el('summary');
    this.thought_body = el('div', {class: 'body', dir: 'auto'});
    this.thought = el('details', {class: 'thought', hidden: true,
      ontoggle: () => this.thought.open && this.render_thought()}, this.thought_title,
    this.thought_body);
    this.note = el('p', {class: 'note', role: 'status', hidden: true});
    this.foot = el('footer');
    this.root = el('article', {class: mine ? 'user' : 'assistant',
      'aria-label': mine ? t('you') : t('assistant')},
    el('header', {}, mine ? t('you') : message.model || t('assistant')),
    this.thought, this.body, this.note, this.foot);
    views.set(this.root, this);
    this.body.textContent = message.content;
    this.body.classList.add('plain');
    if (!mine) near.observe(this.root);
    this.show_foot();
    this.show_state();
  }

  // Whatever of the message has changed, with the next frame.
  changed() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      if (this.message.role !== 'user') this.render_now();
      this.show_state();
    });
  }

  render_now() {
    near.unobserve(this.root);
    if (!this.rendered) {
      this.rendered = true;
      this.body.replaceChildren();
      this.body.classList.remove('plain');
      this.markdown = new MarkdownView(this.body);
    }
    this.markdown.update(this.message.content);
    if (this.thought.open) this.render_thought();
  }

  render_thought() {
    this.thought_markdown ??= new MarkdownView(this.thought_body);
    this.thought_markdown.update(this.message.thinking ?? '');
  }

  show_state() {
    const {message} = this;
    this.root.toggleAttribute('aria-busy', this.streaming);
    this.root.classList.toggle('streaming', this.streaming);
    if (message.thinking) {
      this.thought.hidden = false;
      const values = {seconds: ((message.thinking_ms ?? 0) / 1000).toFixed(1),
        tokens: message.thinking_tokens ?? 0};
      const thinking = this.streaming && message.content === '';
      this.thought_title.textContent = t(thinking ? 'thinking_now' : 'thought', values);
    }
    this.note.hidden = !message.note;
    this.note.textContent = message.note ?? '';
    if (this.meta && message.tokens) {
      this.meta.textContent = t(message.rate ? 'answer_meta' : 'answer_count', {
        tokens: message.tokens, rate: message.rate?.toFixed(1),
        first: ((message.first_ms ?? 0) / 1000).toFixed(2)});
    }
  }

  show_foot() {
    const button = (label, act) =>
      el('button', {class: 'small', type: 'button', onclick: act}, label);
    this.meta = el('span', {class: 'meta'});
    this.foot.replaceChildren(copy_button(t('copy'), t('copied'), () => this.message.content),
      this.message.role === 'user'
        ? button(t('edit'), () => this.edit())
        : button(t('retry'), () => this.actions.retry(this)),
      this.meta);
  }

  // In place; what came after it is replaced when it is sent.
  edit() {
    if (this.editor) return this.editor.querySelector('textarea').focus();
    const text = el('textarea', {'aria-label': t('edit_label'), rows: 3});
    text.value = this.message.content;
    const close = () => {
      this.editor.remove();
      this.editor = null;
      this.body.hidden = false;
      this.foot.hidden = false;
    };
    const send = () => {
      const content = text.value.trim();
      if (content === '') return;
      close();
      this.actions.edit(this, content);
    };
    text.addEventListener('keydown', (event) => {
      if (event.isComposing) return;
      if (event.key === 'Escape') {
        event.stopPropagation();
        close();
        this.foot.children[1].focus();
      }
      if (event.key === 'Enter' && !event.shiftKey) {
        event.preventDefault();
        send();
      }
    });
    this.editor = el('div', {class: 'editor'}, text, el('div', {class: 'row'},
      el('button', {class: 'main', type: 'button', onclick: send}, t('save_send')),
      el('button', {type: 'button', onclick: close}, t('cancel'))));
    this.body.hidden = true;
    this.foot.hidden = true;
    this.body.after(this.editor);
    text.focus();
  }

  remove() {
    near.unobserve(this.root);
    this.root.remove();
  }
}
