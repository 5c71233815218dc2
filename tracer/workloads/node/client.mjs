// A steady load on `service.mjs` that says what came of each request.
//
// It keeps the rate whatever the service does, up to a bound: a service that is late is asked on, so that its lateness shows in
// the latencies, and what the bound holds back is counted in `missed`.

import { Agent, get } from 'node:http';
import { createHistogram } from 'node:perf_hooks';

import { nowNs, onEnd, readOptions, say, SECOND_NS } from './harness.mjs';

const HOST = '127.0.0.1';
const EVERY_MS = 1000;
const BEAT_MS = 5;
const TIMEOUT_MS = 5000;
const PATIENCE_MS = 1000;
const UNDER_WAY_PER_CONNECTION = 8;
const ITEMS = 1000;

const { port, rate, connections } = readOptions('usage: node client.mjs --port N [--rate R] [--connections C]', {
  port: { min: 1, max: 65_535 },
  rate: { value: 200, min: 1, max: 100_000 },
  connections: { value: 8, min: 1, max: 1000 },
});

const startedNs = nowNs();
// Round the connections, so that each is used often enough to stay open.
const agent = new Agent({ keepAlive: true, maxSockets: connections, scheduling: 'fifo' });
const latency = createHistogram();
const reasons = {};
const truth = { sent: 0, ok: 0, failed: 0, missed: 0 };

/** Mostly lookups, some file reads, a few key derivations. */
function pathOf(turn) {
  const kind = turn % 10;
  if (kind < 6) return `/item/${turn % ITEMS}`;
  return kind < 9 ? '/page' : `/token/${turn % ITEMS}`;
}

function send(path) {
  const began = nowNs();
  truth.sent += 1;
  // A response that breaks off reports it twice, and a request has one end.
  let open = true;
  const settle = (reason) => {
    if (!open) return;
    open = false;
    if (reason === undefined) {
      truth.ok += 1;
      latency.record(Math.max(1, nowNs() - began));
    } else {
      truth.failed += 1;
      reasons[reason] = (reasons[reason] ?? 0) + 1;
    }
  };
  const request = get({ host: HOST, port, path, agent, timeout: TIMEOUT_MS }, (response) => {
    response.on('error', (why) => settle(why.code ?? 'response'));
    response.on('end', () => settle(response.statusCode === 200 ? undefined : `status_${response.statusCode}`));
    response.resume();
  });
  request.on('timeout', () => request.destroy(Object.assign(new Error('timeout'), { code: 'timeout' })));
  request.on('error', (why) => settle(why.code ?? 'request'));
}

function underWay() {
  return truth.sent - truth.ok - truth.failed;
}

let offered = 0;

function sendDue() {
  const due = Math.floor(((nowNs() - startedNs) / SECOND_NS) * rate);
  const room = connections * UNDER_WAY_PER_CONNECTION - underWay();
  const now = Math.min(due - offered, Math.max(0, room));
  for (let sent = 0; sent < now; sent += 1) {
    send(pathOf(offered + sent));
  }
  truth.missed += due - offered - now;
  offered = due;
}

function tell(final) {
  say({
    event: 'truth',
    final,
    at_ns: nowNs(),
    uptime_ns: nowNs() - startedNs,
    sent: truth.sent,
    ok: truth.ok,
    failed: truth.failed,
    reasons,
    missed: truth.missed,
    under_way: underWay(),
    p50_ns: truth.ok && latency.percentile(50),
    p99_ns: truth.ok && latency.percentile(99),
    max_ns: truth.ok && latency.max,
  });
}

say({ event: 'ready', program: 'node-client', pid: process.pid, port, rate, connections, node: process.version, at_ns: startedNs });
const beats = setInterval(sendDue, BEAT_MS);
const lines = setInterval(() => tell(false), EVERY_MS);
onEnd(() => {
  clearInterval(beats);
  clearInterval(lines);
  // What is under way is waited for, within reason.
  const lastCallMs = Date.now() + PATIENCE_MS;
  const wait = setInterval(() => {
    if (underWay() === 0 || Date.now() > lastCallMs) {
      clearInterval(wait);
      tell(true);
      agent.destroy();
    }
  }, BEAT_MS);
});
