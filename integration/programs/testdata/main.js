// SPDX-License-Identifier: Apache-2.0
// Compiled code, a worker, a child, HTTP over the loopback interface.
const { Worker, isMainThread, parentPort } = require('worker_threads');
const { execFileSync } = require('child_process');
const http = require('http');

const fib = (n) => (n < 2 ? n : fib(n - 1) + fib(n - 2));

if (!isMainThread) {
  parentPort.postMessage(fib(25));
} else {
  const many = {};
  for (let i = 0; i < 300000; i++) many['k' + (i % 5000)] = { i };
  console.log(`fib ${fib(30)} keys ${Object.keys(many).length}`);
  console.log(`child ${execFileSync('echo', ['x']).toString()}`);
  new Worker(__filename).on('message', (m) => {
    console.log(`worker ${m}`);
    const server = http.createServer((q, r) => r.end('x'.repeat(100000)));
    server.listen(0, '127.0.0.1', () => {
      http.get({ port: server.address().port, host: '127.0.0.1' }, (r) => {
        let n = 0;
        r.on('data', (d) => { n += d.length; });
        r.on('end', () => { console.log(`http ${n}`); server.close(); });
      });
    });
  });
}
