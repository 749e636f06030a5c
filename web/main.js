// The page's beginning: settings, language, appearance, and which view is open.
import {Chat} from './chat.js';
import {by_id, el, say} from './dom.js';
import {Operate} from './operate.js';
import {Conversations, load_key, load_settings, save_key, save_settings} from './store.js';
import {get_json} from './stream.js';
import {language_now, languages, speak, t} from './words.js';

const settings = load_settings();
const secret = load_key();

function number_or_null(text) {
  const value = Number(text);
  return text.trim() === '' || !Number.isFinite(value) ? null : value;
}

function show_theme() {
  document.documentElement.dataset.theme = settings.theme;
}

function options() {
  return {key: secret.key, model: settings.model, temperature: settings.temperature,
    max_tokens: settings.max_tokens, thinking: settings.thinking};
}

const dialog = by_id('settings');

function open_settings() {
  by_id('key').value = secret.key;
  by_id('key-keep').checked = secret.kept;
  by_id('temperature').value = settings.temperature ?? '';
  by_id('max-tokens').value = settings.max_tokens ?? '';
  by_id('thinking').value = settings.thinking;
  by_id('language').value = language_now();
  by_id('theme').value = settings.theme;
  if (!dialog.open) dialog.showModal();
}

// The dialog has closed, by its button or by Escape.
async function take_settings() {
  const had = secret.key;
  secret.key = by_id('key').value.trim();
  secret.kept = by_id('key-keep').checked;
  save_key(secret.key, secret.kept);
  settings.temperature = number_or_null(by_id('temperature').value);
  settings.max_tokens = number_or_null(by_id('max-tokens').value);
  settings.thinking = by_id('thinking').value;
  save_settings(settings);
  if (secret.key !== had) await list_models();
}

async function list_models() {
  const select = by_id('model');
  try {
    const names = (await get_json('/v1/models', secret.key)).data.map((model) => model.id);
    select.replaceChildren(...names.map((name) => el('option', {value: name}, name)));
    if (!names.includes(settings.model)) settings.model = names[0] ?? null;
    select.value = settings.model;
  } catch (error) {
    if (error.status === 401) {
      say(t('key_needed'));
      open_settings();
    }
  }
}

async function start() {
  show_theme();
  const preferred = navigator.languages.map((tag) => tag.slice(0, 2))
    .find((tag) => languages.includes(tag));
  speak(settings.language ?? preferred);

  const store = await Conversations.open();
  const chat = new Chat(store, options, open_settings);
  const operate = new Operate(options);
  if (!store.lasting) {
    by_id('empty').textContent = t('memory_only');
    by_id('empty').classList.add('warning');
  }

  const show_view = (name) => {
    for (const view of ['chat', 'operate']) {
      by_id(`view-${view}`).hidden = view !== name;
      by_id(`tab-${view}`).toggleAttribute('aria-current', view === name);
    }
    document.title = `${t(name)} · Galley`;
    operate.set_open(name === 'operate');
  };
  const follow_hash = () => {
    const [view, id] = location.hash.slice(1).split('/');
    show_view(view === 'operate' ? 'operate' : 'chat');
    if (view === 'chat' && id && id !== chat.conversation?.id) chat.open(id);
  };

  by_id('tab-chat').addEventListener('click', () => {
    location.hash = `chat/${chat.conversation.id}`;
  });
  by_id('tab-operate').addEventListener('click', () => { location.hash = 'operate'; });
  window.addEventListener('hashchange', follow_hash);

  by_id('settings-open').addEventListener('click', open_settings);
  by_id('settings-close').addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', take_settings);
  by_id('clear').addEventListener('click', async () => {
    if (confirm(t('delete_all_sure'))) await chat.remove_all();
  });
  by_id('language').addEventListener('change', async (event) => {
    settings.language = event.target.value;
    save_settings(settings);
    speak(settings.language);
    await chat.redraw();
    operate.redraw();
  });
  by_id('theme').addEventListener('change', (event) => {
    settings.theme = event.target.value;
    save_settings(settings);
    show_theme();
    operate.redraw();
  });
  by_id('model').addEventListener('change', (event) => {
    settings.model = event.target.value;
    save_settings(settings);
  });

  const drawer = (open) => {
    document.body.classList.toggle('drawer', open);
    by_id('menu').setAttribute('aria-expanded', String(open));
    by_id('shade').hidden = !open;
  };
  by_id('menu').addEventListener('click',
    () => drawer(!document.body.classList.contains('drawer')));
  by_id('shade').addEventListener('click', () => drawer(false));
  by_id('sidebar').addEventListener('click',
    (event) => event.target.closest('.title, #new') && drawer(false));

  const [view, id] = location.hash.slice(1).split('/');
  await list_models();
  if (view === 'chat' && id) await chat.open(id);
  else chat.begin();
  if (view === 'operate') location.hash = 'operate';
  await chat.list();
  follow_hash();
  document.body.dataset.ready = '';
}

start();
