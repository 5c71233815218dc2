// A program whose main thread waits inside JavaScript, each time in a function and on a line it knows, and says for how long.
//
// One command a line on stdin, `NAME MS COUNT`, one answer a line on stdout. Each wait is in an iteration of its own.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises';

import { nowNs, say } from './harness.mjs';

const directory = mkdtempSync(join(tmpdir(), 'waits-'));
const path = join(directory, 'fifo');
execFileSync('mkfifo', [path]);
// For writing too, so that to open it waits for nobody.
const fifo = openSync(path, 'r+');
const flag = new Int32Array(new SharedArrayBuffer(4));
const one = Buffer.alloc(1);

/** A second event loop runs on this thread until the child is gone. */
function runChild(ms) {
  execFileSync('sleep', [String(ms / 1e3)]); // waits: runChild
}

/** A condition variable. */
function waitForFlag(ms) {
  Atomics.wait(flag, 0, 0, ms); // waits: waitForFlag
}

/** A read of what somebody else writes. */
function readSlowly() {
  readSync(fifo, one, 0, 1, null); // waits: readSlowly
}

/** What is read comes so much later. */
function writeLater(ms) {
  const child = spawn('sh', ['-c', `sleep ${ms / 1e3}; printf x > ${path}`], { stdio: 'ignore' });
  return new Promise((resolve) => child.once('close', resolve));
}

async function obey(name, ms, count) {
  const blocks = [];
  for (let done = 0; done < count; done += 1) {
    // The one before, and whatever else is due, is not to be in the same iteration.
    await sleep(20);
    await nextTurn();
    const written = name === 'readSlowly' ? writeLater(ms) : null;
    const startNs = nowNs();
    switch (name) {
      case 'runChild':
        runChild(ms);
        break;
      case 'waitForFlag':
        waitForFlag(ms);
        break;
      case 'readSlowly':
        readSlowly();
        break;
      case 'idle':
        await sleep(ms);
        break;
      default:
        return { error: `unknown command: ${name}` };
    }
    blocks.push({ start_ns: startNs, end_ns: nowNs() });
    await nextTurn();
    await written;
  }
  return { blocks };
}

say({ event: 'ready', program: 'node-waits', pid: process.pid, node: process.version, at_ns: nowNs() });
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...numbers] = line.trim().split(/\s+/);
  say({ ...(await obey(name, ...numbers.map(Number))), command: line });
}
rmSync(directory, { recursive: true });
process.exit(0);
