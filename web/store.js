// What stays in the browser: settings (localStorage) and conversations (IndexedDB). Nothing of it
// leaves but what is sent to the model. Where the browser keeps nothing, memory has to do.

const SETTINGS = 'galley.settings';
const KEY = 'galley.key';

const DEFAULTS = {language: null, theme: 'auto', temperature: null, max_tokens: null,
  thinking: 'auto', model: null};

export function load_settings() {
  try {
    return {...DEFAULTS, ...JSON.parse(localStorage.getItem(SETTINGS) ?? '{}')};
  } catch {
    return {...DEFAULTS};
  }
}

export function save_settings(settings) {
  try {
    localStorage.setItem(SETTINGS, JSON.stringify(settings));
  } catch {
    // Kept for this visit only.
  }
}

// The API key: for this tab, unless the person wants it kept.
export function load_key() {
  try {
    return {key: sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY) ?? '',
      kept: localStorage.getItem(KEY) !== null};
  } catch {
    return {key: '', kept: false};
  }
}

export function save_key(key, keep) {
  try {
    sessionStorage.setItem(KEY, key);
    if (keep && key) localStorage.setItem(KEY, key);
    else localStorage.removeItem(KEY);
  } catch {
    // Kept for this visit only.
  }
}

function asked(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

// Heads (id, title, updated) apart from whole conversations, so that the list is quick to read.
export class Conversations {
  static async open() {
    const store = new Conversations();
    try {
      const request = indexedDB.open('galley', 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore('heads', {keyPath: 'id'});
        request.result.createObjectStore('conversations', {keyPath: 'id'});
      };
      store.database = await asked(request);
    } catch {
      store.memory = new Map();
    }
    return store;
  }

  get lasting() {
    return this.database !== undefined;
  }

  // Newest first.
  async heads() {
    const all = this.memory
      ? [...this.memory.values()].map(({id, title, updated}) => ({id, title, updated}))
      : await asked(this.database.transaction('heads').objectStore('heads').getAll());
    return all.sort((a, b) => b.updated - a.updated);
  }

  async get(id) {
    if (this.memory) return structuredClone(this.memory.get(id));
    return asked(this.database.transaction('conversations').objectStore('conversations').get(id));
  }

  async put(conversation) {
    if (this.memory) return void this.memory.set(conversation.id, structuredClone(conversation));
    const {id, title, updated} = conversation;
    const change = this.database.transaction(['heads', 'conversations'], 'readwrite');
    change.objectStore('heads').put({id, title, updated});
    change.objectStore('conversations').put(conversation);
    return new Promise((resolve, reject) => {
      change.oncomplete = () => resolve();
      change.onabort = () => reject(change.error);
    });
  }

  async remove(id) {
    if (this.memory) return void this.memory.delete(id);
    const change = this.database.transaction(['heads', 'conversations'], 'readwrite');
    change.objectStore('heads').delete(id);
    await asked(change.objectStore('conversations').delete(id));
  }
}
