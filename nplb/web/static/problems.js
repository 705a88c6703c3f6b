// Everything that is wrong, read off what the server says of itself: the worst first.

import { many, nodeLink, sentence, serviceLink, short, words } from "./dom.js";

const WEIGHT = { error: 0, warning: 1, info: 2 };
const NAMED = 3;

// Each is {level, text, link, remedy, since}.
export function problems(store) {
  const o = store.board.overview;
  const found = [];
  const say = (level, text, rest = {}) => found.push({ level, text, ...rest });
  itself(o, say);
  unserved(store, o, say);
  fallen(o, say);
  listeners(store, o, say);
  for (const finding of o.findings) {
    say(
      WEIGHT[finding.severity] === undefined ? "warning" : finding.severity,
      `${sentence(finding.kind)}: ${finding.text}`,
      {
        since: finding.since,
        remedy: finding.remedy,
        link: findingLink(finding),
      },
    );
  }
  others(o, say);
  for (const one of o.drains) {
    say(
      "info",
      `Node ${one.node} is drained by hand${one.who ? ` by ${one.who}` : ""}${one.why ? `: ${one.why}` : ""}`,
      {
        link: nodeLink(one.cluster, one.node),
        since: one.at,
        remedy: "It gets no new connection until it is put back.",
      },
    );
  }
  for (const part of o.parts) {
    const told =
      /^(listeners|sources|cluster\/)/.test(part.name) && found.some((one) => one.level === "error");
    if (!part.ok && !told) say("error", `Not ready: ${words(part.name)}`, { remedy: part.detail });
  }
  return found.sort((a, b) => (WEIGHT[a.level] ?? 1) - (WEIGHT[b.level] ?? 1));
}

// The one word for all of it: good, warning, error, or none when nothing is to be served.
export function verdict(store, found) {
  const errors = found.filter((one) => one.level === "error").length;
  const warnings = found.filter((one) => one.level === "warning").length;
  if (errors) return ["error", many(errors, "problem")];
  if (warnings) return ["warning", `${warnings === 1 ? "1 thing" : `${warnings} things`} to look at`];
  return store.board.rows.length ? ["good", "All is well"] : ["none", "Nothing to serve yet"];
}

function itself(o, say) {
  if (o.stopping) say("warning", "nplb is stopping: no new connections, the old ones drain");
  if (o.last_error) {
    say("error", `The last reconcile pass failed: ${o.last_error}`, {
      remedy: "The plan before stays in force. nplb's log has the details.",
    });
  }
  for (const source of o.sources) {
    if (source.state === "stale") {
      say("error", `Cluster ${source.cluster}: its state can't be read`, {
        since: source.since,
        remedy: `${source.error} (${many(source.attempts, "attempt")}). The last snapshot stays in force: clients are served, changes are not seen.`,
      });
    } else if (source.state === "connecting") {
      say("warning", `Cluster ${source.cluster}: waiting for its first snapshot`, {
        since: source.since,
        remedy: source.error,
      });
    }
  }
  for (const worker of o.workers) {
    if (!worker.alive)
      say("error", `Relay worker ${worker.worker} is not running`, {
        remedy: "It is being replaced; if this stays, nplb's log says why.",
      });
  }
  if (o.reload.upgrade_error) {
    say("warning", "The last upgrade failed, the process before it goes on", {
      remedy: o.reload.upgrade_error,
    });
  }
  if (o.reload.errors.length) {
    say("warning", "The last reload was refused, the configuration before it runs", {
      since: o.reload.at,
      remedy: o.reload.errors.join("; "),
    });
  }
}

// Where what a finding is about has a page.
function findingLink(finding) {
  if (/^(port_|edge_port_)/.test(finding.kind)) return "#/ports";
  const key = /^\S+\/\S+\/\S+:\d+\/(?:TCP|UDP|SCTP)$/.exec(finding.subject);
  return key ? serviceLink(key[0]) : null;
}

// Nodes on which nothing works: each by its name, or one line for many of one kind.
function fallen(o, say) {
  const rest = o.frontends.serving ? "Clients go to other nodes." : "No other node works either.";
  for (const [reason, ones] of alike(o.troubles.nodes)) {
    if (ones.length <= NAMED) {
      for (const one of ones) {
        say("error", `Nothing works on node ${one.node}: ${words(reason)}`, {
          link: nodeLink(one.cluster, one.node),
          since: one.since,
          remedy: `${many(one.count, "backend is", "backends are")} out because of it. ${rest}`,
        });
      }
    } else {
      say("error", `Nothing works on ${ones.length} nodes: ${words(reason)}`, {
        link: "#/nodes?trouble=1",
        since: earliest(ones),
        remedy: `${listed(ones.map((one) => one.node))}. ${rest}`,
      });
    }
  }
}

// Frontends without an active backend: each by its name, or one line for many of one kind.
function unserved(store, o, say) {
  for (const [reason, ones] of alike(o.troubles.frontends)) {
    const why = reason ? `: ${words(reason)}` : "";
    // What has no pods is empty as its owner wants, or as its owner must mend.
    const level = reason === "service_empty" ? "warning" : reason === "probing" ? "info" : "error";
    const remedy =
      {
        service_empty: "The Service has no ready endpoint, so clients are refused.",
        probing: "The first probes have not ended yet.",
      }[reason] ?? "Its clients are refused.";
    if (ones.length <= NAMED) {
      for (const one of ones)
        say(level, `${short(one.key, store)} has no active backend${why}`, {
          link: serviceLink(one.key),
          since: one.since,
          remedy,
        });
    } else {
      say(level, `${ones.length} frontends have no active backend${why}`, {
        link: "#/services?trouble=1",
        since: earliest(ones),
        remedy: listed(ones.map((one) => short(one.key, store))),
      });
    }
  }
  if (o.troubles.frontends_more)
    say("error", `and ${o.troubles.frontends_more} more frontends have no active backend`, {
      link: "#/services?trouble=1",
    });
}

function listeners(store, o, say) {
  const told = new Set(o.findings.map((finding) => finding.subject));
  for (const one of o.troubles.listen) {
    if (!told.has(one.key))
      say("error", `${short(one.key, store)} does not listen on ${one.address}`, {
        link: serviceLink(one.key),
        remedy: one.detail,
      });
  }
}

function others(o, say) {
  const reasons = Object.entries(o.troubles.others).sort((a, b) => b[1] - a[1]);
  const count = reasons.reduce((sum, [, n]) => sum + n, 0);
  if (!count) return;
  const more = o.troubles.nodes.length || o.troubles.frontends.length ? "more " : "";
  // Before its first probe has ended, a backend is no news.
  const level = reasons.every(([reason]) => reason === "probing") ? "info" : "warning";
  say(level, `${num(count)} ${more}${count === 1 ? "backend is" : "backends are"} down`, {
    link: "#/services?trouble=1",
    since: o.troubles.others_since,
    remedy: reasons.map(([reason, n]) => `${words(reason)} ${n}`).join(", "),
  });
}

const num = (count) => count.toLocaleString("en").replaceAll(",", "\u202f");
const listed = (texts) =>
  texts.slice(0, 5).join(", ") + (texts.length > 5 ? ` and ${texts.length - 5} more` : "");

function alike(ones) {
  const by = new Map();
  for (const one of ones) by.set(one.reason, [...(by.get(one.reason) ?? []), one]);
  return by;
}

function earliest(ones) {
  const first = Math.min(...ones.map((one) => one.since ?? Infinity));
  return Number.isFinite(first) ? first : null;
}
