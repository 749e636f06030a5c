// Talking to the server: requests with the key, and server-sent events as they come.

export class ApiError extends Error {
  constructor(message, status, retry_after_s) {
    super(message);
    this.status = status;
    this.retry_after_s = retry_after_s;
  }
}

const LINE_MAX = 16 << 20;  // characters of one event; a server that sends more is not ours

function headers(key, more = {}) {
  return key ? {Authorization: `Bearer ${key}`, ...more} : more;
}

async function failure(response) {
  let message = `HTTP ${response.status}`;
  try {
    const body = await response.json();
    message = String(body.error?.message ?? message);
  } catch {
    // Not JSON: the status has to do.
  }
  return new ApiError(message, response.status, Number(response.headers.get('Retry-After')) || 0);
}

export async function get_json(path, key) {
  const response = await fetch(path, {headers: headers(key), cache: 'no-store'});
  if (!response.ok) throw await failure(response);
  return response.json();
}

export async function get_text(path) {
  const response = await fetch(path, {cache: 'no-store'});
  if (!response.ok) throw await failure(response);
  return response.text();
}

// The events of a POST: {name, data} for each, until the stream ends or `signal` aborts it.
export async function* post_events(path, body, key, signal) {
  const response = await fetch(path, {
    method: 'POST',
    headers: headers(key, {'Content-Type': 'application/json', 'X-Galley-Queue-Events': '1'}),
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) throw await failure(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  try {
    while (true) {
      const {value, done} = await reader.read();
      if (done) return;
      text += value;
      if (text.length > LINE_MAX) throw new ApiError('an event is too long', 0, 0);
      let end;
      while ((end = text.indexOf('\n\n')) >= 0) {
        const event = parse_event(text.slice(0, end));
        text = text.slice(end + 2);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

// One event's lines; null for a comment.
export function parse_event(lines) {
  let name = 'message';
  const data = [];
  for (const line of lines.split('\n')) {
    if (line.startsWith('data:')) data.push(line.slice(5).trimStart());
    if (line.startsWith('event:')) name = line.slice(6).trim();
  }
  return data.length > 0 ? {name, data: data.join('\n')} : null;
}
