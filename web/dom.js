// Making elements. Text always becomes a text node; nothing here, or anywhere in the page, turns a
// string into markup.

// el('button', {class: 'x', onclick: f}, 'text', node, null): null children are left out.
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) {
      if (typeof value !== 'function') throw new TypeError(`${name} is not a function`);
      node.addEventListener(name.slice(2), value);
    } else {
      node.setAttribute(name, value === true ? '' : value);
    }
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

export function by_id(id) {
  const node = document.getElementById(id);
  if (node === null) throw new Error(`the page has no #${id}`);
  return node;
}

// Says `text` to a screen reader, without showing it.
export function say(text) {
  by_id('spoken').textContent = text;
}

// A button that copies text() and says so for a moment.
export function copy_button(label, done, text) {
  const button = el('button', {class: 'small', type: 'button'}, label);
  button.addEventListener('click', async () => {
    await copy(text());
    button.textContent = done;
    say(done);
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  return button;
}

// The clipboard belongs to secure pages only: over plain HTTP, but for localhost, the old way.
async function copy(text) {
  if (navigator.clipboard) {
    try {
      return await navigator.clipboard.writeText(text);
    } catch {
      // Not allowed: the old way.
    }
  }
  const area = el('textarea', {class: 'hidden', 'aria-hidden': 'true'});
  area.value = text;
  const before = document.activeElement;
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
  before?.focus();
}
