// The one state: the board and the decisions, kept up by server-sent events. They are read by
// fetch, since the browser's own EventSource can't send a token.

import { ask, request } from "./session.js";

const STALE_MS = 4000;
const KEPT = 3000; // without those that somebody asked for

export class Store extends EventTarget {
  board = null;
  decisions = [];
  state = "connecting";
  seenAt = 0;
  hasOlder = false;
  #asking = false;
  #source = null;
  #retry = null;

  start() {
    this.#connect();
    setInterval(() => this.#watch(), 1000);
    // A tab that comes back asks at once, instead of after the browser's own pause.
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.state === "stale") this.#connect();
    });
  }

  // Connect anew, with whatever token there is now.
  reconnect() {
    this.#connect();
  }

  async #connect() {
    clearTimeout(this.#retry);
    this.#retry = null;
    this.#source?.abort();
    const source = (this.#source = new AbortController());
    try {
      const answer = await request("api/v1/events", { signal: source.signal, accept: "text/event-stream" });
      if (answer.status === 401) {
        this.#to("locked");
        return;
      }
      if (answer.ok) await this.#listen(answer.body.getReader());
    } catch {
      /* nplb is away, or has ended the stream */
    }
    if (source === this.#source) this.#later();
  }

  async #listen(reader) {
    const decoder = new TextDecoder();
    let parts = [];
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const text = decoder.decode(value, { stream: true });
      if (!text.includes("\n\n") && !text.startsWith("\n")) {
        parts.push(text);
        continue;
      }
      const events = (parts.join("") + text).split("\n\n");
      parts = [events.pop()];
      for (const event of events) this.#take(event);
    }
  }

  #take(event) {
    const match = /^event: (\w+)\ndata: (.*)$/s.exec(event);
    if (!match) return;
    const document = JSON.parse(match[2]);
    if (match[1] === "full") this.#full(document);
    else if (match[1] === "change") this.#change(document);
    else if (match[1] === "decisions") this.#decided(document);
  }

  #later() {
    this.#retry ??= setTimeout(() => this.#connect(), 1000 + Math.random() * 1000);
  }

  #full(board) {
    const first = this.board === null || board.overview.started_at !== this.board.overview.started_at;
    this.board = board;
    if (first) this.decisions = []; // another nplb counts from one again
    this.#fresh();
    // A whole board stands for messages that were missed, and decisions may have been in them.
    this.#catchUp();
    this.dispatchEvent(new Event("board"));
  }

  #change(change) {
    const board = this.board;
    if (!board) return;
    board.at = change.at;
    board.overview = change.overview;
    for (const [index, row] of Object.entries(change.rows)) board.rows[index] = row;
    for (const [index, numbers] of Object.entries(change.traffic)) board.traffic[index] = numbers;
    this.#fresh();
    this.dispatchEvent(new Event("board"));
  }

  #decided(news) {
    const known = this.decisions.at(-1)?.sequence ?? 0;
    const found = news.decisions.filter((one) => one.sequence > known);
    if (!found.length) return;
    // Of very many at once the stream brings the newest: the others are asked for.
    if (known && found[0].sequence > known + 1) {
      this.#catchUp();
      return;
    }
    const kept = Math.max(KEPT, this.decisions.length);
    if (this.decisions.length + found.length > kept) this.hasOlder = true;
    this.decisions = [...this.decisions, ...found].slice(-kept);
    this.dispatchEvent(new Event("decisions"));
  }

  async #catchUp() {
    try {
      const page = await ask("api/v1/decisions?limit=1000");
      const found = page.decisions ?? [];
      const last = found.at(-1)?.sequence ?? 0;
      // What the stream brought while the answer was on its way is newer than the answer.
      const newer = this.decisions.filter((one) => one.sequence > last);
      this.decisions = [...found, ...newer].slice(-KEPT);
      this.hasOlder = found.length > 0 && found[0].sequence > page.first;
      this.dispatchEvent(new Event("decisions"));
    } catch {
      // The stream says that the server is away; it comes again with the next full board.
    }
  }

  // Ask for decisions older than those that are here.
  async older() {
    const first = this.decisions[0]?.sequence ?? 0;
    if (this.#asking || !this.hasOlder || first < 2) return;
    this.#asking = true;
    try {
      const page = await ask(`api/v1/decisions?limit=1000&before=${first}`);
      if (this.decisions[0]?.sequence === first) this.decisions = [...page.decisions, ...this.decisions];
      this.hasOlder = page.decisions.length > 0 && page.decisions[0].sequence > page.first;
      this.dispatchEvent(new Event("decisions"));
    } catch {
      // The state of the connection is shown; the button is still there.
    } finally {
      this.#asking = false;
    }
  }

  #fresh() {
    this.seenAt = Date.now();
    this.#to("live");
  }

  #watch() {
    if (this.state === "locked") return;
    const quiet = Date.now() - this.seenAt;
    if (quiet > STALE_MS) this.#to(this.board ? "stale" : "connecting");
    // A connection that lies dead without an error is made anew.
    if (quiet > STALE_MS * 3 && this.#retry === null) {
      this.seenAt = Date.now() - STALE_MS * 2;
      this.#connect();
    }
    if (this.state === "stale") this.dispatchEvent(new Event("state"));
  }

  #to(state) {
    if (this.state === state) return;
    this.state = state;
    this.dispatchEvent(new Event("state"));
  }
}
