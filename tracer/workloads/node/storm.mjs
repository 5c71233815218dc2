// A Node service under a load of its own that does what a tracer could disturb: requests that use pool, promises and heap, worker
// threads that come and go, heap snapshots, a debugger that is connected and profiles.
//
// One command a line: `storm AT_ONCE` begins, `so-far` tells what became of it, `calm` ends it once all that was begun is finished
// and tells the same.
// Start it with `--expose-gc --inspect=127.0.0.1:0`.

import { pbkdf2 } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Agent, createServer, get } from 'node:http';
import inspector from 'node:inspector';
import { createInterface } from 'node:readline';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import v8 from 'node:v8';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';
import { gzip } from 'node:zlib';

import { nowNs, say } from './harness.mjs';

const HOST = '127.0.0.1';
const own = fileURLToPath(import.meta.url);
const derive = promisify(pbkdf2);
const pack = promisify(gzip);

/** A bit of everything, with an answer that is known. */
async function work(number) {
  const rows = Array.from({ length: 200 }, (_, at) => ({ at, text: `row ${at} of ${number}` }));
  const [text, key] = await Promise.all([readFile(own), derive(`${number}`, 'salt', 10, 16, 'sha256'), nextTurn()]);
  const packed = await pack(JSON.stringify(rows));
  return `${number} ${text.length} ${key.length} ${packed.length > 0}`;
}

const truth = { requests: 0, failed: 0, workers: 0, snapshots: 0, evaluations: 0, profiles: 0, why: [] };
let storming = false;
let lanes = [];

function failed(why) {
  truth.failed += 1;
  truth.why.push(String(why?.stack ?? why).slice(0, 500));
}

/** Does it again and again until the end of the storm. */
async function again(each) {
  while (storming) {
    try {
      await each();
    } catch (why) {
      failed(why);
    }
  }
}

const agent = new Agent({ keepAlive: true, maxSockets: 256 });

function ask(port, number) {
  return new Promise((resolve, reject) => {
    const request = get({ host: HOST, port, path: `/${number}`, agent }, (response) => {
      let body = '';
      response.setEncoding('utf8').on('data', (part) => (body += part));
      response.on('error', reject).on('end', () => resolve(body));
    });
    request.on('error', reject);
  });
}

async function request(port) {
  const number = truth.requests;
  truth.requests += 1;
  const body = await ask(port, number);
  const expected = await work(number);
  if (body !== expected) {
    failed(`${body} instead of ${expected}`);
  }
}

function live() {
  return new Promise((resolve, reject) => {
    const worker = new Worker(own);
    let answer;
    worker.on('message', (said) => (answer = said));
    worker.on('error', reject).on('exit', () => {
      truth.workers += 1;
      return answer?.startsWith('7 ') ? resolve() : reject(new Error(`a worker said ${answer}`));
    });
  });
}

// By its events: what Node 18 gives never ends for an asynchronous iterator.
function snapshot() {
  let bytes = 0;
  return new Promise((resolve, reject) => {
    const stream = v8.getHeapSnapshot();
    stream.on('data', (part) => (bytes += part.length)).on('error', reject);
    stream.on('end', () => {
      truth.snapshots += Number(bytes > 0);
      resolve();
    });
  });
}

/** What a debugger says over its socket: short texts only, which is all that is sent here. */
function frame(message) {
  const text = Buffer.from(JSON.stringify(message));
  return Buffer.concat([Buffer.from([0x81, 0x80 | text.length, 0, 0, 0, 0]), text]);
}

/** A debugger, which the inspector's own thread serves. */
function connect() {
  const { host, pathname } = new URL(inspector.url());
  const headers = { Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Version': 13, 'Sec-WebSocket-Key': 'dHJhY2VyIHRyYWNlciB0cg==' };
  return new Promise((resolve, reject) => {
    const [name, port] = host.split(':');
    const upgrade = get({ host: name, port, path: pathname, headers });
    upgrade.on('error', reject).on('upgrade', (_, socket) => resolve(socket));
  });
}

function debug(socket) {
  return new Promise((resolve, reject) => {
    socket.once('error', reject).once('data', (answer) => {
      socket.off('error', reject);
      truth.evaluations += Number(answer.includes('"value":42'));
      resolve();
    });
    socket.write(frame({ id: 1, method: 'Runtime.evaluate', params: { expression: '6 * 7' } }));
  });
}

/** V8's own profiler, which interrupts the thread with signals. */
async function profile() {
  const session = new inspector.Session();
  session.connect();
  const post = promisify((...of) => session.post(...of));
  await post('Profiler.enable');
  await post('Profiler.start');
  await work(1);
  const { profile: found } = await post('Profiler.stop');
  truth.profiles += Number(found.nodes.length > 0);
  session.disconnect();
}

async function serve(incoming, response) {
  try {
    response.end(await work(Number(incoming.url.slice(1))));
  } catch (why) {
    response.statusCode = 500;
    response.end(String(why));
  }
}

async function obey(line, port) {
  const [verb, count] = line.split(' ');
  if (verb === 'storm') {
    storming = true;
    const socket = await connect();
    const requests = Array.from({ length: Number(count) }, () => again(() => request(port)));
    // A snapshot stops everything else, so there are pauses of the length of some requests between two.
    const rare = again(async () => {
      await snapshot();
      await profile();
      for (let done = 0; done < 10 && storming; done += 1) {
        await work(done);
      }
    });
    const debugged = again(() => debug(socket)).then(() => socket.destroy());
    lanes = [...requests, rare, debugged, again(live)];
    return {};
  }
  if (verb === 'so-far') {
    return truth;
  }
  storming = false;
  await Promise.all(lanes);
  globalThis.gc?.();
  return { ...truth, rss_bytes: process.memoryUsage.rss(), heap_bytes: process.memoryUsage().heapUsed };
}

if (isMainThread) {
  const server = createServer(serve);
  // A server that closes an idle connection while a request is on its way fails it: https://github.com/nodejs/node/issues/52649
  server.keepAliveTimeout = 0;
  await new Promise((resolve) => server.listen(0, HOST, resolve));
  const { port } = server.address();
  say({ event: 'ready', program: 'node-storm', pid: process.pid, node: process.version, at_ns: nowNs() });
  for await (const line of createInterface({ input: process.stdin })) {
    say({ did: line, ...(await obey(line, port)) });
  }
  say({ event: 'truth', final: true, ...truth });
  process.exit(0);
} else {
  parentPort.postMessage(await work(7));
}
