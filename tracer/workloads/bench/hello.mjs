// The smallest Node service, for `cargo xtask bench`: it answers every request with a word and counts them.
//
// A line on stdin is answered with the count so far.

import { createServer } from 'node:http';

import { nowNs, onEnd, readOptions, refuse, say } from '../node/harness.mjs';

const HOST = '127.0.0.1';

const { port } = readOptions('usage: node hello.mjs [--port N]', {
  port: { value: 0, min: 0, max: 65_535 },
});

let operations = 0;

function tell(final) {
  const cpu = process.cpuUsage();
  say({ event: 'truth', final, operations, cpu_ns: (cpu.user + cpu.system) * 1000, at_ns: nowNs() });
}

const server = createServer((request, response) => {
  operations += 1;
  response.end('hello\n');
});
server.on('error', (why) => refuse(`listen on port ${port}: ${why.code}`, 1));
server.listen(port, HOST, () => {
  say({ event: 'ready', program: 'node-hello', pid: process.pid, port: server.address().port, at_ns: nowNs() });
  process.stdin.setEncoding('utf8').on('data', (text) => {
    for (const _line of text.matchAll(/\n/g)) {
      tell(false);
    }
  });
  onEnd(() => {
    tell(true);
    server.close();
    server.closeAllConnections();
  });
});
