// Loaded ahead of a program made of a solution and tests: tells when the tests have run to their end.
'use strict';
const { readSync, writeSync } = require('fs');
const { inspect } = require('util');
const assert = require('assert');

// Tests rely on what these do; a solution may add to them, not replace them.
for (const [name, own] of Object.entries(Object.getOwnPropertyDescriptors(assert))) {
  if (typeof own.value === 'function' && own.configurable) {
    Object.defineProperty(assert, name, { ...own, writable: false, configurable: false });
  }
}

const exit = process.exit;
const tracked = [];
let start;

// Where the innermost code of a file of the program stands that is being run.
function caller() {
  const { prepareStackTrace, stackTraceLimit } = Error;
  Error.prepareStackTrace = (_, sites) => sites;
  Error.stackTraceLimit = 50;
  const sites = new Error().stack;
  Object.assign(Error, { prepareStackTrace, stackTraceLimit });
  const site = sites.find((each) => {
    const file = each.getFileName();
    return file && file !== __filename && !file.startsWith('node:');
  });
  return site && { file: site.getFileName(), line: site.getLineNumber() };
}

function isPending(promise) {
  return promise instanceof Promise && inspect(promise, { depth: 0 }).startsWith('Promise { <pending>');
}

function finished() {
  const secret = Buffer.alloc(64);
  writeSync(4, secret.subarray(0, readSync(3, secret)));
}

Object.defineProperty(globalThis, 'testsOfProgram', {
  value: {
    // The tests begin on the line of the call.
    begin() { start = caller(); },
    // The tests have been started: they are over when nothing is left to wait for, unless one still waits.
    end() {
      process.once('beforeExit', () => { if (!tracked.some(isPending)) finished(); });
    },
    // What an asynchronous test gave back.
    track(result) { tracked.push(result); return result; },
  },
});

// Tests may end the process themselves, a solution may not.
if (require('worker_threads').isMainThread && !process.send) {
  process.exit = function (code = process.exitCode) {
    const from = start && caller();
    if (from && from.file === start.file && from.line >= start.line && Number(code || 0) === 0) finished();
    return Reflect.apply(exit, process, arguments);
  };
}
