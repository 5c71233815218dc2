// A Node service with one fault planted in it, which it counts itself: what a tracer attached to it should find.
//
// `renderReport` blocks the event loop for 60 ms each second. The rest is innocent: a lookup, a file read and a key derivation on
// the libuv pool.

import { pbkdf2 } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { performance } from 'node:perf_hooks';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

import { nowNs, onEnd, readOptions, refuse, say } from './harness.mjs';

const HOST = '127.0.0.1';
const EVERY_MS = 1000;
const BLOCK_NS = 60e6;
const ITEMS = 1000;
const DERIVE_ROUNDS = 2000;
// Longer than any pause of the client, so that no kept connection is closed under a request.
const KEEP_ALIVE_MS = 60_000;
const PATIENCE_MS = 500;

const { port } = readOptions('usage: node service.mjs [--port N]', {
  port: { value: 0, min: 0, max: 65_535 },
});

const startedNs = nowNs();
const derive = promisify(pbkdf2);
const page = fileURLToPath(import.meta.url);
const items = new Map();
for (let id = 0; id < ITEMS; id += 1) {
  items.set(String(id), { id, name: `item ${id}`, stock: id % 17 });
}

const truth = { item: 0, page: 0, token: 0, failed: 0, blocks: 0, blockedNs: 0 };

const routes = {
  async item(rest) {
    const item = items.get(rest);
    return item && { type: 'application/json', body: JSON.stringify(item) };
  },
  async page() {
    return { type: 'text/plain', body: await readFile(page) };
  },
  async token(rest) {
    const key = await derive(`password ${rest}`, 'salt', DERIVE_ROUNDS, 32, 'sha256');
    return { type: 'application/json', body: JSON.stringify({ token: key.toString('hex') }) };
  },
};

let ending = false;

async function answer(request, response) {
  const [, route, rest = ''] = request.url.split('?', 1)[0].split('/', 3);
  // Once for every request, also for one whose client has gone away in the middle.
  response.on('close', () => {
    const served = response.writableFinished && response.statusCode === 200;
    truth[served ? route : 'failed'] += 1;
  });
  const known = request.method === 'GET' && Object.hasOwn(routes, route);
  const found = known ? await routes[route](rest) : undefined;
  response.statusCode = found ? 200 : 404;
  response.setHeader('content-type', found?.type ?? 'text/plain');
  if (ending) {
    response.setHeader('connection', 'close');
  }
  response.end(found?.body ?? 'nothing here\n');
}

function handle(request, response) {
  answer(request, response).catch(() => {
    response.statusCode = 500;
    response.end();
  });
}

function renderReport() {
  const began = nowNs();
  let report = '';
  while (nowNs() - began < BLOCK_NS) {
    report = renderRows(report);
  }
  truth.blocks += 1;
  truth.blockedNs += nowNs() - began;
}

function renderRows(before) {
  let rows = '';
  for (const item of items.values()) {
    rows += `<tr><td>${item.name}<td>${item.stock}`;
  }
  return rows.length > before.length ? rows : before;
}

function tell(final) {
  const cpu = process.cpuUsage();
  const loop = performance.eventLoopUtilization();
  say({
    event: 'truth',
    final,
    at_ns: nowNs(),
    uptime_ns: nowNs() - startedNs,
    requests: truth.item + truth.page + truth.token,
    routes: { item: truth.item, page: truth.page, token: truth.token },
    failed: truth.failed,
    blocks: truth.blocks,
    blocked_ns: truth.blockedNs,
    cpu_ns: (cpu.user + cpu.system) * 1000,
    cpu_user_ns: cpu.user * 1000,
    cpu_system_ns: cpu.system * 1000,
    loop: {
      active_ns: Math.round(loop.active * 1e6),
      idle_ns: Math.round(loop.idle * 1e6),
      utilization_ratio: loop.utilization,
    },
    rss_bytes: process.memoryUsage.rss(),
  });
}

const server = createServer({ keepAliveTimeout: KEEP_ALIVE_MS }, handle);
server.on('error', (why) => refuse(`listen on port ${port}: ${why.code}`, 1));
server.listen(port, HOST, () => {
  say({
    event: 'ready',
    program: 'node-service',
    pid: process.pid,
    host: HOST,
    port: server.address().port,
    node: process.version,
    at_ns: nowNs(),
  });
  const reports = setInterval(renderReport, EVERY_MS);
  const lines = setInterval(() => tell(false), EVERY_MS);
  onEnd(() => {
    ending = true;
    clearInterval(reports);
    clearInterval(lines);
    // What is under way is answered, and then there is nothing left to count.
    server.close(() => tell(true));
    server.closeIdleConnections?.();
    setTimeout(() => server.closeAllConnections?.(), PATIENCE_MS).unref();
  });
});
