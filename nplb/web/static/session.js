// The token, kept in this tab alone, and everything that is asked of the server with it.

const TOKEN = "nplb-token",
  NAME = "nplb-name";

function read(key) {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}
function keep(key, value) {
  try {
    if (value) sessionStorage.setItem(key, value);
    else sessionStorage.removeItem(key);
  } catch {
    memory.set(key, value);
  }
}
const memory = new Map();

export const session = {
  get token() {
    return read(TOKEN) ?? memory.get(TOKEN) ?? "";
  },
  set token(value) {
    keep(TOKEN, value);
  },
  get name() {
    return read(NAME) ?? memory.get(NAME) ?? "";
  },
  set name(value) {
    keep(NAME, value);
  },
};

export function request(
  path,
  { method = "GET", body, signal, type = "application/json", accept = "application/json" } = {},
) {
  const headers = { Accept: accept };
  if (session.token) headers.Authorization = `Bearer ${session.token}`;
  if (body !== undefined) headers["Content-Type"] = type;
  return fetch(path, { method, headers, signal, body, cache: "no-store", credentials: "same-origin" });
}

// The answer's document, null if it has none. Throws an Error with `status`.
export async function ask(path, options) {
  const answer = await request(path, options);
  const text = await answer.text();
  let document = null;
  try {
    document = text ? JSON.parse(text) : null;
  } catch {
    /* told below */
  }
  if (answer.ok && (document !== null || answer.status === 204)) return document;
  const error = new Error(document?.error?.message ?? `the server answered ${answer.status}`);
  error.status = answer.status;
  throw error;
}
