// Jobs that keep a loop or its pool busy with packages that nobody here wrote, which are looked for from the directory this is
// started in.
//
// One command a line, `VERB COUNT`, answered with one line when all of it is done. Each job has an iteration of its own.

import { createRequire } from 'node:module';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { nowNs, say } from '../node/harness.mjs';

const require = createRequire(join(process.cwd(), 'package.json'));
const bcryptjs = require('bcryptjs');
const native = require('bcrypt');
const JSZip = require('jszip');

/** 2 to the power of it are the rounds. */
const COST = 10;

const text = Array.from({ length: 20_000 }, (_, at) => `line ${at * 7919} of a text that is packed\n`).join('');

const verbs = {
  /** On the loop. */
  bcryptjs: () => bcryptjs.hashSync('a password', COST),
  /** On the pool. */
  bcrypt: () => native.hash('a password', COST),
  /** On the loop, in pieces. */
  zip: async () => {
    const zip = new JSZip();
    zip.file('text', text);
    const packed = await zip.generateAsync({ type: 'nodebuffer', compression: 'DEFLATE' });
    return packed.length;
  },
};

async function obey(line) {
  const [verb, count] = line.split(' ');
  const jobs = [];
  for (let done = 0; done < Number(count); done += 1) {
    await new Promise((turn) => setImmediate(turn));
    const startNs = nowNs();
    await verbs[verb]();
    jobs.push({ start_ns: startNs, end_ns: nowNs() });
    await new Promise((turn) => setImmediate(turn));
  }
  say({ did: verb, count: jobs.length, jobs });
}

say({ event: 'ready', program: 'jobs', pid: process.pid, node: process.version, at_ns: nowNs() });
let before = Promise.resolve();
createInterface({ input: process.stdin })
  .on('line', (line) => {
    before = before.then(() => obey(line));
  })
  .on('close', () => before.then(() => say({ event: 'truth', final: true, at_ns: nowNs() })));
