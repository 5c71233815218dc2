// A service as people write them, on a framework that nobody here wrote: `node service.mjs express|fastify`.
//
// The framework is looked for from the directory this is started in. A line on stdin is answered with what the process
// itself says of its loop, its collections and how much it has served; the end of stdin ends it.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { PerformanceObserver, constants, performance } from 'node:perf_hooks';

import { nowNs, onEnd, refuse, say } from '../node/harness.mjs';

const HOST = '127.0.0.1';
const require = createRequire(join(process.cwd(), 'package.json'));
const users = Array.from({ length: 50 }, (_, id) => ({ id, name: `user ${id}`, mail: `user${id}@example.org` }));

let served = 0;
let scavenges = 0;
const observer = new PerformanceObserver((list) => list.getEntries().forEach(note));
observer.observe({ entryTypes: ['gc'] });

function note(entry) {
  scavenges += Number(entry.detail.kind === constants.NODE_PERFORMANCE_GC_MINOR);
}

function page(from) {
  served += 1;
  const first = Number(from ?? 0);
  return { first, users: users.slice(first, first + 20) };
}

const frameworks = {
  async express() {
    const app = require('express')();
    app.use((request, response, next) => {
      response.setHeader('x-served-by', 'express');
      next();
    });
    app.get('/users/:from', (request, response) => response.json(page(request.params.from)));
    return new Promise((resolve) => {
      const server = app.listen(0, HOST, () => resolve(server.address().port));
    });
  },

  async fastify() {
    const app = require('fastify')();
    const user = { type: 'object', properties: { id: { type: 'integer' }, name: { type: 'string' }, mail: { type: 'string' } } };
    const answer = { type: 'object', properties: { first: { type: 'integer' }, users: { type: 'array', items: user } } };
    const params = { type: 'object', properties: { from: { type: 'integer', minimum: 0 } } };
    app.addHook('onRequest', async (request, reply) => {
      reply.header('x-served-by', 'fastify');
    });
    app.get('/users/:from', { schema: { params, response: { 200: answer } } }, async (request) => page(request.params.from));
    await app.listen({ port: 0, host: HOST });
    return app.server.address().port;
  },
};

async function tell(final) {
  // Entries are handed out in a task of their own.
  await new Promise((done) => setImmediate(done));
  observer.takeRecords().forEach(note);
  const { active, idle } = performance.eventLoopUtilization();
  const loop = { active_ns: Math.round(active * 1e6), idle_ns: Math.round(idle * 1e6) };
  say({ event: 'truth', final, served, scavenges, ...loop, at_ns: nowNs() });
}

const start = frameworks[process.argv[2]];
if (!start) {
  refuse('usage: node service.mjs express|fastify', 2);
}
const port = await start();
say({ event: 'ready', program: process.argv[2], pid: process.pid, port, node: process.version, at_ns: nowNs() });
process.stdin.setEncoding('utf8').on('data', async (text) => {
  for (const _line of text.matchAll(/\n/g)) {
    await tell(false);
  }
});
onEnd(() => tell(true).then(() => process.exit(0)));
