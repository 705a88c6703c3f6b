// The one state: the board and the decisions, kept up by server-sent events.

const STALE_MS = 4000;
const KEPT = 3000;

export class Store extends EventTarget {
  board = null;
  decisions = [];
  state = "connecting";
  seenAt = 0;
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

  #connect() {
    clearTimeout(this.#retry);
    this.#retry = null;
    this.#source?.close();
    const source = new EventSource("api/v1/events");
    this.#source = source;
    source.addEventListener("full", (event) => this.#full(JSON.parse(event.data)));
    source.addEventListener("change", (event) => this.#change(JSON.parse(event.data)));
    source.addEventListener("decisions", (event) => this.#decided(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      // The browser gives up after an answer that is no stream (503 while nplb starts).
      if (source.readyState === EventSource.CLOSED) this.#later();
    });
  }

  #later() {
    this.#retry ??= setTimeout(() => this.#connect(), 1500 + Math.random() * 1000);
  }

  #full(board) {
    const first = this.board === null || board.overview.started_at !== this.board.overview.started_at;
    this.board = board;
    this.#fresh();
    if (first || this.state !== "live") this.#catchUp();
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
    this.decisions = [...this.decisions, ...found].slice(-KEPT);
    this.dispatchEvent(new Event("decisions"));
  }

  async #catchUp() {
    try {
      const answer = await fetch("api/v1/decisions?limit=1000");
      const page = await answer.json();
      this.decisions = page.decisions ?? [];
      this.dispatchEvent(new Event("decisions"));
    } catch {
      // The stream says that the server is away; it comes again with the next full board.
    }
  }

  #fresh() {
    this.seenAt = Date.now();
    this.#to("live");
  }

  #watch() {
    const quiet = Date.now() - this.seenAt;
    if (quiet > STALE_MS) this.#to(this.board ? "stale" : "connecting");
    // A connection that lies dead without an error is made anew.
    if (quiet > STALE_MS * 3 && this.#retry === null && this.#source?.readyState !== EventSource.CONNECTING) {
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
